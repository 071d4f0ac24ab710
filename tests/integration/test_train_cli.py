"""The training command line on a handful of generated images: artefacts, options, fine-tuning."""

import json
import re

import pytest

from tests.integration.conftest import lines, train
from yolact.engine.checkpoint import load_checkpoint
from yolact.errors import UserError


@pytest.fixture
def run(config, tmp_path):
    """Return a function that trains with some settings under a name and returns the run's folder."""

    def run(name, *settings, options=()):
        arguments = ["--config", config, "--runs", tmp_path, "--name", name, *options]
        assert train(*arguments, "--set", *settings) == 0
        return tmp_path / "tiny" / name

    return run


def losses(folder):
    return [line for line in lines(folder) if "losses" in line]


def test_a_run_leaves_what_it_promises(finished):
    names = {path.name for path in finished.iterdir()}
    assert {"config.yaml", "log.txt", "metrics.jsonl", "last.pth", "best.pth", "losses.png", "map.png"} <= names
    assert [line["step"] for line in losses(finished)] == list(range(1, 13))
    log = (finished / "log.txt").read_text()
    assert "12 steps of 2 images" in log
    assert "batch norm trained" in log
    checkpoint = load_checkpoint(finished / "best.pth")
    assert checkpoint["class_names"] == ["circle", "square", "triangle", "star", "ring"]
    assert checkpoint["category_ids"] == [3, 7, 11, 20, 42]
    assert checkpoint["config"]["model"]["num_classes"] == 5
    assert checkpoint["step"] == 12


def test_what_is_off_by_default_trains_and_resumes_exactly_with_other_workers(run):
    augment = ["data.augment.scale_jitter=[0.5,2]", "data.augment.copy_paste_probability=0.5", "train.schedule=steps"]
    sizes = "train.image_sizes=[48,96]"
    whole = run("whole", *augment, sizes, "train.max_steps=6")
    cut = run("cut", *augment, sizes, "train.max_steps=3")
    one_size = run("one size", *augment, "train.max_steps=1")
    assert losses(one_size)[0] != losses(whole)[0]
    assert train("--resume", cut, "--set", "train.max_steps=6", "data.num_workers=2") == 0
    assert losses(cut) == losses(whole)
    assert len(losses(whole)) == 6


def test_accumulation_adds_up_to_the_larger_batch(run):
    """With frozen batch norm and one anchor normaliser an image, two batches of one are close to a batch of two."""
    common = ["train.freeze_batch_norm=always", "train.max_steps=1"]
    whole, parts = run("whole", *common), run("parts", *common, "train.batch_size=1", "train.accumulate=2")
    assert [load_checkpoint(folder / "last.pth")["position"] for folder in (whole, parts)] == [2, 2]
    semantic = [losses(folder)[0]["losses"]["semantic"] for folder in (whole, parts)]
    assert semantic[0] == pytest.approx(semantic[1], rel=1e-5)  # the one term that is a plain mean over images


def test_fine_tuning_to_other_classes_lists_what_it_remade(run, config, finished, tmp_path):
    for name in ("train", "val"):
        content = json.loads((config.parent / f"shapes/instances_{name}.json").read_text())
        content["categories"] = [{"id": 5, "name": "thing"}]
        for annotation in content["annotations"]:
            annotation["category_id"] = 5
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    own = [f"data.{name}_annotations={tmp_path}/{name}.json" for name in ("train", "val")]
    command = f"fine-tune this model, 'tiny': --config {finished}/config.yaml --weights {finished}/best.pth --set model"
    with pytest.raises(UserError, match=re.escape(command)):
        run(
            "other",
            *own,
            "model.fpn_channels=24",
            "model.protonet_channels=24",
            options=["--weights", finished / "best.pth"],
        )
    folder = run("fine", *own, "train.max_steps=1", options=["--weights", finished / "best.pth"])
    log = (folder / "log.txt").read_text()
    assert "re-made head.class_logits.bias: the file has [18], the model [6]" in log
    assert "4 re-made" in log
    assert load_checkpoint(folder / "best.pth")["class_names"] == ["thing"]
