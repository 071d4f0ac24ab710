"""Exported files in their runtimes: what PyTorch finds, in the commands too, and what is refused in one sentence."""

import functools
import json
import re
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import yolact
from yolact.cli import run
from yolact.config import BackboneConfig
from yolact.data.dataset import CocoDataset
from yolact.errors import CheckpointError, UserError
from yolact.instances import Instances
from yolact.loaded import LoadedModel, load_model
from yolact.models import build_model
from yolact.models.backbones import DeformableConv2d
from yolact.predictor import Predictor
from yolact.runtimes.exported import KINDS, kind_of
from yolact.tools.export import export_model, generated_images

PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "torch"}
FORMS = [f"{form}{raw}" for form in PACKAGES for raw in ("", "-raw")]


@pytest.fixture(scope="module")
def exported(sample_checkpoint, tmp_path_factory):
    """Return a function from a format to the path of a file, made once."""

    @functools.cache
    def export(form):
        pytest.importorskip("onnxscript")
        kind = form.removesuffix("-raw")
        pytest.importorskip(PACKAGES[kind])
        path = tmp_path_factory.mktemp("files") / f"model{KINDS[kind].ending}"
        export_model(load_model(sample_checkpoint), path, form, generated_images(64)[:2])
        return path

    return export


def assert_same(left: Instances, right: Instances) -> None:
    """Compare to the tolerances that the README promises."""
    assert len(left) == len(right) > 0
    assert left.labels.equal(right.labels)
    torch.testing.assert_close(left.scores, right.scores, atol=1e-4, rtol=0)
    torch.testing.assert_close(left.mask_scores, right.mask_scores, atol=1e-4, rtol=0)
    torch.testing.assert_close(left.boxes, right.boxes, atol=0.1, rtol=0)
    common, either = (left.masks & right.masks).sum((1, 2)), (left.masks | right.masks).sum((1, 2))
    assert (common >= 0.99 * either).all()


@pytest.mark.parametrize("form", FORMS)
def test_a_file_finds_what_its_checkpoint_finds(exported, form, sample_checkpoint, sample_data):
    predictor, expected = yolact.load(exported(form)), yolact.load(sample_checkpoint)
    images = sorted((sample_data / "pictures").iterdir())
    assert_same(predictor(images[0]), expected(images[0]))
    for found, wanted in zip(predictor(images, 0.2), expected(images, 0.2), strict=True):
        assert_same(found, wanted)
    together = list(predictor.stream(images, 0.2, batch_size=3))
    assert [len(one) for one in together] == [len(one) for one in expected(images, 0.2)]
    parts, wanted_parts = (one.dissect(images[0], 0.2)[1] for one in (predictor, expected))
    torch.testing.assert_close(parts.prototypes, wanted_parts.prototypes, atol=1e-4, rtol=1e-3)
    assert predictor.class_names == expected.class_names
    assert (predictor.runtime.name, predictor.runtime.precision) == (KINDS[kind_of(exported(form))].name, "fp32")
    assert predictor.model is None


@pytest.mark.parametrize("form", ["onnx", "openvino-raw"])
def test_an_evaluation_of_a_file_has_the_metrics_of_its_checkpoint(exported, form, sample_checkpoint, tmp_path, capsys):
    for name, weights in (("file", exported(form)), ("checkpoint", sample_checkpoint)):
        run(["eval", "--weights", str(weights), "--output", str(tmp_path / name)])
    mine, theirs = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("file", "checkpoint"))
    for kind in ("segm", "bbox"):
        assert mine[kind] == pytest.approx(theirs[kind], abs=1e-3)
    assert (mine["runtime"], theirs["runtime"]) == (KINDS[form.removesuffix("-raw")].name, "PyTorch")
    assert mine["runtime"] in (tmp_path / "file/report.html").read_text()
    assert mine["runtime"] in capsys.readouterr().out


def test_commands_take_a_file(exported, tmp_path, sample_data, capsys):
    image = sample_data / "pictures/picture 0.png"
    run(["predict", str(image), "--weights", str(exported("onnx")), "--output", str(tmp_path / "found")])
    assert json.loads((tmp_path / "found/predictions.json").read_text())
    run(["explain", str(image), "--weights", str(exported("onnx")), "--output", str(tmp_path / "explained")])
    assert len(list((tmp_path / "explained").iterdir())) > 4
    run(["compare", "nms", "--weights", str(exported("onnx-raw")), "--output", str(tmp_path / "nms")])
    assert "cross_class" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"model\.onnx' was exported for ONNX Runtime: leave --runtime out"):
        run(["compare", "nms", "--weights", str(exported("onnx")), "--runtime", "openvino"])
    with pytest.raises(UserError, match="has its NMS inside"):
        run(["compare", "nms", "--weights", str(exported("onnx")), "--output", str(tmp_path / "nms")])


def test_a_raw_file_leaves_settings_open_and_a_complete_one_names_what_it_fixes(
    exported, sample_checkpoint, sample_data
):
    image = sample_data / "pictures/picture 0.png"
    changes = {"nms": "cross_class", "max_detections": 5, "crop": "none"}
    assert_same(
        yolact.load(exported("onnx-raw"), **changes)(image, 0.01),
        yolact.load(sample_checkpoint, **changes)(image, 0.01),
    )
    complete = exported("onnx")
    assert_same(yolact.load(complete, crop="none")(image), yolact.load(sample_checkpoint, crop="none")(image))
    for given, words in (
        ({"nms": "cross_class"}, "has eval.nms=fast inside"),
        ({"max_detections": 5}, "has eval.max_detections=100 inside"),
        ({"image_size": 96}, "its image size inside"),
        ({"precision": "bf16"}, r"as it was exported \(fp32\)"),
        ({"compiled": True}, r"as it was exported \(fp32\)"),
        ({"config": "shapes"}, "has its configuration"),
        ({"device": "cuda"}, "has only .*CPUExecutionProvider"),
    ):
        with pytest.raises(UserError, match=words):
            yolact.load(complete, **given)
    with pytest.raises(ValueError, match=r"\[0.05, 1\], as the file has the lower limit inside, got 0.01"):
        yolact.load(complete)(image, 0.01)


def test_an_evaluation_cannot_change_the_threshold_of_a_complete_file(exported, sample_data):
    dataset = CocoDataset(sample_data / "annotations.json", sample_data / "pictures", max_images=1)
    with pytest.raises(UserError, match=r"has eval\.score_threshold=0\.05 inside"):
        yolact.evaluate(yolact.load(exported("onnx"), score_threshold=0.3), dataset, progress=False)


def onnx_with(path, **changes):
    """Write a copy of an ONNX file with other metadata; None takes an entry away."""
    import onnx

    model = onnx.load(path)
    texts = {entry.key: entry.value for entry in model.metadata_props} | {k: json.dumps(v) for k, v in changes.items()}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {key: text for key, text in texts.items() if text != "null"})
    return model


STRANGE = {
    "of another program": ({"yolact_export": None, "config": None}, "not a file of `yolact export`: .*yolact_export"),
    "without its classes": ({"class_names": None}, "class_names missing"),
    "of a newer version": ({"yolact_export": 9}, r"exported by a newer version \(form 9, expected 3\); update"),
    "of an older version": ({"yolact_export": 1}, r"exported by an older version \(form 1, expected 3\); export"),
}  # fmt: skip


@pytest.mark.parametrize("kind", STRANGE)
def test_a_strange_file_is_refused_in_one_sentence(exported, tmp_path, kind):
    changes, words = STRANGE[kind]
    path = tmp_path / "strange.onnx"
    path.write_bytes(onnx_with(exported("onnx"), **changes).SerializeToString())
    with pytest.raises(CheckpointError, match=words):
        yolact.load(path)


@pytest.mark.parametrize("form", PACKAGES)
def test_a_truncated_file_is_refused_in_one_sentence(exported, tmp_path, form):
    source, path = exported(form), tmp_path / f"short{KINDS[form].ending}"
    shutil.copytree(source, path) if source.is_dir() else shutil.copy(source, path)
    for file in path.iterdir() if path.is_dir() else [path]:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=f"{re.escape(KINDS[form].name)} cannot read it|it does not run"):
        yolact.load(path)
    with pytest.raises(CheckpointError, match="there is no such file"):
        yolact.load(tmp_path / f"none{KINDS[form].ending}")


def test_an_engine_and_a_runtime_that_is_not_installed_are_one_sentence(exported, tmp_path, monkeypatch):
    (tmp_path / "a.engine").write_bytes(b"engine")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(
        UserError, match="needs the package tensorrt, which is not installed; run `pip install tensorrt`"
    ):
        yolact.load(tmp_path / "a.engine")
    file = exported("onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match="needs the package onnxruntime"):
        yolact.load(file)


@pytest.mark.parametrize("form", FORMS)
def test_images_of_any_shape_are_padded_alike(tiny_config, tmp_path, form, load_script):
    """Half of the images leave the lower part of the input free, half the right one."""
    pytest.importorskip("onnxscript")
    kind = form.removesuffix("-raw")
    pytest.importorskip(PACKAGES[kind])
    torch.manual_seed(0)
    changes = {"image_size": (64, 96), "resize": "pad"}
    config = replace(tiny_config, model=replace(tiny_config.model, **changes))
    loaded = LoadedModel(build_model(config).eval(), config, ["a", "b", "c"], [1, 2, 3])
    images = [image[:height] for image in generated_images(96)[:2] for height in (20, 96)]
    path = tmp_path / f"model{KINDS[kind].ending}"
    export_model(loaded, path, form, images)
    predictor, expected = yolact.load(path), Predictor(loaded)
    for image in images:
        assert_same(predictor(image, 0.2), found := expected(image, 0.2))
        assert expected.dissect(image, 0.2)[1].scores[0].equal(found.scores)
        if form == "onnx":  # and in the program that others copy
            example = load_script("onnx_example")
            by_hand = example.detect(*example.load(str(path)), image, 0.2)
            np.testing.assert_allclose(by_hand.boxes, found.boxes, atol=0.1)
            assert (by_hand.masks != found.masks.numpy()).mean() < 1e-3


def test_masks_of_a_plus_model_have_the_scores_that_it_gives_them(tiny_config, tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    backbone = BackboneConfig(name="resnet18", deformable_blocks=(0, 0, 2, 2))
    # Prototypes of fewer than 63 pixels are too small for the rescoring network.
    config = replace(tiny_config, model=replace(tiny_config.model, image_size=256, backbone=backbone, mask_iou=True))
    model = build_model(config).eval()
    for module in model.modules():
        if isinstance(module, DeformableConv2d):  # else they are plain convolutions before the first step of training
            torch.nn.init.normal_(module.conv_offset_mask.bias)
    torch.nn.init.ones_(model.mask_iou.output.bias)
    loaded, images = LoadedModel(model, config, ["a", "b", "c"], [1, 2, 3]), generated_images(256)[:2]
    export_model(loaded, tmp_path / "plus.onnx", "onnx", images)
    found, expected = yolact.load(tmp_path / "plus.onnx")(images[0]), Predictor(loaded)(images[0])
    assert_same(found, expected)
    assert not found.mask_scores.equal(found.scores)
    export_model(loaded, tmp_path / "raw.onnx", "onnx-raw", images)
    with pytest.raises(UserError, match="without the network that scores its masks"):
        yolact.load(tmp_path / "raw.onnx")
    pytest.importorskip("openvino")
    with pytest.raises(UserError, match=r"OpenVINO cannot take this model \(it has no DeformConv"):
        export_model(loaded, tmp_path / "plus_openvino", "openvino", images)
    assert not list(tmp_path.glob("*openvino*"))


def test_a_checkpoint_is_exported_for_a_runtime_once(sample_checkpoint, sample_data, tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxscript")
    pytest.importorskip("openvino")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    image = sample_data / "pictures/picture 0.png"
    command = ["predict", str(image), "--weights", str(sample_checkpoint), "--output", str(tmp_path / "out")]
    command.append("--overwrite")
    objects = []
    for setting in ("eval.nms=fast", "eval.max_detections=7", "eval.score_threshold=0.9"):
        run([*command, "--runtime", "openvino", "--set", setting])
        objects.append(len(json.loads((tmp_path / "out/predictions.json").read_text())))
    assert objects[:2] == [100, 7]  # the settings are those of the call
    assert 0 < objects[2] < 100
    assert capsys.readouterr().out.count("exporting") == 1
    (kept,) = (tmp_path / "cache/yolact").iterdir()
    assert kept.name.endswith("_openvino")
    with pytest.raises(UserError, match="--runtime takes --precision fp32, bf16 or fp16"):
        run([*command, "--runtime", "openvino", "--precision", "auto"])


def test_int8_files_keep_layers_in_float_until_little_is_lost(
    sample_checkpoint, sample_data, dataset, tmp_path, monkeypatch
):
    pytest.importorskip("nncf")
    from yolact.tools import export as tool

    loaded = load_model(sample_checkpoint)
    losses = iter([0.30, 0.02, 0.007, 0.015])
    real = tool.evaluate

    def evaluate(runtime, data, settings):
        found = real(runtime, data, settings, progress=False)
        is_float = runtime.precision == "fp32"
        return replace(found, metrics={"segm": {"AP": 0.5 if is_float else 0.5 - next(losses)}})

    monkeypatch.setattr(tool, "evaluate", evaluate)
    path, lines = tmp_path / "model_int8.onnx", []
    export, attempt = tool.export_int8(loaded, path, "onnx-raw", dataset, dataset, lines.append)
    assert attempt.float_parts == tool.FLOAT_PARTS[2]  # the best of all four, as none reached the aim
    assert attempt.loss == pytest.approx(0.007)
    assert len(lines) == 5
    predictor = yolact.load(path)
    assert (predictor.runtime.precision, export.metadata["precision"]) == ("int8", "int8")
    assert len(predictor(sample_data / "pictures/picture 0.png", 0.05)) > 0
    losses = iter([0.3, 0.2, 0.1, 0.05])
    path.unlink()
    with pytest.raises(UserError, match=r"because it loses 5\.0 AP against the float model, more than 1"):
        tool.export_int8(loaded, path, "onnx-raw", dataset, dataset, lines.append)
    assert not path.exists()
