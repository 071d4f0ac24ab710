"""How many training samples a second one core makes."""

from pathlib import Path

import cv2
import numpy as np
import torch

from yolact.benchmark.other import load_builder
from yolact.benchmark.timing import Stage, Times, take_turns
from yolact.config import Config
from yolact.data.dataset import CocoDataset
from yolact.data.loader import FILL, TrainingSet
from yolact.data.photometric import sample_photometric
from yolact.data.transforms import boxes_of, largest_reduction, sample_geometry, warp_image
from yolact.device import pick_device

OTHER = "sample, compared"


def data_stages(config: Config, compare: Path | None = None) -> dict[str, Stage]:
    """Build the stages of the training data of a configuration; each takes the number of a sample.

    A compared file's function `data(annotations: str, images: str, image_size: int)` returns such a stage: one training
    sample with its masks, augmented and as the loader's worker would hand it over.
    """
    data, size = config.data, config.model.image_size
    dataset = CocoDataset(data.train_annotations, data.train_images, max_images=data.max_train_images)
    training_set = TrainingSet(dataset, size, data.augment, config.train.seed)
    stages: dict[str, Stage] = {
        "decode": lambda number: dataset.load_image(number % len(dataset)),
        "sample without masks": lambda number: _image(dataset, config, number),
        "sample": lambda number: training_set[number, number % len(dataset)],
    }
    builder = load_builder(compare, "data") if compare else None
    if builder is not None:
        stages[OTHER] = builder(data.train_annotations, data.train_images, size)
    return stages


def _image(dataset: CocoDataset, config: Config, number: int) -> torch.Tensor:
    """Make the image of a sample alone."""
    rng = np.random.default_rng([config.train.seed, number])
    index, size = number % len(dataset), config.model.image_size
    record, boxes = dataset.images[index], boxes_of(dataset.objects(index))
    crowds = np.zeros(len(boxes), np.bool_)
    geometry = sample_geometry(rng, (record.height, record.width), boxes, crowds, config.data.augment, size)
    picture, reduction = dataset.load_reduced(index, largest_reduction(geometry))
    return warp_image(picture, geometry, sample_photometric(rng), FILL, size, reduction)


def measure_data(config: Config, repeats: int, compare: Path | None = None) -> dict[str, Times]:
    """Time the stages by turns on one thread."""
    _use_one_thread()
    stages = data_stages(config, compare)
    return take_turns(stages, repeats, min(20, repeats), pick_device("cpu"), "data")


def build_worker(config: Config, compare: Path | None, stage: str) -> Stage:
    """Return a stage of `data_stages`, for a process that measures its memory."""
    _use_one_thread()
    return data_stages(config, compare)[stage]


def _use_one_thread() -> None:
    """Do as a loader's worker does."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
