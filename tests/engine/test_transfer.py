import logging
from dataclasses import replace

import pytest
import torch

from yolact.engine.transfer import transfer_weights
from yolact.errors import CheckpointError
from yolact.models import build_model


def test_a_head_of_other_classes_is_remade_and_listed(tiny_config, caplog):
    source = build_model(tiny_config)
    model = build_model(replace(tiny_config, model=replace(tiny_config.model, num_classes=1)))
    with caplog.at_level(logging.INFO):
        remade = transfer_weights(model, source.state_dict(), "old.pth")
    assert set(remade) == {"head.class_logits.weight", "head.class_logits.bias", "semantic.weight", "semantic.bias"}
    assert "re-made head.class_logits.bias [6]: the file has [12]" in caplog.text
    for name, value in model.state_dict().items():
        assert torch.equal(value, source.state_dict()[name]) == (name not in remade) or name.endswith("semantic.bias")


def test_another_kind_of_model_is_refused(tiny_config):
    with pytest.raises(CheckpointError, match=r"Only 0 of the model's \d+ tensors"):
        transfer_weights(build_model(tiny_config), {"fc.weight": torch.zeros(1)}, "classifier.pth")
