import json

import pytest

from tests.tools.report.conftest import PageChecker
from yolact.cli import run
from yolact.errors import UserError
from yolact.tools.report.comparison import compare, comparison_page, comparison_text, data_verdict
from yolact.tools.report.runs import read_runs
from yolact.tools.report.sections import METRICS, Cell

EVIL = "<script>alert('\"&')</script>"
VALUES = dict.fromkeys(METRICS, 0.25)
BOTH = {"segm": VALUES, "bbox": VALUES}


def half(index, number, label):
    return None if number else label


def tables(runs):
    """Return the rows of each section by title, each by its first cell."""
    return {s.title: {row[0].text: row[1:] for row in s.rows} for group in compare(runs) for s in group}


def notes(runs, title):
    return [note for group in compare(runs) for section in group if section.title == title for note in section.notes]


def training_run(folder, *evaluations, config=None):
    folder.mkdir(parents=True)
    lines = [{"step": step, "losses": {"box": 3.0 / step, "mask": 2.0}} for step in range(1, 9)]
    lines += [{"step": 10 * n, "evaluation": found} for n, found in enumerate(evaluations, start=1)]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    if config:
        (folder / "config.yaml").write_text(config)
    return folder


def with_ap(ap):
    return {**BOTH, "segm": {**VALUES, "AP": ap}}


def test_metrics_stand_side_by_side_with_their_differences(write_evaluation):
    runs = read_runs([write_evaluation("a", half), write_evaluation("b"), write_evaluation("c", half)])
    a, b, _ = (run.metrics["segm"]["AP"] for run in runs)
    assert a < b == pytest.approx(1)
    masks = tables(runs)["masks"]
    assert [cell.text for cell in masks["AP"]] == [f"{a:.3f}", "1.000", f"{a:.3f}", f"{b - a:+.3f}", "0.000"]
    assert [cell.trend for cell in masks["AP"]] == [0, 0, 0, 1, 0]
    assert masks["APl"][3:] == [Cell("-"), Cell("-")]
    assert compare(runs)[0][0].heads == ["", "A", "B", "C", "B - A", "C - A"]
    backwards = read_runs([runs[1].path, runs[0].path])
    assert tables(backwards)["masks"]["AP"][2] == Cell(f"{a - b:+.3f}", -1)
    missed = tables(backwards)["AP50 that errors cost, masks"]["missed"]
    assert missed[0] == Cell("0.000")
    assert missed[2].text.startswith("+")
    assert missed[2].trend == -1  # a larger cost is worse


def test_metrics_that_an_older_file_lacks_are_shown_as_missing(write_evaluation, write_metrics):
    old = write_metrics("old", segm={"AP": 0.3, "AP50": 0.5, "BoundaryAP": 0.1})
    runs = read_runs([old, write_evaluation("new")])
    found = tables(runs)
    assert found["masks"]["AP"] == [Cell("0.300"), Cell("1.000"), Cell("+0.700", 1)]
    assert found["masks"]["AR10"][0] == Cell("missing")
    assert found["masks"]["AR10"][2] == Cell("-")
    assert found["masks"]["BoundaryAP"] == [Cell("0.100"), Cell("missing"), Cell("-")]  # one of a user's own
    assert found["boxes"]["AP"][0] == Cell("missing")
    assert found["AP50 that errors cost, masks"]["missed"] == [Cell("missing"), Cell("0.000"), Cell("-")]
    assert found["AP per class, masks, largest differences first"]["disc"][0] == Cell("missing")
    assert found["Speed"]["frames per second"] == [Cell("missing"), Cell("40.0"), Cell("-")]
    assert "A on unknown device, PyTorch, unknown precision, batch unknown; B on cpu (test)" in notes(runs, "Speed")[0]
    assert "missing" in comparison_text(runs)
    assert "missing" in PageChecker(comparison_page(runs)).texts
    assert "masks" in tables(read_runs([old, old]))


def test_classes_with_the_largest_differences_come_first(write_metrics):
    per_class = ({"x": 0.5, "y": 0.5, "none": None, "z": 0.1}, {"x": 0.6, "y": 0.1, "none": 0.3, "new": 1.0})
    paths = [
        write_metrics(name, **BOTH, per_class={"segm": one, "bbox": one})
        for name, one in zip("ab", per_class, strict=True)
    ]
    classes = tables(read_runs(paths))["AP per class, masks, largest differences first"]
    assert list(classes) == ["y", "x", "none", "z", "new"]
    assert classes["y"][2] == Cell("-0.400", -1)
    assert classes["new"] == [Cell("missing"), Cell("1.000"), Cell("-")]


def test_times_are_ratios_and_less_is_better(write_metrics):
    where = {"device": "cpu (test)", "dtype": "float32", "batch_size": 1}
    a = write_metrics("a", **BOTH, **where, fps=40.0, milliseconds={"network": 20.0, "load": 0.0})
    b = write_metrics("b", **BOTH, **where, fps=80.0, milliseconds={"network": 10.0, "load": 1.0, "extra": 1.0})
    runs = read_runs([a, b])
    speed = tables(runs)["Speed"]
    assert speed["frames per second"] == [Cell("40.0"), Cell("80.0"), Cell("x 2.00", 1)]
    assert speed["network, ms"] == [Cell("20.0"), Cell("10.0"), Cell("x 0.50", 1)]
    assert speed["load, ms"][2] == Cell("-")
    assert speed["extra, ms"] == [Cell("missing"), Cell("1.0"), Cell("-")]
    assert notes(runs, "Speed") == ["All on cpu (test), PyTorch, float32, batch 1."]
    c = write_metrics("c", **BOTH, **{**where, "device": "cuda (X)"}, fps=80.0, processes=2)
    (note,) = notes(read_runs([a, c]), "Speed")
    where_each = "A on cpu (test), PyTorch, float32, batch 1; B on cuda (X), PyTorch, float32, batch 1"
    assert f"{where_each}, one of 2 processes. The times" in note


def test_only_keys_that_differ_are_shown(write_metrics):
    a, b = write_metrics("a", **BOTH), write_metrics("b", **BOTH)
    path = b / "config.yaml"
    path.write_text(path.read_text().replace("image_size: 64", "image_size: 96") + "new: true\n")
    config = tables(read_runs([a, b]))["Configuration"]
    assert config == {"model.image_size": [Cell("64"), Cell("96")], "new": [Cell("(absent)"), Cell("true")]}
    assert notes(read_runs([a, a]), "Configuration") == ["No key differs."]
    path.unlink()
    assert notes(read_runs([a, b]), "Configuration") == ["There is no config.yaml for B."]


@pytest.mark.parametrize(
    ("changes", "same", "message"),
    [
        ({}, True, "All were evaluated on the same data: 6 images of annotations.json."),
        ({"annotations": "copy.json"}, True, "the same data"),
        ({"images": 3}, False, "A on 6 images of annotations.json; B on 3 images of annotations.json. The metrics"),
        ({"annotations_sha256": "def"}, False, "the files are all named annotations.json, but differ"),
        ({"annotations_sha256": "def", "annotations": "other.json"}, False, "B on 6 images of other.json"),
        ({"annotations_sha256": None}, None, "is not known"),
        ({"annotations_sha256": None, "annotations": "other.json"}, False, "B on 6 images of other.json"),
        ({"annotations_sha256": None, "images": 3}, False, "Different data"),
    ],
)
def test_different_data_is_said(write_metrics, changes, same, message):
    data = {"annotations": "annotations.json", "annotations_sha256": "abc", "images": 6}
    runs = read_runs([write_metrics("a", **BOTH, **data), write_metrics("b", **BOTH, **{**data, **changes})])
    assert data_verdict(runs)[0] is same
    assert message in data_verdict(runs)[1]


def test_a_run_that_does_not_say_its_images_may_have_other_ones(write_evaluation, tmp_path):
    evaluation = write_evaluation("a")
    run = training_run(tmp_path / "run", BOTH)
    assert data_verdict(read_runs([evaluation, run]))[1].endswith("B on unknown data.")
    (run / "config.yaml").write_text((evaluation / "config.yaml").read_text())
    same, message = data_verdict(read_runs([evaluation, run]))
    assert same is None
    assert "is not known: A on 6 images of annotations.json; B on annotations.json" in message
    (run / "config.yaml").write_text("data:\n  val_annotations: elsewhere/other.json\n")
    same, message = data_verdict(read_runs([evaluation, run]))
    assert same is False
    assert "B on other.json. The metrics do not compare." in message


def test_a_training_run_gives_its_evaluation_or_else_the_best_found_in_training(write_metrics, tmp_path):
    config = "name: x\ntrain:\n  lr: 0.1\n  steps: [1, 2]\n"
    found = [with_ap(0.3), with_ap(0.5), {"segm": {}}, with_ap(0.4)]
    paths = [training_run(tmp_path / name, *found, config=config) for name in ("one", "two")]
    write_metrics("two/eval", **with_ap(0.75))
    first, second = read_runs(paths)
    assert first.source == "the best of 4 evaluations in training, step 20"
    assert first.metrics["segm"]["AP"] == 0.5
    assert first.config == {"name": "x", "train.lr": 0.1, "train.steps": [1, 2]}
    assert (second.source, second.metrics["segm"]["AP"]) == ("eval/metrics.json", 0.75)
    nothing = training_run(tmp_path / "nothing", with_ap(None), with_ap(0.0))
    assert read_runs([nothing, nothing])[0].source == "the best of 2 evaluations in training, step 20"


def test_the_text_cuts_what_is_long(write_metrics):
    many = {f"class {number:03}": number / 100 for number in range(40)}
    a, b = (write_metrics(name, **BOTH, per_class={"segm": many, "bbox": many}) for name in "ab")
    (b / "config.yaml").write_text((b / "config.yaml").read_text() + f'long: {"x" * 200}\nbad: "a\\e[31mb"\n')
    shown = comparison_text(read_runs([a, b]))
    for part in (f"A  {a}  (metrics: metrics.json)", "B - A", "and 10 more: see the page of --output", "long"):
        assert part in shown
    assert "x" * 60 not in shown
    assert "\x1b" not in shown
    lines = shown.splitlines()
    table = lines[lines.index("masks") + 1 :][:13]
    assert {len(line) for line in table} == {len(table[0])}


def test_the_command_writes_text_and_page(write_evaluation, tmp_path, capsys):
    a, b = write_evaluation("a", half), write_evaluation("b")
    output = tmp_path / "pages" / "comparison.html"
    run(["compare", "runs", str(a), str(b / "metrics.json"), "--output", str(output)])
    shown = capsys.readouterr().out
    for part in ("the same data: 6 images of annotations.json", "No key differs.", str(output)):
        assert part in shown
    page = output.read_text()
    texts = PageChecker(page).texts
    for part in ("A", "B", "B - A", "Masks", "Boxes", "Speed", "Configuration", "missed", "No key differs."):
        assert part in texts
    assert '<p class="verdict good">All were evaluated on the same data' in page
    assert 'class="number better"' in page
    assert page.index('class="verdict') < page.index("Masks")
    assert "Learning" not in texts


def test_the_page_draws_how_training_runs_learned(write_evaluation, tmp_path):
    one, two = training_run(tmp_path / "one", *[BOTH] * 3), training_run(tmp_path / "two", BOTH)
    texts = PageChecker(comparison_page(read_runs([one, two, write_evaluation("a")]))).texts
    for part in ("Learning", "mask AP", "box AP", "sum of the weighted losses, smoothed", "step"):
        assert part in texts


def test_hostile_names_stay_text(write_metrics):
    classes = {EVIL: 0.1, "\ud800": 0.2}
    a = write_metrics(f"{EVIL[:8]} a", **BOTH, per_class={"segm": classes, "bbox": classes})
    b = write_metrics("b", **BOTH, annotations=EVIL, device=EVIL, milliseconds={EVIL: 1.0})
    (b / "config.yaml").write_text(json.dumps({EVIL: EVIL}))
    runs = read_runs([a, b])
    assert EVIL in PageChecker(comparison_page(runs)).texts
    comparison_text(runs).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not a metrics.json"),
        ("[" * 100_000, "is not a metrics.json"),
        ("[]", "neither of masks"),
        ("{}", "neither of masks"),
        ({"segm": {**VALUES, "AP": "0.3"}, "bbox": VALUES}, "'segm' does not hold numbers"),
        ({"segm": {"AP": float("nan")}}, "'segm' does not hold numbers"),
        ({**BOTH, "per_class": {"segm": {}, "bbox": 3}}, "'per_class.bbox' does not hold numbers"),
        ({**BOTH, "errors": 3}, "'errors.segm.dAP' does not hold numbers"),
        ({**BOTH, "milliseconds": {"load": "1"}}, "'milliseconds' does not hold numbers"),
        ({**BOTH, "fps": True}, "'fps' is True"),
        ({**BOTH, "annotations_sha256": []}, r"'annotations_sha256' is \[\]"),
    ],
)
def test_a_file_that_holds_no_metrics_is_refused(content, message, tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UserError, match=message) as caught:
        read_runs([path, path])
    assert str(path) in str(caught.value)


def test_mistakes_are_named_and_leave_nothing_behind(write_metrics, tmp_path):
    one, output = str(write_metrics("one", **BOTH)), str(tmp_path / "out" / "page.html")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    training_run(tmp_path / "new")
    training_run(tmp_path / "odd", {"segm": 3})
    (training_run(tmp_path / "list") / "metrics.jsonl").write_text("[1]")
    before = sorted(path.name for path in tmp_path.iterdir())
    for arguments, message in (
        ([one, "--output", output], "Two to 26 runs can be compared, got 1"),
        ([one] * 27, "got 27"),
        ([one, str(tmp_path / "none"), "--output", output], "none' does not exist"),
        ([one, str(tmp_path / "empty"), "--output", output], "has neither metrics.json nor metrics.jsonl"),
        ([one, str(tmp_path / "new"), "--output", output], "has not been evaluated yet"),
        ([one, str(tmp_path / "odd"), "--output", output], "is not a metrics.jsonl"),
        ([one, str(tmp_path / "list"), "--output", output], "is not a metrics.jsonl"),
        ([one, str(tmp_path / "file"), "--output", output], "is not a metrics.json"),
        ([one, one, "--output", str(tmp_path / "page.pdf")], r"ends with \.html.*page\.pdf"),
        ([one, one, "--output", str(tmp_path / "file" / "page.html")], "cannot be written"),
    ):
        with pytest.raises(UserError, match=message):
            run(["compare", "runs", *arguments])
    assert sorted(path.name for path in tmp_path.iterdir()) == before
