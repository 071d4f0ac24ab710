import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from yolact.config import Config, DataConfig, TrainConfig, config_to_dict, dump_config, load_config, override_config
from yolact.distributed import SINGLE, World
from yolact.engine.checkpoint import load_checkpoint, model_weights
from yolact.engine.fine_tuning import fine_tuning, read_weights
from yolact.engine.start import check_training, started
from yolact.engine.trainer import Parts
from yolact.engine.training_data import inverse_weights, load_data
from yolact.errors import ConfigError, DatasetError


def config(**options):
    return Config(train=TrainConfig(**options))


def test_a_batch_is_shared_evenly_or_not_at_all():
    for size in (1, 2, 4, 8):
        check_training(config(batch_size=8), World(size=size), "cpu")
    with pytest.raises(ConfigError, match=r"is 8, which 3 ranks .* multiple of 3"):
        check_training(config(batch_size=8), World(size=3), "cpu")


def test_synchronised_batch_norm_needs_cuda():
    settings = config(batch_size=8, sync_batch_norm=True)
    check_training(settings, World(size=2), "cuda")
    check_training(settings, SINGLE, "cpu")
    check_training(config(batch_size=4, sync_batch_norm=True), World(size=2), "cpu")  # frozen
    with pytest.raises(ConfigError, match="CUDA only, and this is cpu"):
        check_training(settings, World(size=2), "cpu")


@pytest.mark.parametrize("sizes", [(550, 248), ()])
def test_a_training_that_grows_ends_at_the_size_of_use(sizes):
    said = re.escape(f"train.image_sizes must end with model.image_size, 550, if progressive, got {[*sizes]}: ")
    with pytest.raises(ConfigError, match=said):
        check_training(config(image_sizes=sizes, image_size_order="progressive"), SINGLE, "cpu")
    check_training(config(image_sizes=(248, 550), image_size_order="progressive"), SINGLE, "cpu")


def test_patience_needs_evaluations():
    with pytest.raises(ConfigError, match=r"set train\.eval_every"):
        check_training(config(patience=3, eval_every=None), SINGLE, "cpu")


def test_what_follows_the_data(sample_config):
    """Six images with ten objects, five of each class but one, which is a crowd region."""
    config, train, _ = load_data(override_config(sample_config, ["loss.class_weights=inverse", "eval.nms_top_k=1"]))
    discs, squares = train.class_counts.tolist()
    assert config.loss.class_weights == pytest.approx((9 / (2 * discs), 9 / (2 * squares)))
    assert (config.eval.max_detections, config.eval.nms_top_k) == (100, 2 * train.most_objects()[1])
    few, *_ = load_data(override_config(sample_config, ["eval.max_detections=1"]))
    assert (few.eval.max_detections, train.most_objects()[0]) == (2, 2)


def test_the_white_of_deep_images_is_kept_in_the_configuration(sample_config, tmp_path):
    assert load_data(sample_config)[0].data.white is None
    images = shutil.copytree(sample_config.data.train_images, tmp_path / "images")
    file = sorted(images.iterdir())[0]
    cv2.imwrite(str(file), cv2.imread(str(file)).astype(np.uint16) * 16)
    config, *sets = load_data(override_config(sample_config, [f"data.train_images={images}"]))
    assert config.data.white == 4095
    assert [one.colours.white for one in sets] == [4095, 4095]
    assert sets[0].load_image(0).max() == round(240 * 16 * 255 / 4095)
    assert load_data(config)[0] == config  # as a resumed run has it
    for text, value in (("image", "image"), ("900", 900.0)):
        config = override_config(sample_config, [f"data.train_images={images}", f"data.white={text}"])
        assert load_data(config)[0].data.white == value
    with pytest.raises(ConfigError, match=r"data\.white must be .*, got 'bright'"):
        override_config(sample_config, ["data.white=bright"])
    with pytest.raises(ConfigError, match=r"data\.background\.1 must be between 0 and 255, got 256"):
        override_config(sample_config, ["data.background=[0, 256, 0]"])


def test_data_without_objects(sample_config, tmp_path, caplog):
    content, empty = json.loads(Path(sample_config.data.val_annotations).read_text()), tmp_path / "empty.json"
    empty.write_text(json.dumps({**content, "annotations": []}))
    load_data(override_config(sample_config, [f"data.val_annotations={empty}"]))
    assert f"{empty} has no objects: there is nothing to score" in caplog.text
    nothing = override_config(sample_config, [f"data.train_annotations={empty}"])
    with pytest.raises(DatasetError, match=rf"{empty} has no objects to train on: label some"):
        load_data(nothing)
    load_data(override_config(nothing, ["data.allow_empty=true"]))
    crowds = [{**entry, "iscrowd": 1} for entry in content["annotations"]]
    empty.write_text(json.dumps({**content, "annotations": crowds}))
    with pytest.raises(DatasetError, match=rf"has no objects to train on but {len(crowds)} crowd regions"):
        load_data(nothing)
    assert f"{len(crowds)} of {len(crowds)} objects are crowd regions (iscrowd)" in caplog.text


def test_weights_of_classes_by_hand():
    assert inverse_weights(np.array([6, 2, 0])) == pytest.approx((8 / 12, 8 / 4, 1))
    assert inverse_weights(np.array([0])) == (1,)


def test_weights_must_be_as_many_as_the_classes(sample_config):
    with pytest.raises(ConfigError, match=r"class_weights .* for each of the 2 categories .* got 3\."):
        load_data(override_config(sample_config, ["loss.class_weights=[1, 2, 3]"]))
    with pytest.raises(ConfigError, match=r"class_weights must be one of none, inverse, got 'rare'"):
        override_config(sample_config, ["loss.class_weights=rare"])


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
