import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from yolact.config import DataConfig, config_to_dict, dump_config, load_config, override_config
from yolact.distributed import SINGLE
from yolact.engine.checkpoint import load_checkpoint, model_weights
from yolact.engine.fine_tuning import fine_tuning, fitting_weights, read_weights, transfer_weights
from yolact.engine.start import started
from yolact.engine.trainer import Parts
from yolact.errors import CheckpointError
from yolact.models import build_model


def test_weights_of_another_model_come_with_the_command_that_fine_tunes_them(
    sample_checkpoint, sample_config, tmp_path
):
    """Of the configuration beside them, or of that name, if it has that model; else they say whose they are."""
    data = DataConfig(train_images="my images")
    path = tmp_path / "last.pth"
    shutil.copy(sample_checkpoint, path)
    known = read_weights(str(path)).config
    assert config_to_dict(known)["model"] == config_to_dict(sample_config)["model"]
    assert fine_tuning(known, path, data) == " (this is 'sample', with tiny)"
    (tmp_path / "config.yaml").write_text(dump_config(override_config(sample_config, ["model.num_prototypes=9"])))
    assert fine_tuning(known, path, data) == " (this is 'sample', with tiny)"
    (tmp_path / "config.yaml").write_text(dump_config(sample_config))
    assert fine_tuning(known, path, data).startswith(
        f", or fine-tune this model, 'sample': --config {tmp_path}/config.yaml --weights {path} --set "
        "model.num_classes=null 'data.train_images=my images' data.train_annotations=data/coco/annotations/"
    )
    assert ": --config shapes --weights a/b.pth " in fine_tuning(load_config("shapes"), Path("a/b.pth"), data)
    assert fine_tuning(None, path, data) == ""


def test_classes_in_another_order_are_not_mixed(sample_config, sample_checkpoint, tmp_path, caplog):
    content = json.loads(Path(sample_config.data.train_annotations).read_text())
    first, second = content["categories"]
    first["id"], second["id"] = second["id"], first["id"]
    file = tmp_path / "swapped.json"
    file.write_text(json.dumps(content))
    config = override_config(
        sample_config, [f"data.train_annotations={file}", f"data.val_annotations={file}", "model.num_classes=null"]
    )
    places = {"world": SINGLE, "device": torch.device("cpu"), "parts": Parts(), "weights": str(sample_checkpoint)}
    with caplog.at_level("INFO"):
        with started(config, runs=tmp_path / "a", **places) as swapped:
            pass
        assert "has these classes in another order" in caplog.text
        caplog.clear()
        with started(sample_config, runs=tmp_path / "b", **places) as same:
            pass
    assert "in another order" not in caplog.text
    weights = model_weights(load_checkpoint(sample_checkpoint))
    fresh, others = (
        {name.split(".")[0] for name, one in trainer.model.model.state_dict().items() if not one.equal(weights[name])}
        for trainer in (swapped, same)
    )
    assert fresh  # as far as the random start is another one
    assert fresh <= {"head", "semantic"}
    assert others == set()


def test_a_head_of_other_classes_is_remade_and_listed(tiny_config, caplog):
    source = build_model(tiny_config)
    model = build_model(replace(tiny_config, model=replace(tiny_config.model, num_classes=1)))
    with caplog.at_level(logging.INFO):
        remade = transfer_weights(model, source.state_dict(), "old.pth")
    assert set(remade) == {"head.class_logits.weight", "head.class_logits.bias", "semantic.weight", "semantic.bias"}
    assert "re-made head.class_logits.bias: the file has [12], the model [6]" in caplog.text
    for name, value in model.state_dict().items():
        assert torch.equal(value, source.state_dict()[name]) == (name not in remade) or name.endswith("semantic.bias")


def test_another_kind_of_model_is_refused(tiny_config):
    with pytest.raises(CheckpointError, match=r"Only 0 of the model's \d+ tensors .* and widths, or so\.$"):
        fitting_weights(build_model(tiny_config), {"fc.weight": torch.zeros(1)}, "classifier.pth", ", or so")
