"""Files as the authors published them load as they are, and what is wrong with a file is said in one sentence.

The weights are stand-ins of the right names and shapes.
"""

import gc
import os
from pathlib import Path

import pytest
import torch
from compare import STATE_DICTS

import yolact
from tests.configurations import SMALL_RESNET50
from yolact.compat import dbolya
from yolact.config import Config, dump_config
from yolact.engine.fine_tuning import read_weights
from yolact.errors import CheckpointError, ConfigError
from yolact.models import build_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _models_go():
    """An error that a test catches keeps its models, gigabytes of them, until Python looks for cycles."""
    yield
    gc.collect()


def stand_in(name):
    """Return weights of the names and shapes of a published file, each tensor of other values."""
    return {
        key: torch.full(shape, number, dtype=getattr(torch, dtype))
        for number, (key, shape, dtype) in enumerate(STATE_DICTS[name])
    }


def save(weights, path):
    """Save as the authors' code did in 2019, in PyTorch's form from before 1.6."""
    torch.save(weights, path, _use_new_zipfile_serialization=False)
    return path


@pytest.mark.parametrize("name", STATE_DICTS)
def test_a_published_file_loads_as_it_is(name, tmp_path):
    weights = stand_in(name)
    predictor = yolact.load(save(weights, tmp_path / f"{name}_54_800000.pth"))
    assert predictor.config == Config(name=name, model=dbolya.PUBLISHED[name])
    assert len(predictor.class_names) == (20 if name.endswith("pascal") else 80)
    for back in (dbolya.export(predictor.model.state_dict()), dbolya.export(dbolya.convert(weights))):
        assert back.keys() == weights.keys()
        assert all(torch.equal(back[key], weights[key]) for key in weights)
    os.remove(tmp_path / f"{name}_54_800000.pth")


@pytest.fixture(scope="module")
def small_weights():
    """A small model of ResNet-50 by the authors' names."""
    torch.manual_seed(0)
    return dbolya.export(build_model(SMALL_RESNET50).state_dict())


def legacy(weights):
    """What older versions of the authors' code left in their files: stages twice, and unused pyramid levels."""
    stages = [f"backbone.layers.{i}." for i in range(4)]
    twice = {
        key.replace(stage, f"backbone.layer{i + 1}."): value
        for i, stage in enumerate(stages)
        for key, value in weights.items()
        if key.startswith(stage)
    }
    levels = {f"fpn.downsample_layers.{i}.{part}": torch.zeros(3) for i in (2, 3) for part in ("weight", "bias")}
    assert len(twice) > 300
    return {**twice, **weights, **levels}


def without_counters(weights):
    return {key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")}


@pytest.mark.parametrize(
    "change",
    [
        legacy,
        without_counters,
        lambda weights: {f"module.{key}": value for key, value in weights.items()},
        lambda weights: {f"module.{key}": value for key, value in legacy(weights).items()},
    ],
    ids=["legacy", "without counters", "DataParallel", "both"],
)
def test_what_means_the_same_loads_the_same(small_weights, change, tmp_path):
    model = yolact.load(save(change(small_weights), tmp_path / "a.pth"), config=SMALL_RESNET50).model
    back = dbolya.export(model.state_dict())
    assert all(torch.equal(back[key], value) for key, value in small_weights.items())


def test_fine_tuning_takes_such_files_too(small_weights, tmp_path):
    path = save({f"module.{key}": value for key, value in legacy(small_weights).items()}, tmp_path / "a.pth")
    assert read_weights(str(path)).weights.keys() == dbolya.convert(small_weights).keys()


LATERAL, SEMANTIC, CLASSES = "fpn.lat_layers.0.weight", "semantic_seg_conv.bias", "prediction_layers.0.conf_layer.bias"
DAMAGE = {
    "a tensor is missing": (lambda w: w.pop(LATERAL), f"1 tensor differs: '{LATERAL}' is missing"),
    "the number of classes is missing": (lambda w: w.pop(SEMANTIC), f"1 tensor differs: '{SEMANTIC}' is missing"),
    "the logits are missing": (lambda w: w.pop(CLASSES), f"1 tensor differs: '{CLASSES}' is missing"),
    "a wrong shape": (
        lambda w: w.update({LATERAL: torch.zeros(16, 2047, 1, 1)}),
        f"'{LATERAL}' is [16, 2047, 1, 1] instead of [16, 2048, 1, 1]",
    ),
    "a wrong number of classes": (lambda w: w.update({SEMANTIC: torch.zeros(3)}), f"'{SEMANTIC}' is [3] instead"),
    "an unknown tensor": (lambda w: w.update({"fc.weight": torch.zeros(1)}), "'fc.weight', which is no part of"),
    "another layer of ours": (lambda w: w.update({"proto_net.8.x": torch.zeros(1)}), "'proto_net.8.x' has no place"),
    "wrapped": (
        lambda w: [w.update(state_dict=dict(w), epoch=3), [w.pop(key) for key in list(w)[:-2]]],
        "got a dict of 'state_dict', 'epoch'; if weights stand in there, save them as a file of their own",
    ),
    "nothing": (lambda w: w.clear(), "got a dict of nothing"),
    "numbers for names": (lambda w: [w.clear(), w.update({0: torch.zeros(1)})], "got a dict of '0'"),
    "a backbone": (
        lambda w: [w.clear(), w.update({"conv1.weight": torch.zeros(1)})], "An ImageNet backbone belongs into",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_refused_in_one_sentence(small_weights, name, tmp_path):
    damage, sentence = DAMAGE[name]
    weights = dict(small_weights)
    damage(weights)
    path = save(weights, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError) as refusal:
        yolact.load(path, config=SMALL_RESNET50)
    message = str(refusal.value)
    assert sentence in message
    assert "weights.pth" in message


def test_the_configuration_may_be_given_as_file_or_object(small_weights, tmp_path):
    path = save(small_weights, tmp_path / "weights.pth")
    (tmp_path / "small.yaml").write_text(dump_config(SMALL_RESNET50))
    for config in (SMALL_RESNET50, tmp_path / "small.yaml", str(tmp_path / "small.yaml")):
        predictor = yolact.load(path, config=config, max_detections=7)
        assert predictor.config.name == "small"
        assert predictor.settings.max_detections == 7
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        yolact.load(path, config="none.yaml")


def test_a_configuration_with_other_classes_says_what_to_write(small_weights, tmp_path):
    path = save(small_weights, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"2 classes.*num_classes=80; add --set model.num_classes=2"):
        yolact.load(path, config=ROOT / "configs/yolact_resnet50.yaml")
