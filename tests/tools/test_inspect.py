"""The data check: what is planted is found and nothing else, and errors are exactly what training refuses."""

import html
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.tools.inspect_sets import PLANTED, DataSet, jpeg, make_clean, plant, with_orientation
from yolact.cli import run
from yolact.cli.check import summary_lines
from yolact.config import Config, ModelConfig, load_config, override_config
from yolact.data import mending
from yolact.data.annotations import ImageRecord, ObjectRecord
from yolact.data.dataset import CocoDataset
from yolact.data.segmentations import Rle, encode
from yolact.errors import UserError
from yolact.tools.inspect.findings import KINDS, MAX_EXAMPLES, SKIPPABLE, Finding
from yolact.tools.inspect.inspection import (
    Report,
    anchor_line,
    count_vanishing,
    data_line,
    inspect,
    sources_of,
    summarise,
)
from yolact.tools.inspect.page import render_page
from yolact.tools.inspect.reading import InspectedSet, Source, inspect_files, object_faults

EVIL = "<script>alert('\"&')</script>"
IMAGE = ImageRecord(id=1, file_name="a.jpg", height=60, width=80)
RUNS = Rle(60, 80, np.array([10 * 60 + 20, 5, 55, 5, 80 * 60 - 10 * 60 - 20 - 65], np.uint32))  # columns 10 and 11


@pytest.fixture
def clean(tmp_path: Path) -> DataSet:
    return make_clean(tmp_path)


@pytest.fixture
def planted(clean: DataSet) -> Config:
    """Return the configuration of a data set into which everything of PLANTED was planted."""
    plant(clean)
    return override_config(clean.write(), ["model.num_classes=7"])


def counts(report: Report) -> dict[str, int]:
    return {finding.kind: finding.count for finding in report.findings}


def files_of(clean: DataSet) -> dict[str, Finding]:
    """Return what is found in the training set and its files."""
    inspected = InspectedSet(sources_of(clean.write())[0])
    inspect_files(inspected)
    return inspected.findings


def test_every_planted_fault_is_found_and_none_invented(planted: Config) -> None:
    report = inspect(sources_of(planted), planted)
    assert counts(report) == PLANTED
    assert {finding.kind for finding in report.findings if finding.set == "val"} == {
        "categories-differ",
        "shared-picture",
    }
    levels = [finding.level for finding in report.findings]
    assert levels == sorted(levels)  # errors first
    assert (report.content["errors"], report.content["warnings"]) == (23, 21)
    assert all(advice.endswith(".") for _, _, advice in KINDS.values())
    elsewhere = {"no-pictures", "no-categories", "no-objects", "squashed-pictures", "small-objects"}
    elsewhere |= {"picture-without-tiles", "nothing-to-score", "many-crowds", *mending.KINDS}
    assert set(PLANTED) | elsewhere == set(KINDS)
    json.dumps(report.content, allow_nan=False)
    found = {finding.kind: finding.examples[0] for finding in report.findings}
    assert found["truncated-picture"].picture == "cut.jpg"
    assert found["duplicate-picture"][:3] == ("copy of 1.jpg", None, "the same image as '1.jpg'")
    assert found["box-unlike-mask"][:2] == ("8.jpg", 1016)
    for kind, note in [
        ("box-unlike-mask", "looks like two corners"),
        ("exif-rotation", "does not tell"),
        ("deep-samples", "uint16 up to 4080, of which 4095 becomes white"),
        ("transparent-picture", "over data.background=[255, 255, 255]"),
        ("size-mismatch", "80 x 60"),
        ("shared-picture", "'2.jpg' of the training set"),
        ("categories-differ", "'wolf' (id 17) only in validation"),
        ("unused-category", "'fox' (id 16)"),
    ]:
        assert note in found[kind].note


def test_a_clean_set_gives_nothing(clean: DataSet) -> None:
    config = clean.write()
    report = inspect(sources_of(config), config)
    assert report.findings == []
    train = report.content["sets"]["train"]
    assert [train[key] for key in ("pictures", "objects", "crowd_regions", "left_out")] == [12, 23, 1, 0]
    assert train["objects_per_class"] == [
        {"id": 3, "name": "cat", "objects": 12, "pictures": 12},
        {"id": 8, "name": "dog", "objects": 11, "pictures": 11},
    ]
    assert (train["objects_per_picture"]["1"], train["objects_per_picture"]["2"]) == (1, 11)
    assert (train["width"], train["height"]) == ([80] * 3, [60] * 3)
    page = render_page(report)
    assert page.count("<img") == 24
    assert "<td>3: 12</td>" in page  # images by their bands
    assert "<h2>Findings" not in page
    assert summary_lines(report)[-1] == "0 kinds of errors, 0 kinds of warnings: training runs"


def test_a_size_of_which_no_object_meets_an_anchor_says_so(clean: DataSet) -> None:
    report = inspect([Source("data", clean.folder / "train.json", clean.folder / "train")], clean.write())
    size = {"name": "8-16", "objects": 3, "recall": 0.0, "suggested_recall": None}
    report.content["anchors"] |= {"by_size": [size], "suggestion": None}
    assert ">0</text>" in render_page(report).partition("</svg>")[0]


@pytest.mark.parametrize(
    ("emptied", "kinds"),
    [
        ("images annotations", {"no-pictures", "unused-category"}),
        ("categories annotations", {"no-categories", "no-objects"}),
        ("annotations", {"no-objects", "unused-category"}),
        ("images annotations categories", {"no-pictures", "no-categories"}),
    ],
)
def test_empty_sets_alone(clean: DataSet, emptied: str, kinds: set[str]) -> None:
    clean.train.update({key: [] for key in emptied.split()})
    config = clean.write()
    report = inspect([Source("data", clean.folder / "train.json", clean.folder / "train")], config)
    assert set(counts(report)) == kinds
    assert report.content["anchors"] is None
    assert "no objects" in render_page(report)


def test_images_that_training_skips_are_warnings_there_alone(clean: DataSet, planted: Config) -> None:
    (clean.folder / "val/101.jpg").write_bytes(b"broken")
    config = override_config(planted, ["data.unreadable=skip"])
    levels = {(one.set, one.kind): one.level for one in inspect(sources_of(config), config).findings}
    assert {levels["train", kind] for kind, *_ in SKIPPABLE} == {"warning"}
    assert (levels["train", "missing-picture"], levels["val", "unreadable-picture"]) == ("error", "error")


def test_only_the_images_that_are_trained_on_count(clean: DataSet, planted: Config) -> None:
    config = override_config(planted, ["data.max_train_images=12"])
    found = counts(inspect(sources_of(config), config))
    assert not {"missing-picture", "duplicate-picture"} & set(found)
    assert found["invalid-picture-size"] == found["short-polygon"] == 1  # every entry is read, as training does
    clean.train["annotations"] = clean.train["annotations"][:24]
    clean.train["annotations"][0]["segmentation"] = []
    source = sources_of(clean.write())[0]
    assert [InspectedSet(source._replace(max_images=most)).left_out for most in (None, 3)] == [1, 1]


def test_annotations_of_bad_images_and_classes_are_not_at_fault(clean: DataSet) -> None:
    clean.train["images"][0]["width"] = "wide"
    clean.train["categories"][0]["name"] = 7
    inspected = InspectedSet(sources_of(clean.write())[0])
    assert {kind: finding.count for kind, finding in inspected.findings.items()} == {"invalid-field": 2}
    assert (len(inspected.images), inspected.categories.names) == (11, ["cat", "class 8"])


def test_many_examples_are_counted_and_the_first_ones_kept(clean: DataSet) -> None:
    inspected = InspectedSet(sources_of(clean.write())[0])
    for number in range(MAX_EXAMPLES + 5):
        inspected.add("empty-mask", str(number))
    finding = inspected.findings["empty-mask"]
    assert (finding.count, len(finding.examples), finding.examples[-1].note) == (1005, 1000, "999")


@pytest.mark.parametrize(
    ("suffix", "keep", "kind"),
    [
        (".jpg", 0.02, "truncated-picture"),  # within the header
        (".jpg", 0.999, "truncated-picture"),
        (".png", 0.5, "truncated-picture"),
        (".webp", 0.5, "truncated-picture"),
        (".bmp", 0.5, "unreadable-picture"),  # nobody can tell
        (".jpg", 0, "unreadable-picture"),
    ],
)
def test_files_that_end_too_early(clean: DataSet, suffix: str, keep: float, kind: str) -> None:
    path = clean.folder / "train/1.jpg"
    data = cv2.imencode(suffix, cv2.imread(str(path)))[1].tobytes()
    path.write_bytes(data[: int(len(data) * keep)])
    assert list(files_of(clean)) == [kind]


def test_duplicates_are_equal_pixels_or_equal_damaged_bytes(clean: DataSet) -> None:
    image = cv2.imread(str(clean.folder / "train/1.jpg"))
    for number, level in ((1, 1), (2, 9)):  # other bytes, the same pixels
        data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, level])[1].tobytes()
        (clean.folder / f"train/{number}.jpg").write_bytes(data)
    for number in (3, 4, 5):
        (clean.folder / f"train/{number}.jpg").write_bytes(b"broken")
    found = files_of(clean)
    assert {kind: finding.count for kind, finding in found.items()} == {"duplicate-picture": 3, "unreadable-picture": 3}
    assert [example.picture for example in found["duplicate-picture"].examples] == ["2.jpg", "4.jpg", "5.jpg"]


@pytest.mark.parametrize("name", ["a\0b.jpg", "\ud800.jpg", "n" * 300 + ".jpg", "", "."])
def test_impossible_names_are_missing_files_or_refused(clean: DataSet, name: str) -> None:
    clean.train["images"][0]["file_name"] = name
    assert list(files_of(clean)) == ["missing-picture" if name else "invalid-field"]


@pytest.mark.parametrize(
    ("orientation", "size", "note"),
    [
        (6, (80, 60), "read turned, as the JSON's size asks"),
        (6, (60, 80), "read as stored, as the JSON's size asks"),
        (3, (60, 80), "read turned, as the JSON's size does not tell"),
        (1, (60, 80), None),
    ],
)
def test_turned_images_say_how_they_are_read(clean: DataSet, orientation: int, size: Any, note: str | None) -> None:
    (clean.folder / "train/12.jpg").write_bytes(with_orientation(jpeg(12), orientation))
    clean.train["images"][11].update(height=size[0], width=size[1])
    clean.train["annotations"] = clean.train["annotations"][:-2]
    found = files_of(clean)
    assert list(found) == ([] if note is None else ["exif-rotation"])
    assert note is None or note in found["exif-rotation"].examples[0].note


def faults(box: Any, mask: Any) -> dict[str, str]:
    """Return what is odd about an object whose mask is run lengths or fills a box."""
    if not isinstance(mask, Rle):
        x1, y1, x2, y2 = mask
        mask = [np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32)]
    item = ObjectRecord(0, box, False, mask, 1.0, id=1)
    return dict(object_faults(item, encode(item.segmentation, (IMAGE.height, IMAGE.width)), IMAGE))


@pytest.mark.parametrize(
    ("box", "mask", "expected"),
    [
        ((8, 8, 32, 22), (10, 10, 30, 20), []),  # two pixels off
        ((10, 10, 34, 20), (10, 10, 30, 20), []),  # IoU 0.83
        ((10, 10, 40, 20), (10, 10, 30, 20), ["box-unlike-mask"]),  # IoU 0.67
        ((-2, 10, 30, 20), (-2, 10, 30, 20), []),  # rounding at the edge
        ((-4, 10, 30, 20), (0, 10, 30, 20), ["box-over-edge"]),
        ((0, 10, 30, 20), (-4, 10, 30, 20), ["polygon-over-edge"]),
        ((70, 10, 90, 20), (70, 10, 90, 20), ["box-over-edge", "polygon-over-edge"]),
        ((10, 10, 10.5, 20), (10, 10, 11, 20), ["thin-box"]),
        ((10, 10, 30, 20), (-30, 10, -10, 20), ["empty-mask"]),  # outside of the image
        ((10, 10, 30, 20), (10.1, 10.1, 10.2, 10.2), ["empty-mask"]),
        ((10, 20, 12, 25), RUNS, []),
        ((10, 20, 40, 25), RUNS, ["box-unlike-mask"]),
    ],
)
def test_faults_of_one_object(box: Any, mask: Any, expected: list[str]) -> None:
    assert list(faults(box, mask)) == expected


@pytest.mark.parametrize(
    ("box", "mask", "reading"),
    [
        ((10, 10, 40, 30), (10, 10, 30, 20), "two corners"),  # bbox [10, 10, 30, 20]
        ((5, 20, 15, 50), (20, 5, 50, 15), "rows before columns"),
        ((30, 30, 50, 50), (20, 20, 40, 40), "centre and size"),
        ((30, 30, 50, 50), (1, 1, 7, 7), None),
    ],
)
def test_common_mistakes_are_recognised(box: Any, mask: Any, reading: str | None) -> None:
    note = faults(box, mask)["box-unlike-mask"]
    assert ("looks like" in note) == (reading is not None)
    assert (reading or "its mask [1, 1, 7, 7]") in note


def test_masks_that_vanish_at_the_prototypes(clean: DataSet) -> None:
    """At 64 pixels the prototypes have 16; a mask of one input pixel covers half of none of them."""
    inspected = InspectedSet(sources_of(clean.write())[0])
    assert count_vanishing(inspected, ModelConfig(image_size=64)) == {"objects": 23, "vanished": 0, "size": (16, 16)}
    pixel = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32) * np.float32([80 / 64, 60 / 64])
    inspected.objects[0].append(inspected.objects[0][0]._replace(segmentation=[pixel]))
    assert count_vanishing(inspected, ModelConfig(image_size=64)) == {"objects": 24, "vanished": 1, "size": (16, 16)}
    assert summarise(inspected)["most_objects"] == 3


@pytest.mark.parametrize("value", [EVIL, "\ud800a\nb" + "x" * 5000, "<img src=x onerror=alert(1)>"])
def test_the_page_shows_every_finding_and_asks_no_other_host(clean: DataSet, planted: Config, value: str) -> None:
    data = clean.train
    data["categories"][0]["name"] = data["categories"][1]["name"] = value  # also a finding, which quotes it
    data["annotations"][6]["bbox"] = data["annotations"][4]["category_id"] = value
    name = f"{value[:50]}.jpg".replace("/", "").replace("\ud800", "s")
    (clean.folder / "train/1.jpg").rename(clean.folder / "train" / name)
    data["images"][0]["file_name"] = name
    clean.write()
    report = inspect(sources_of(planted), planted)
    text = render_page(report)
    assert not re.search(r"<script|<img src=x|<[^>]* on\w+=", text)
    assert all(
        one.startswith(("data:image/jpeg;base64,", "#")) for one in re.findall(r'(?:src|href|action)="([^"]*)', text)
    )
    assert "Content-Security-Policy" in text
    assert not re.search(r"url\((?!#)|@import", text)
    assert all(f"<code>{finding.kind}</code>" in text for finding in report.findings)
    assert text.index("Findings") < text.index("Anchors") < text.index("Images of train")
    assert len(text) < 5_000_000
    (text + "\n".join(summary_lines(report))).encode()
    assert value != EVIL or EVIL in html.unescape(text)


@pytest.mark.parametrize("shared_set", [("coco_tiny", "annotations/instances_val2017.json", "val2017"),
                                        ("nuclei", "instances_val.json", "val")])  # fmt: skip
def test_no_fault_is_invented_on_real_sets(shared: Path, shared_set: tuple[str, str, str]) -> None:
    folder = shared / shared_set[0]
    inspected = InspectedSet(Source("data", folder / shared_set[1], folder / shared_set[2]))
    inspect_files(inspected)
    assert list(inspected.findings) == []
    assert len(inspected.images) == {"coco_tiny": 80, "nuclei": 103}[shared_set[0]]


def test_the_command_writes_page_and_json(clean: DataSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean.write()
    output, source = tmp_path / "out", ["--annotations", f"{tmp_path}/train.json", "--images", f"{tmp_path}/train"]
    command = ["check", *source, "--output", str(output)]
    assert run([*command, "--set", "model.image_size=128"]) == 0
    assert {path.name for path in output.iterdir()} == {"index.html", "check.json"}
    report = json.loads((output / "check.json").read_text())
    assert (report["format"], report["errors"], report["masks"]["size"]) == (1, 0, [32, 32])
    assert report["anchors"]["now"]["image_size"] == 128
    printed = capsys.readouterr().out
    assert "data: 12 images, 23 objects, 2 classes" in printed
    assert f"training runs: see {output / 'index.html'}" in printed
    best = report["anchors"]["options"][0]
    run([*command, "--set", "model.image_size=128", best["override"]])
    assert json.loads((output / "check.json").read_text())["anchors"]["now"]["recall"] == best["recall"]
    clean.train["annotations"][0].update(bbox=[5, 5, float("nan"), 25], segmentation=[])
    clean.write()
    assert run(command) == 1
    found = [one for one in json.loads((output / "check.json").read_text())["findings"] if one["level"] == "error"]
    assert [(one["kind"], one["set"], one["count"]) for one in found] == [("invalid-box", "data", 1)]
    assert found[0]["examples"][0]["annotation"] == 10
    assert "1.jpg, annotation 10" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "configs/none.yaml"], "none.yaml"),
        (["--annotations", "none.json", "--images", "."], "none.json"),
        (["--annotations", "setup.py", "--images", "."], "not valid JSON"),
        ([], "nothing to check"),
        (["--annotations", "a.json"], "nothing to check"),
        (["--images", "."], "nothing to check"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(tmp_path: Path, arguments: list[str], message: str) -> None:
    output = tmp_path / "out"
    with pytest.raises(UserError, match=message) as caught:
        run(["check", *arguments, "--output", str(output)])
    assert "\n" not in str(caught.value)
    assert not output.exists()


def load(config: Config) -> tuple[CocoDataset, CocoDataset]:
    data = config.data
    return CocoDataset(data.train_annotations, data.train_images), CocoDataset(data.val_annotations, data.val_images)


def test_what_a_run_says_of_its_data(clean: DataSet) -> None:
    train, val = load(clean.write())
    expected = "data: 12 images to train, with 23 objects of 2 classes; 12 to validate, with 23"
    before = np.random.get_state()[1].tolist()
    assert data_line(train, val) == expected
    assert "% of the objects meet one at IoU 0.5, " in anchor_line(clean.write(), train)
    bad = anchor_line(override_config(clean.write(), ["model.anchors.scales=[[2],[2],[2],[2],[2]]"]), train)
    assert bad.startswith(
        "anchors: 0.0 % of the objects meet one at IoU 0.5, 100.0 % get one by force only; yolact check"
    )
    assert np.random.get_state()[1].tolist() == before  # a run's random numbers stay as they are
    clean.train["annotations"][0]["segmentation"] = []
    clean.train["annotations"][2].update(bbox=[5, 5, 0, 0], segmentation=[])
    clean.train["categories"].append({"id": 50, "name": "fox"})
    train, _ = load(clean.write())
    line = data_line(train, train)
    assert "2 annotations left out (1 no segmentation, 1 box without area)" in line
    assert "1 class without objects (fox)" in line
    assert "12 of the images are both trained on and validated on" in line
    clean.train["annotations"] = []
    assert anchor_line(clean.write(), load(clean.write())[0]) == "anchors: there are no objects that could meet one"


def test_labels_that_a_model_contradicts(tmp_path: Path, sample_checkpoint: Path, sample_data: Path) -> None:
    data = ["--annotations", f"{sample_data}/annotations.json", "--images", f"{sample_data}/pictures"]
    output = tmp_path / "out"
    assert run(["check", *data, "--weights", str(sample_checkpoint), "--output", str(output)]) == 0
    odd = json.loads((output / "odd_labels_data.json").read_text())
    assert all({"kind", "doubt", "file_name", "box", "annotation_id", "category"} <= set(one) for one in odd)
    assert "Odd labels of data" in (output / "index.html").read_text()


def test_a_configuration_for_one_set_has_the_validation_set_beside_it(
    clean: DataSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean.write()
    command = ["check", "--annotations", f"{tmp_path}/train.json", "--images", f"{tmp_path}/train", "--output"]
    run([*command, str(tmp_path / "out"), "--write-config", str(tmp_path / "both.yaml")])
    data = load_config(tmp_path / "both.yaml").data
    assert (data.val_images, data.val_annotations) == (f"{tmp_path}/val", f"{tmp_path}/val.json")
    assert f"to validate on: {tmp_path}/val.json\n" in capsys.readouterr().out
    (tmp_path / "val.json").unlink()
    run([*command, str(tmp_path / "out"), "--write-config", str(tmp_path / "one.yaml")])
    assert load_config(tmp_path / "one.yaml").data.val_annotations == f"{tmp_path}/train.json"
    assert "as there is no other set" in capsys.readouterr().out
