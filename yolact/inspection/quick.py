"""What a training run says about its data at the start: two lines, from the annotations alone.

Everything random has its own generator: a run's random numbers do not change by being looked at.
"""

import os

import numpy as np

from yolact.config import Config
from yolact.data.dataset import CocoDataset
from yolact.inspection.anchors import count_crowded_out, input_boxes, measure
from yolact.text import counted

SAMPLED_OBJECTS = 5_000  # for the share that meets an anchor: half a point
CROWDING_OBJECTS = 1_000  # for the share crowded out, which is small; half a second on a slow core
FEW = 0.8  # share from which a run is told where to find better sizes


def data_line(train: CocoDataset, val: CocoDataset) -> str:
    """Say what is trained on, what is left out, and what no accuracy can be expected of."""
    objects, dropped = int(train.class_counts.sum()), train.dropped.total()
    parts = [
        f"data: {len(train):,} pictures to train, with {objects:,} objects of {_classes(len(train.categories))}; "
        f"{len(val):,} to validate, with {int(val.class_counts.sum()):,}"
    ]
    if dropped:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in train.dropped.most_common())
        parts.append(f"{dropped:,} annotations left out ({reasons})")
    unused = [train.categories.names[label] for label in np.flatnonzero(train.class_counts == 0)]
    if unused:
        more = ", ..." if len(unused) > 3 else ""
        parts.append(f"{_classes(len(unused))} without objects ({', '.join(unused[:3])}{more})")
    shared = len(_files(train) & _files(val))
    if shared:
        parts.append(f"{shared:,} of the pictures are both trained on and validated on")
    return "; ".join(parts)


def anchor_line(config: Config, train: CocoDataset) -> str:
    """Say how many objects meet an anchor and how many only get one by force, without augmentation."""
    pictures, count = [], 0
    for place in np.random.default_rng(0).permutation(len(train)).tolist():
        if count >= SAMPLED_OBJECTS:
            break
        pictures.append(input_boxes(train.objects(place), train.images[place], config.model.image_size))
        count += len(pictures[-1])
    if count == 0:
        return "anchors: there are no objects that could meet one"
    recall = measure(np.concatenate(pictures), config.model, config.loss.positive_iou).recall
    crowding = count_crowded_out(pictures, config.model, config.loss.positive_iou, CROWDING_OBJECTS)
    forced = 1 - recall + crowding.crowded_out / max(crowding.objects, 1)
    advice = "; scripts/check_dataset.py suggests sizes that more of them meet" if recall < FEW else ""
    return (
        f"anchors: {100 * recall:.0f} % of the objects meet one at IoU {config.loss.positive_iou:g}, "
        f"{100 * forced:.0f} % only get one by force{advice}"
    )


def _classes(count: int) -> str:
    return counted(count, "class", "classes")


def _files(dataset: CocoDataset) -> set[str]:
    """Return the picture files; one that is linked to under two names counts as two."""
    folder = os.path.realpath(dataset.image_folder)
    return {os.path.normpath(os.path.join(folder, picture.file_name)) for picture in dataset.images}
