import pytest
import torch
from compare import STATE_DICTS

from yolact.compat import dbolya
from yolact.config import Config
from yolact.errors import CheckpointError, ConfigError
from yolact.models import build_model


def shapes_of(name):
    return {key: torch.empty(shape, device="meta") for key, shape, _ in STATE_DICTS[name]}


@pytest.mark.parametrize("name", list(STATE_DICTS))
def test_names_and_shapes_are_those_of_our_model(name):
    with torch.device("meta"):
        own = build_model(Config(model=dbolya.PUBLISHED[name])).state_dict()
    converted = dbolya.convert(shapes_of(name))
    assert {key: value.shape for key, value in converted.items()} == {key: value.shape for key, value in own.items()}


@pytest.mark.parametrize("name", list(STATE_DICTS))
def test_each_published_file_is_recognised(name):
    assert dbolya.recognise(shapes_of(name), f"{name}_54_800000.pth").name == name


@pytest.mark.parametrize("name", ["yolact_resnet50", "yolact_darknet53", "yolact_plus_base", "yolact_resnet50_pascal"])
def test_tensors_tell_the_model_where_they_can(name):
    assert dbolya.recognise(shapes_of(name), "weights.pth").name == name


def test_only_the_file_name_tells_the_three_sizes_apart():
    with pytest.raises(ConfigError, match="yolact_base, yolact_im400 and yolact_im700 alike"):
        dbolya.recognise(shapes_of("yolact_base"), "weights.pth")


def test_another_number_of_classes_is_read_from_the_tensors():
    weights = shapes_of("yolact_resnet50")
    weights["prediction_layers.0.conf_layer.bias"] = torch.empty(3 * (1 + 4), device="meta")
    assert dbolya.recognise(weights, "mine.pth").model.num_classes == 4


def test_legacy_duplicates_are_dropped():
    weights = shapes_of("yolact_resnet50")
    legacy = {"backbone.layer1.0.conv1.weight": torch.zeros(1), "fpn.downsample_layers.2.weight": torch.zeros(1)}
    assert list(dbolya.convert({**weights, **legacy})) == list(dbolya.convert(weights))


def test_an_unknown_tensor_is_named():
    with pytest.raises(CheckpointError, match=r"'fc\.weight'"):
        dbolya.convert({"fc.weight": torch.zeros(1)})


def test_a_backbone_is_not_mistaken_for_a_model():
    with pytest.raises(CheckpointError, match=r"train\.backbone_weights"):
        dbolya.recognise({"conv1.weight": torch.zeros(1)}, "resnet50-19c8e357.pth")
