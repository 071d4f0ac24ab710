"""The two sets of a training, and what of its configuration follows from them."""

import logging
import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from yolact.config import Config, as_size
from yolact.data.dataset import CocoDataset
from yolact.data.samples import Colours
from yolact.data.white import choose_white
from yolact.errors import ConfigError, DatasetError
from yolact.structures import Tiles

logger = logging.getLogger(__name__)

USUAL = 0.9  # of the objects, which tiles that overlap shall show whole


def load_data(config: Config) -> tuple[Config, CocoDataset, CocoDataset]:
    """Read both annotation files, and set what follows them; UserError if they do not agree.

    These are the white of images of more than 8 bits, the number of classes, the weights of classes, how many objects
    an evaluation must be able to find, and its tiles.
    """
    data, expected = config.data, config.model.num_classes
    config = replace(config, eval=replace(config.eval, tiles=config.eval.tiles or data.tiles))
    train = CocoDataset(
        data.train_annotations, data.train_images, max_images=data.max_train_images, in_tiles=data.tiles is not None,
        colours=Colours.of(config),
    )  # fmt: skip
    if data.white is None:
        data = replace(data, white=choose_white(train))
        config = replace(config, data=data)
    val = CocoDataset(
        data.val_annotations, data.val_images, max_images=config.eval.max_images, in_tiles=config.eval.tiles is not None
    )
    train.colours = val.colours = Colours.of(config)
    if train.categories != val.categories:
        both = [set(zip(one.categories.ids, one.categories.names, strict=True)) for one in (train, val)]
        raise DatasetError(
            f"{data.train_annotations} and {data.val_annotations} must declare the same categories, but only one of "
            f"them has {sorted(both[0] ^ both[1])[:3]}: make their 'categories' lists equal."
        )
    found = len(train.categories)
    if expected not in (None, found):
        raise ConfigError(
            f"model.num_classes of configuration '{config.name}' is {expected}, but {data.train_annotations} "
            f"declares {found} categories: set it to {found}, or to null to take it from the file."
        )
    if not train.class_counts.sum() and not data.allow_empty:
        crowds = f" but {train.num_crowds} crowd regions (iscrowd)" if train.num_crowds else ""
        raise DatasetError(
            f"{data.train_annotations} has no objects to train on{crowds}: label some (`yolact check` says more), or "
            "set data.allow_empty=true to train on background alone."
        )
    if not val.class_counts.sum():
        logger.warning("%s has no objects: there is nothing to score, and no best checkpoint", data.val_annotations)
    loss, settings = config.loss, config.eval
    if loss.class_weights == "inverse":
        loss = replace(loss, class_weights=inverse_weights(train.class_counts))
    if loss.class_weights != "none" and len(loss.class_weights) != found:
        raise ConfigError(
            f"loss.class_weights of configuration '{config.name}' must be a weight for each of the {found} categories "
            f"of {data.train_annotations}, got {len(loss.class_weights)}."
        )
    if data.tiles is not None and settings.tiles != data.tiles:
        logger.warning("trains on tiles of %s, but evaluates in tiles of %s (eval.tiles)", data.tiles, settings.tiles)
    if settings.tiles is not None and settings.tile_overlap is None:
        settings = replace(settings, tile_overlap=usual_overlap(train, min(as_size(settings.tiles)) // 2))
    tiles = Tiles.of(settings)
    most, most_of_class = (
        max(counts) for counts in zip(*(one.most_objects(tiles) for one in (train, val)), strict=True)
    )
    top_k = max(settings.nms_top_k, 2 * most_of_class)
    settings = replace(settings, max_detections=max(settings.max_detections, most), nms_top_k=top_k)
    return replace(config, model=replace(config.model, num_classes=found), loss=loss, eval=settings), train, val


def usual_overlap(dataset: CocoDataset, most: int) -> int:
    """Return the pixels that `USUAL` of the objects fit into on both sides, `most` of them at most."""
    sides = dataset.longest_sides
    return min(math.ceil(np.quantile(sides, USUAL)), most) if len(sides) else most // 2


def inverse_weights(counts: NDArray[np.int64]) -> tuple[float, ...]:
    """Return weights in inverse proportion to the objects of each class, whose mean over all objects is 1.

    A class without objects has weight 1.
    """
    present = counts > 0
    weights = np.where(present, counts.sum() / (max(1, present.sum()) * np.maximum(counts, 1)), 1.0)
    return tuple(weights.tolist())
