"""Batches for training and evaluation.

A training sample's random numbers come from the seed and its position in the run, so that neither the number of
worker processes nor an interruption changes what the network sees.
"""

import signal
from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from yolact.config.schema import AugmentConfig
from yolact.data.coco import CocoDataset
from yolact.data.transforms import (
    Photometric,
    boxes_of,
    build_target,
    prepare_picture,
    sample_geometry,
    sample_photometric,
    warp_picture,
)
from yolact.errors import DatasetError
from yolact.structures import Target


class Batch(NamedTuple):
    """What one training step sees."""

    images: Tensor  # uint8 [B, 3, S, S] RGB
    targets: list[Target]
    skipped: list[str]  # errors of pictures that could not be read and were replaced by the next ones


# RGB of what the picture does not cover: ImageNet's mean, for DarkNet too, as the authors have it.
FILL = (124, 117, 104)


class TrainingSet(Dataset[tuple[Tensor, Target, list[str]]]):
    """Augmented samples of a data set, by (position in the run, index of the picture)."""

    def __init__(
        self,
        dataset: CocoDataset,
        image_size: int,
        augment: AugmentConfig,
        seed: int,
        unreadable: str = "raise",
    ) -> None:
        """Hold what a sample depends on.

        Args:
            dataset: the pictures and their objects.
            image_size: side S of the network input in pixels.
            augment: the augmentation.
            seed: of the run, not negative.
            unreadable: "raise" a DatasetError for a picture that cannot be read, or "skip" to the next one.
        """
        self.dataset, self.image_size, self.augment, self.seed = dataset, image_size, augment, seed
        self.unreadable = unreadable

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: tuple[int, int]) -> tuple[Tensor, Target, list[str]]:
        """Return the image, uint8 [3, S, S] RGB, its target, and the errors of pictures that were skipped.

        Raises:
            DatasetError: the picture cannot be read and must not be skipped, or none can be read.
        """
        position, index = place
        rng = np.random.default_rng([self.seed, position])
        picture, index, skipped = self._read(index)
        objects = self.dataset.objects(index)
        iscrowd = np.array([record.iscrowd for record in objects], np.bool_)
        geometry = sample_geometry(rng, picture.shape[:2], boxes_of(objects), iscrowd, self.augment, self.image_size)
        photometric = sample_photometric(rng) if self.augment.photometric else Photometric()
        image = warp_picture(picture, geometry, photometric, FILL, self.image_size)
        return image, build_target(objects, geometry, self.image_size, self.dataset.images[index].id), skipped

    def _read(self, index: int) -> tuple[np.ndarray, int, list[str]]:
        """Return the picture `index`, or the first readable one after it, with its index and the errors before it."""
        skipped: list[str] = []
        for offset in range(len(self.dataset)):
            candidate = (index + offset) % len(self.dataset)
            try:
                return self.dataset.load_picture(candidate), candidate, skipped
            except DatasetError as error:
                if self.unreadable == "raise":
                    raise
                skipped.append(str(error))
        raise DatasetError(f"None of the {len(self.dataset)} pictures can be read; the first error: {skipped[0]}")


class RunSampler(Sampler[tuple[int, int]]):
    """The endless sequence of (position, index) of a run: one random permutation of the pictures after another."""

    def __init__(self, num_pictures: int, seed: int, start: int = 0) -> None:
        self.num_pictures, self.seed, self.start = num_pictures, seed, start

    def __iter__(self) -> Iterator[tuple[int, int]]:
        position = self.start
        while True:
            epoch, place = divmod(position, self.num_pictures)
            order = np.random.default_rng([self.seed, epoch]).permutation(self.num_pictures)
            for index in order[place:]:
                yield position, int(index)
                position += 1


class EvaluationSet(Dataset[tuple[Tensor, tuple[int, int], int]]):
    """Every picture as the network sees it at inference."""

    def __init__(self, dataset: CocoDataset, image_size: int) -> None:
        self.dataset, self.image_size = dataset, image_size

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, tuple[int, int], int]:
        """Return the image, uint8 [3, S, S] RGB, the picture's own (H, W) and its id."""
        record = self.dataset.images[index]
        image = prepare_picture(self.dataset.load_picture(index), self.image_size)
        return image, (record.height, record.width), record.id


class _ErrorsAsSamples(Dataset[Any]):
    """Return a DatasetError in place of a sample: DataLoader would bury a raised one under a worker's traceback."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, place: Any) -> Any:
        try:
            return self.dataset[place]
        except DatasetError as error:
            return error


class _Loader(DataLoader[Any]):
    """A DataLoader that raises the DatasetError that a worker handed over, with its message as it was."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(batch, DatasetError):
                raise batch
            yield batch


def training_loader(
    training_set: TrainingSet, batch_size: int, seed: int, start_position: int = 0, num_workers: int = 0
) -> DataLoader[Batch]:
    """Yield batches for ever, beginning with the sample at `start_position` of the run.

    Iterating raises DatasetError for a picture that cannot be read, unless the set skips those.
    """
    return _make_loader(
        training_set,
        _collate_training,
        batch_size=batch_size,
        num_workers=num_workers,
        sampler=RunSampler(len(training_set), seed, start_position),
    )


def evaluation_loader(
    dataset: EvaluationSet, batch_size: int = 1, num_workers: int = 0
) -> DataLoader[tuple[Tensor, list[tuple[int, int]], list[int]]]:
    """Yield (images uint8 [B, 3, S, S], sizes (H, W), ids) over every picture once, in order.

    The last batch may be smaller. Iterating raises DatasetError for a picture that cannot be read.
    """
    return _make_loader(dataset, _collate_evaluation, batch_size=batch_size, num_workers=num_workers)


def _make_loader(dataset: Dataset[Any], collate: Any, **options: Any) -> DataLoader[Any]:
    return _Loader(
        _ErrorsAsSamples(dataset),
        collate_fn=collate,
        worker_init_fn=_start_worker,
        pin_memory=torch.cuda.is_available(),
        **options,
    )


def _collate_training(samples: list[Any]) -> Batch | DatasetError:
    error = _first_error(samples)
    if error is not None:
        return error
    images, targets, skipped = zip(*samples, strict=True)
    return Batch(torch.stack(images), list(targets), [reason for reasons in skipped for reason in reasons])


def _collate_evaluation(samples: list[Any]) -> tuple[Tensor, list[tuple[int, int]], list[int]] | DatasetError:
    error = _first_error(samples)
    if error is not None:
        return error
    images, sizes, ids = zip(*samples, strict=True)
    return torch.stack(images), list(sizes), list(ids)


def _first_error(samples: list[Any]) -> DatasetError | None:
    return next((sample for sample in samples if isinstance(sample, DatasetError)), None)


def _start_worker(_: int) -> None:
    """Keep a worker to one thread, and leave Ctrl-C to the main process, which saves before it stops."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
