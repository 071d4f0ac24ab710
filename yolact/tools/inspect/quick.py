"""What a run says about its data at the start, without touching its random numbers: two lines, from annotations."""

import os

import numpy as np

from yolact.config import Config
from yolact.data.dataset import CocoDataset
from yolact.text import counted
from yolact.tools.inspect.anchor_fit import input_boxes, measure

SAMPLED_OBJECTS = 5_000  # for the share that meets an anchor: half a point
FEW = 80  # percent below which a run is told where to find better sizes


def data_line(train: CocoDataset, val: CocoDataset) -> str:
    """Say what is trained on, what is left out, and what no accuracy can be expected of."""
    trained, validated = (int(one.class_counts.sum()) for one in (train, val))
    known = f"{trained:,} objects of {counted(len(train.categories), 'class', 'classes')}"
    parts = [f"data: {len(train):,} images to train, with {known}; {len(val):,} to validate, with {validated:,}"]
    if train.dropped:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in train.dropped.most_common())
        parts.append(f"{train.dropped.total():,} annotations left out ({reasons})")
    unused = [train.categories.names[label] for label in np.flatnonzero(train.class_counts == 0)]
    if unused:
        names = ", ".join(unused[:3] + ["..."] * (len(unused) > 3))
        parts.append(f"{counted(len(unused), 'class', 'classes')} without objects ({names})")
    if shared := len(_files(train) & _files(val)):
        parts.append(f"{shared:,} of the images are both trained on and validated on")
    return "; ".join(parts)


def _files(dataset: CocoDataset) -> set[str]:
    folder = os.path.realpath(dataset.image_folder)  # links to files are not resolved: one under two names is two
    return {os.path.normpath(os.path.join(folder, image.file_name)) for image in dataset.images}


def anchor_line(config: Config, train: CocoDataset) -> str:
    """Say how many objects meet an anchor and how many only get one by force, without augmentation."""
    model, iou = config.model, config.loss.positive_iou
    boxes, number = [np.zeros((0, 4))], 0
    for index in np.random.default_rng(0).permutation(len(train)).tolist():
        if number < SAMPLED_OBJECTS:
            boxes.append(input_boxes(train.objects(index), train.images[index], model.image_size))
            number += len(boxes[-1])
    if number == 0:
        return "anchors: there are no objects that could meet one"
    met = 100 * measure(np.concatenate(boxes), model, iou).recall
    line = f"anchors: {met:.0f} % of the objects meet one at IoU {iou:g}, {100 - met:.0f} % only get one by force"
    return line + ("; yolact check suggests sizes that more of them meet" if met < FEW else "")
