"""yolact export: what the files compute and say of themselves, how disagreements are found, and what is refused."""

import functools
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import yolact
from yolact.cli import run
from yolact.config import config_to_dict
from yolact.data.rendering import prepare_image, to_unit
from yolact.errors import DatasetError, UserError
from yolact.evaluation.run import Evaluation
from yolact.loaded import LoadedModel, load_model
from yolact.output import finished_path
from yolact.postprocess import Detector
from yolact.predictor import Predictor
from yolact.runtimes.exported import RAW, ExportedRuntime
from yolact.tools import export as tool
from yolact.tools.export import export_model, generated_images, read_images
from yolact.tools.export.agreement import compare
from yolact.tools.export.files import OPSET, require
from yolact.tools.export.graph import Export

IMAGES = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
DRAWN = generated_images(64)
EXAMPLE = Path(__file__).resolve().parents[2] / "scripts/onnx_example.py"


@pytest.fixture(scope="module")
def loaded(sample_checkpoint: Path) -> LoadedModel:
    """An untrained model, which finds a hundred objects in every image."""
    return replace(load_model(sample_checkpoint), class_names=["disc", "étoile"])


@pytest.fixture(scope="module")
def exported(loaded, tmp_path_factory):
    """Return a function from a format to the path, the export and the comparison, made once."""

    @functools.cache
    def export(form):
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
        path = tmp_path_factory.mktemp("exported") / f"{form}.onnx"
        return path, *export_model(loaded, path, form, DRAWN)

    return export


def with_eval(loaded, **changes):
    return replace(loaded, config=replace(loaded.config, eval=replace(loaded.config.eval, **changes)))


def runner(export, change=lambda outputs: None):
    """Run an export without writing it; `change` alters its outputs."""

    def call(images):
        with torch.no_grad():
            outputs = {name: value.clone() for name, value in export(images).items()}
        change(outputs)
        return outputs

    return call


def compared(loaded, raw=False, change=lambda outputs: None):
    export = Export(loaded, raw)
    return compare(runner(export, change), export, loaded, DRAWN[:2])


def test_metadata_say_what_a_program_needs(loaded):
    subject = with_eval(loaded, crop="after_resize", nms="cross_class")
    complete = Export(subject, raw=False).metadata
    assert complete == {
        "yolact_export": 3, "version": yolact.__version__, "contents": "complete", "precision": "fp32",
        "config": config_to_dict(subject.config), "image_size": [64, 64], "resize": "stretch", "mask_threshold": 0.0,
        "names_known": True, "class_names": ["disc", "étoile"], "category_ids": [3, 7], "crop": "after_resize",
        "score_threshold": 0.05, "nms": "cross_class", "nms_threshold": 0.5, "nms_top_k": 200, "max_detections": 100,
    }  # fmt: skip
    raw = Export(with_eval(loaded, nms="exact"), raw=True).metadata
    assert (raw["contents"], raw["box_variances"]) == ("raw", [0.1, 0.2])


def add(name, amount):
    return lambda outputs: outputs.__setitem__(name, outputs[name] + torch.as_tensor(amount, dtype=outputs[name].dtype))


FAULTS = {
    "scores": (add("scores", 2e-4), "no counterpart within 0.0001 in score and 0.1 pixels, of 200"),
    "boxes": (add("boxes", [0.2, 0, 0, 0]), "no counterpart"),
    "labels": (lambda o: o.update(labels=(o["labels"] + 1) % 2), "no counterpart"),
    "counts": (lambda o: o.update(counts=o["counts"] - 20), "no counterpart"),
    "NaN": (add("scores", np.nan), "no counterpart"),
    "masks": (lambda o: o.update(masks=1 - o["masks"]), r"masks differs by 1\.0e\+00, more than 0\.01"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_disagreement_of_detections_is_found(loaded, fault):
    change, words = FAULTS[fault]
    assert re.search(words, str(compared(loaded, change=change).disagreement()))


@pytest.mark.parametrize("name", RAW)
@pytest.mark.parametrize("amount", [1.0, np.nan])
def test_a_disagreement_of_raw_outputs_is_found(loaded, name, amount):
    assert f"{name} differs by" in compared(loaded, True, add(name, amount)).disagreement()


def test_rounding_may_decide_over_an_overlap_at_the_threshold(loaded):
    with torch.no_grad():
        images = torch.stack([prepare_image(image, loaded.model.resize) for image in DRAWN[:2]])
        predictions = loaded.model(to_unit(images))

    def boxes(threshold):
        settings = replace(loaded.config.eval, nms_threshold=threshold)
        return Detector.of(loaded.model, settings).detect(predictions).boxes

    low, high = 0.3, 0.6
    first = boxes(low)
    while high - low > 1e-6:  # find a threshold at which a detection appears
        middle = (low + high) / 2
        low, high = (middle, high) if boxes(middle).equal(first) else (low, middle)
    export = Export(with_eval(loaded, nms_threshold=high + 1e-6), raw=False)
    near = compare(runner(export), export, with_eval(loaded, nms_threshold=low - 1e-6), DRAWN[:2])
    assert near.by_rounding > 0
    assert near.disagreement() is None
    far = compare(runner(export), export, with_eval(loaded, nms_threshold=low - 0.05), DRAWN[:2])
    assert "no counterpart" in far.disagreement()


@pytest.mark.parametrize("form", ["onnx", "onnx-raw"])
def test_a_file_agrees_in_batches_of_every_size_describes_itself_and_needs_no_custom_operations(exported, form):
    path, export, comparison = exported(form)
    import onnx
    import onnxruntime

    assert comparison.disagreement() is None
    assert (comparison.detections, comparison.batch_sizes) == (600, [1, 3, 2])
    assert comparison.paired > 590
    assert comparison.masks > 300
    outputs, expected = ExportedRuntime(path).session.run(IMAGES), runner(export)(IMAGES)
    assert [(n, v.dtype, v.shape) for n, v in outputs.items()] == [(n, v.dtype, v.shape) for n, v in expected.items()]
    name = "class_logits" if form.endswith("raw") else "scores"
    assert (outputs[name] - expected[name]).abs().max() < 1e-4

    assert list(path.parent.iterdir()) == [path]  # the weights are inside
    content = onnx.load(path)
    onnx.checker.check_model(content)
    assert {entry.version for entry in content.opset_import if entry.domain in ("", "ai.onnx")} == {OPSET}
    assert {node.domain for node in content.graph.node} <= {"", "ai.onnx"}
    assert not any(node.metadata_props for node in content.graph.node)  # which would tell the folders of this machine
    assert all(value.doc_string for value in [*content.graph.input, *content.graph.output])
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (images,) = session.get_inputs()
    assert (images.name, images.type, images.shape) == ("images", "tensor(uint8)", ["batch", 64, 64, 3])
    shapes = {value.name: value.shape for value in session.get_outputs()}
    assert shapes == {name: ["batch", *value.shape[1:]] for name, value in export.outputs.items()}
    texts = session.get_modelmeta().custom_metadata_map
    assert {key: json.loads(text) for key, text in texts.items()} == export.metadata


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_at_once(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        UserError, match=rf"--format onnx needs the package {package}, .*pip install onnx onnxscript onnx"
    ):
        require("onnx", "fp32")
    require("torch", "fp32")


def test_a_folder_gives_its_first_ten_images_by_name(tmp_path):
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"{number:02}.png"), np.full((4, 4, 3), number, np.uint8))
    (tmp_path / "00.txt").write_text("no image")
    assert [int(image[0, 0, 0]) for image in read_images([tmp_path])] == list(range(10))
    assert [int(image[0, 0, 0]) for image in read_images([tmp_path / "11.png"])] == [11]
    with pytest.raises(DatasetError, match=r"00\.txt"):
        read_images([tmp_path / "00.txt"])


@pytest.fixture
def weights(sample_checkpoint, tmp_path):
    """A copy of the checkpoint in a folder of its own, to which results go by default."""
    (tmp_path / "run").mkdir()
    return shutil.copy(sample_checkpoint, tmp_path / "run/best.pth")


def command(*arguments):
    run(["export", *map(str, arguments)])


def test_a_file_is_written_and_described(weights, sample_data, capsys):
    settings = ("eval.max_detections=7", "eval.nms=cross_class")
    images = sorted((sample_data / "pictures").iterdir())[:2]
    command("--weights", weights, "--format", "torch", "--set", *settings, "--images", *images)
    out = capsys.readouterr().out
    assert "detections         14 of 14 the same" in out
    assert sorted(path.name for path in weights.parent.iterdir()) == ["best.pt2", "best.pth"]
    words = ("comparing on 2 given images", "run with torch.export", "[batch, 64, 64, 3]", "[batch, 7, 16, 16]")
    assert all(word in out for word in words)
    program = """
import sys, torch
about = {"metadata.json": ""}
found = torch.export.load("best.pt2", extra_files=about).module()(torch.zeros(5, 64, 64, 3, dtype=torch.uint8))
assert "yolact" not in sys.modules and found["boxes"].shape == (5, 7, 4)
print(about["metadata.json"])
"""
    about = json.loads(subprocess.check_output([sys.executable, "-c", program], cwd=weights.parent))
    assert (about["nms"], about["class_names"], about["category_ids"]) == ("cross_class", ["disc", "square"], [3, 7])


@pytest.mark.parametrize(
    ("threshold", "error", "words"),
    [
        (0.05, 0.1, "it does not agree with PyTorch: class_logits differs by"),
        (1, 0, "nothing could be compared: the model finds no object in 6 images with a score above 1;"),
    ],
)
def test_a_file_that_disagrees_or_finds_nothing_is_not_written(weights, monkeypatch, threshold, error, words):
    whole = tool.compare
    monkeypatch.setattr(
        tool, "compare",
        lambda run, export, *rest: whole(runner(lambda images: run(images), add("class_logits", error)), export, *rest),
    )  # fmt: skip
    older = weights.with_name("best_raw.pt2")
    older.write_bytes(b"older")
    with pytest.raises(UserError, match=f"'{older}' was not written, because .*{words}"):
        command("--weights", weights, "--format", "torch-raw", "--set", f"eval.score_threshold={threshold}")
    assert sorted(path.name for path in weights.parent.iterdir()) == ["best.pth", "best_raw.pt2"]
    assert older.read_bytes() == b"older"


REFUSED = {
    "another ending": (["onnx", "--output", "{folder}/a.pt2"], "ends in .onnx"),
    "a precision that it has not": (["torch", "--precision", "fp16"], "has no fp16, expected one of fp32, bf16"),
    "no GPU": (["tensorrt"], "needs the package tensorrt"),
    "no such folder": (["torch", "--output", "{folder}/none/a.pt2"], "does not exist"),
    "no such image": (["torch", "--images", "{folder}/none.png"], "none.png"),
    "no images": (["torch", "--images", "{folder}"], "holds no images"),
    "exact NMS": (["torch", "--set", "eval.nms=exact"], "eval.nms=fast"),
    "flips": (["torch", "--set", "eval.flips=[horizontal]"], "add --set eval.flips=[], or export the raw outputs"),
    "images for int8": (["onnx", "--precision", "int8", "--images", "{folder}"], "leave --images out"),
    "unknown key": (["torch", "--set", "eval.nsm=fast"], "eval.nsm"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_mistakes_are_refused_in_one_sentence(weights, mistake):
    arguments, words = REFUSED[mistake]
    with pytest.raises(UserError, match=re.escape(words)):
        command("--weights", weights, "--format", *(text.format(folder=weights.parent) for text in arguments))
    assert [path.name for path in weights.parent.iterdir()] == ["best.pth"]


def test_a_folder_is_replaced_only_where_it_holds_nothing_but_an_export(weights):
    folder = weights.parent / "a_openvino"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.xml").touch()
    with pytest.raises(UserError, match="a_openvino' holds 'sub', which is not of an earlier export"):
        command("--weights", weights, "--format", "openvino", "--output", folder)
    with pytest.raises(UserError, match="holds 'sub'"), finished_path(folder) as made:  # which others call too
        made.mkdir()
    (folder / "sub").rmdir()
    with finished_path(folder) as made:
        made.mkdir()
        (made / "model.bin").touch()
    assert [path.name for path in folder.iterdir()] == ["model.bin"]


@pytest.mark.parametrize("form", ["torch-raw", "openvino-raw"])
def test_a_full_disk_is_one_sentence(weights, form):
    resource = pytest.importorskip("resource")
    pytest.importorskip("onnxscript" if form == "torch-raw" else "openvino")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"best_raw.* could not be written \(.*\); make room or give another"):
            command("--weights", weights, "--format", form)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in weights.parent.iterdir()] == ["best.pth"]


@pytest.mark.parametrize("ap", [None, 0.0])
def test_int8_is_refused_where_the_float_model_finds_nothing_to_lose(loaded, dataset, tmp_path, monkeypatch, ap):
    monkeypatch.setattr(tool, "make_export", lambda *_: None)
    monkeypatch.setattr(tool, "evaluate", lambda *_: Evaluation({"segm": {"AP": ap}}, [], []))
    with pytest.raises(UserError, match=r"the float model has no mask AP on '.*annotations\.json'"):
        tool.export_int8(loaded, tmp_path / "a.onnx", "onnx", dataset, dataset, lambda _: None)


def test_the_example_finds_what_the_predictor_finds(exported, loaded, sample_data, tmp_path, load_script):
    """Where neither torch nor this project can be imported."""
    file, image = exported("onnx")[0], sample_data / "pictures/picture 1.png"
    expected = Predictor(loaded)(image, score_threshold=0.35)
    assert len(expected) > 3
    hidden = f"import sys, runpy; sys.modules.update(torch=None, yolact=None); sys.argv[0] = {str(EXAMPLE)!r}; "
    program = [sys.executable, "-c", hidden + "runpy.run_path(sys.argv[0], run_name='__main__')"]
    arguments = [file, image, "--threshold", 0.35, "--output", tmp_path / "found.png"]
    done = subprocess.run([*program, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    texts = [
        f"{expected.class_names[label]} {score:.2f}, box {' '.join(f'{corner:.0f}' for corner in box)}"
        for label, score, box in zip(expected.labels, expected.scores, expected.boxes, strict=True)
    ]
    assert [line.rpartition(", ")[0] for line in done.stdout.splitlines()] == texts
    assert (cv2.imread(str(tmp_path / "found.png")) != cv2.imread(str(image))).any()
    with pytest.raises(SystemExit, match="2"):
        load_script("onnx_example").main([str(file), "none.png"])


def test_the_example_crops_large_masks_where_the_small_ones_are_whole(load_script):
    pytest.importorskip("onnxruntime")
    paste, about = load_script("onnx_example").paste, {"mask_threshold": 0.5, "crop": "after_resize"}
    mask = paste(np.ones((4, 4), np.float32), np.array([1.4, 2.6, 5.5, 6.4]), (8, 8, 3), about)
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 5, 1, 4)
    assert paste(np.ones((4, 4), np.float32), np.zeros(4), (8, 8, 3), about | {"crop": "none"}).all()


@pytest.mark.long
def test_ten_photographs_with_a_resnet50(shared, tmp_path, capsys):
    """The published form of the model, weights made by rules: the same detections, scores to 1e-4, masks over 0.99."""
    from compare import published_state_dict

    weights = tmp_path / "yolact_resnet50_54_800000.pth"
    torch.save(published_state_dict("yolact_resnet50"), weights)
    command("--weights", weights, "--format", "onnx", "--images", shared / "coco_tiny/val2017")
    assert "1000 of 1000 the same" in capsys.readouterr().out
