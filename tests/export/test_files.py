"""Exported files, as other programs see them."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from yolact.config import BackboneConfig
from yolact.errors import UserError
from yolact.export import FORMATS, export_model
from yolact.export.files import METADATA_FILE, OPSET, _stable_sort, open_runner, require_packages
from yolact.export.pictures import generated_pictures
from yolact.models import build_model
from yolact.models.backbones import DeformableConv2d
from yolact.predictor import LoadedModel

IMAGES = np.random.default_rng(1).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["onnx", "onnx-raw", "torch", "torch-raw"])
def test_the_file_agrees_with_pytorch(exported, name):
    _, (_, comparison) = exported(name)
    assert comparison.disagreement() is None
    assert (comparison.detections, comparison.pictures) == (600, 6)
    assert comparison.paired > 590
    assert comparison.masks > 300
    assert set(comparison.batch_sizes) == {1, 2, 3}
    assert comparison.score_difference < 1e-4
    assert (name.endswith("raw")) == bool(comparison.raw_differences)


@pytest.mark.parametrize("name", ["onnx", "torch"])
def test_a_picture_has_the_same_outputs_in_every_batch(exported, name):
    path, _ = exported(name)
    run = open_runner(path, name)
    together = run(IMAGES)
    for index in range(len(IMAGES)):
        alone = run(IMAGES[index : index + 1])
        assert np.abs(alone["scores"][0] - together["scores"][index]).max() < 1e-5


@pytest.mark.parametrize("name", ["onnx", "onnx-raw"])
def test_an_onnx_file_describes_itself(exported, name):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    path, (export, _) = exported(name)
    assert [file.name for file in path.parent.glob(f"{name}.*")] == [path.name]  # the weights are inside
    content = onnx.load(path)
    onnx.checker.check_model(content)
    assert {entry.version for entry in content.opset_import if entry.domain in ("", "ai.onnx")} == {OPSET}
    assert all(value.doc_string for value in [*content.graph.input, *content.graph.output])
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [(value.name, value.type, value.shape) for value in session.get_inputs()] == [
        ("images", "tensor(uint8)", ["batch", 64, 64, 3])
    ]
    assert [(value.name, tuple(value.shape)) for value in session.get_outputs()] == [
        (port.name, port.shape) for port in export.outputs
    ]
    texts = session.get_modelmeta().custom_metadata_map
    assert {key: json.loads(text) for key, text in texts.items()} == export.metadata


def test_a_torch_file_needs_nothing_of_this_project(exported, tmp_path):
    path, (export, _) = exported("torch")
    np.save(tmp_path / "images.npy", IMAGES)
    program = f"""
import json, sys
import numpy as np, torch
extra = {{"{METADATA_FILE}": ""}}
found = torch.export.load({str(path)!r}, extra_files=extra).module()(torch.from_numpy(np.load("images.npy")))
assert "yolact" not in sys.modules
np.save("scores.npy", found["scores"].numpy())
print(extra["{METADATA_FILE}"])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == export.metadata
    assert np.abs(np.load(tmp_path / "scores.npy") - open_runner(path, "torch")(IMAGES)["scores"]).max() < 1e-5


def test_equal_scores_keep_their_order_in_onnx(tmp_path):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")

    class Sort(torch.nn.Module):
        def forward(self, values):
            return values.sort(descending=True, stable=True)

    values = torch.randint(0, 3, (2, 50)).float()
    program = torch.export.export(Sort(), (values,))
    table = {torch.ops.aten.sort.stable: _stable_sort()}
    written = torch.onnx.export(
        program, dynamo=True, opset_version=OPSET, custom_translation_table=table, verbose=False
    )
    written.save(tmp_path / "sort.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "sort.onnx"), providers=["CPUExecutionProvider"])
    ordered, places = session.run(None, {session.get_inputs()[0].name: values.numpy()})
    expected = Sort()(values)
    assert np.array_equal(ordered, expected.values)
    assert np.array_equal(places, expected.indices)


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_at_once(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"package {package}, .*pip install onnx onnxscript onnxruntime"):
        require_packages("onnx")
    require_packages("torch")


def test_a_plus_model_is_exported_with_its_mask_scores(tiny_config, tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    backbone = BackboneConfig(name="resnet18", deformable_blocks=(0, 0, 2, 2))
    # Prototypes of fewer than 63 pixels are too small for the re-scoring network.
    model_config = replace(tiny_config.model, image_size=256, backbone=backbone, mask_iou=True)
    config = replace(tiny_config, model=model_config, eval=replace(tiny_config.eval, max_detections=20))
    model = build_model(config).eval()
    for module in model.modules():
        if isinstance(module, DeformableConv2d):  # else they are plain convolutions before the first step of training
            torch.nn.init.normal_(module.conv_offset_mask.bias)
    torch.nn.init.ones_(model.mask_iou.output.bias)
    loaded = LoadedModel(model, config, ["a", "b", "c"], [1, 2, 3])
    export, comparison = export_model(loaded, tmp_path / "plus.onnx", FORMATS["onnx"], generated_pictures(256)[:2])
    assert comparison.disagreement() is None
    assert comparison.detections == 40
    assert export.outputs[-1].name == "mask_scores"
    outputs = open_runner(tmp_path / "plus.onnx", "onnx")(np.zeros((1, 256, 256, 3), np.uint8))
    assert (outputs["mask_scores"] > 0).any()
    assert not np.array_equal(outputs["mask_scores"], outputs["scores"])
