"""The two lines at the start of a training run."""

import json
from dataclasses import replace

import numpy as np
import torch

from yolact.data.dataset import CocoDataset
from yolact.inspection.quick import anchor_line, data_line


def load(config):
    data = config.data
    return CocoDataset(data.train_annotations, data.train_images), CocoDataset(data.val_annotations, data.val_images)


def test_a_clean_set(clean) -> None:
    config = clean.write()
    train, val = load(config)
    assert data_line(train, val) == (
        "data: 12 pictures to train, with 23 objects of 2 classes; 12 to validate, with 23"
    )
    line = anchor_line(config, train)
    assert line.startswith("anchors: ")
    assert "% of the objects meet one at IoU 0.5" in line


def test_what_is_left_out_unused_or_shared_is_said(clean) -> None:
    clean.train["annotations"][0]["segmentation"] = []
    clean.train["annotations"][2]["bbox"] = [5, 5, 0, 0]
    clean.train["categories"].append({"id": 50, "name": "fox"})
    config = clean.write()
    train, _ = load(config)
    line = data_line(train, train)
    assert "2 annotations left out (1 no segmentation, 1 box without area)" in line
    assert "1 class without objects (fox)" in line
    assert "12 of the pictures are both trained on and validated on" in line


def test_bad_sizes_point_to_the_whole_check(clean) -> None:
    config = clean.write()
    train, _ = load(config)
    anchors = replace(config.model.anchors, scales=((2.0,),) * 5)
    line = anchor_line(replace(config, model=replace(config.model, anchors=anchors)), train)
    assert line.startswith("anchors: 0 % of the objects meet one at IoU 0.5, 100 % only get one by force")
    assert line.endswith("scripts/check_dataset.py suggests sizes that more of them meet")


def test_no_objects(clean) -> None:
    clean.train["annotations"] = []
    config = clean.write()
    train, val = load(config)
    assert "0 objects" in data_line(train, val)
    assert anchor_line(config, train) == "anchors: there are no objects that could meet one"


def test_the_random_numbers_of_a_run_stay_as_they_are(clean) -> None:
    config = clean.write()
    train, val = load(config)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    before = np.random.get_state()[1].tolist()
    data_line(train, val), anchor_line(config, train)
    assert torch.equal(torch.rand(4), expected)
    assert np.random.get_state()[1].tolist() == before
    assert json.loads((clean.folder / "train.json").read_text()) == clean.train
