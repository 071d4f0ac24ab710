import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolact.config import override_config
from yolact.engine.training_data import inverse_weights, load_data
from yolact.errors import ConfigError, DatasetError


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
