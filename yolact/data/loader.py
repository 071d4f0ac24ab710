"""Batches for training and evaluation.

A training sample's random numbers come from the seed and its position in the run, so that neither the number of
workers nor an interruption changes what the network sees.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from yolact.data.copy_paste import paste_objects
from yolact.data.dataset import CocoDataset
from yolact.data.rendering import MaskCrops, build_target, largest_reduction, prepare_image, render_image
from yolact.data.tiling import draw_view, objects_in
from yolact.data.transforms import Sample, Transform
from yolact.data.windows import OpenImage
from yolact.data.workers import WORKER_TIMEOUT, Loader, blaming
from yolact.distributed import SINGLE, World
from yolact.errors import DatasetError
from yolact.structures import Resize, Target, Tiles, View


class Batch(NamedTuple):
    """What one training step sees, in few tensors: each takes time to reach another process, and a GPU."""

    images: Tensor  # uint8 [B, C, H, W], RGB if C is 3
    objects: dict[str, Tensor]  # what a `Target` has, of the objects of all images, one after the other
    counts: list[int]  # of the objects of each image
    image_ids: list[int]
    skipped: list[str]  # errors of images that could not be read and were replaced by the next ones

    @classmethod
    def of(cls, images: Sequence[Tensor], targets: Sequence[Target], skipped: list[str]) -> "Batch":
        """Join images and targets."""
        parts: list[dict[str, Any]] = [{**target} for target in targets]
        image_ids = [part.pop("image_id") for part in parts]
        objects = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return cls(torch.stack(list(images)), objects, [len(part["labels"]) for part in parts], image_ids, skipped)

    @property
    def targets(self) -> list[Target]:
        """Return the target of each image: parts of the joined tensors."""
        parts = zip(*(value.split(self.counts) for value in self.objects.values()), strict=True)
        return [
            cast(Target, {**dict(zip(self.objects, part, strict=True)), "image_id": image_id})
            for part, image_id in zip(parts, self.image_ids, strict=True)
        ]

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on a device, which is not waited for where the tensors are in pinned memory."""
        objects = {name: value.to(device, non_blocking=True) for name, value in self.objects.items()}
        return self._replace(images=self.images.to(device, non_blocking=True), objects=objects)


class Place(NamedTuple):
    """Which training sample to make."""

    position: int  # in the run
    sample: int  # of an epoch: the index of the image in the data set, but with tiles
    image_size: tuple[int, int] | None = None  # (H, W) of the network input in pixels; None is the training set's


# Third numbers beside the seed and a position, so that what is drawn for another purpose is not the same again.
COPY_PASTE, PASTED_IMAGE, INPUT_SIZE = 1, 2, 3


class TrainingSet:
    """Augmented samples of a data set, by `Place`.

    Args:
        dataset: the images and their objects.
        resize: how images become the network input.
        transforms: applied to each sample in this order.
        seed: of the run, not negative.
        unreadable: "raise" a DatasetError for an image that cannot be read, or "skip" to the next one.
        copy_paste_probability: with which objects of another sample are pasted over one.
        crops: what targets have in place of whole masks; None leaves these.
        tiles: of the images, of which an epoch has as many samples as tiles; None shows whole images.
    """

    def __init__(
        self,
        dataset: CocoDataset,
        resize: Resize,
        transforms: Sequence[Transform],
        seed: int,
        unreadable: str = "raise",
        copy_paste_probability: float = 0.0,
        crops: MaskCrops | None = None,
        tiles: Tiles | None = None,
    ) -> None:
        self.dataset, self.resize, self.transforms, self.seed = dataset, resize, transforms, seed
        self.unreadable, self.copy_paste_probability, self.crops = unreadable, copy_paste_probability, crops
        self.tiles = tiles
        counts = [len(tiles.views((one.height, one.width))) if tiles else 1 for one in dataset.images]
        self._images = np.repeat(np.arange(len(dataset)), counts)  # of each sample of an epoch

    def __len__(self) -> int:
        """Return the samples of an epoch."""
        return len(self._images)

    def __getitem__(self, place: Place) -> tuple[Tensor, Target, list[str]]:
        """Return the image, uint8 [C, H, W], its target, and the errors of images that were skipped.

        DatasetError if the image cannot be read and must not be skipped, or none can be read.
        """
        position, index, size = place.position, place.sample, place.image_size or self.resize.size
        skipped: list[str] = []
        with blaming(self.dataset.images[self._images[index]].file_name):
            sample = self._first_readable(index, [self.seed, position], size, skipped)
            rng = np.random.default_rng([self.seed, position, COPY_PASTE])
            if rng.random() < self.copy_paste_probability:
                other = int(rng.integers(len(self)))
                source = self._first_readable(other, [self.seed, position, PASTED_IMAGE], size, skipped)
                sample = paste_objects(rng, sample, source)
        image, target = sample
        return image, target if self.crops is None else self.crops.of(target), skipped

    def batch(self, places: Sequence[Place]) -> Batch:
        """Return the samples of several places."""
        images, targets, skipped = zip(*(self[place] for place in places), strict=True)
        return Batch.of(images, targets, [reason for reasons in skipped for reason in reasons])

    def _first_readable(
        self, index: int, seeds: Sequence[int], size: tuple[int, int], skipped: list[str]
    ) -> tuple[Tensor, Target]:
        """Make sample `index` of an epoch, or the next one that can be read where unreadable images are skipped."""
        unreadable: set[int] = set()
        for offset in range(len(self)):
            if (image := int(self._images[(index + offset) % len(self)])) in unreadable:
                continue  # another tile of it
            try:
                return self._sample(np.random.default_rng(seeds), image, size)
            except DatasetError as error:
                if self.unreadable == "raise":
                    raise
                unreadable.add(image)
                skipped.append(str(error))
        raise DatasetError(f"None of the {len(self.dataset)} images can be read; the first error: {skipped[0]}")

    def _sample(self, rng: np.random.Generator, index: int, size: tuple[int, int]) -> tuple[Tensor, Target]:
        record, view = self.dataset.images[index], None
        image_size = record.height, record.width
        if self.tiles is not None:
            view = draw_view(rng, image_size, *self.dataset.labels_and_boxes(index), self.tiles.size)
            image_size = view[3] - view[1], view[2] - view[0]
        objects = self.dataset.objects(index, view)
        objects = objects if view is None else objects_in(objects, view)
        sample = Sample(image_size, objects, self.resize._replace(size=size))
        for transform in self.transforms:
            sample = transform(rng, sample)
        if view is None:
            image, reduction = self.dataset.load_reduced(index, largest_reduction(sample))
        else:
            image, reduction = self.dataset.open_image(index).read(view), 1
        return render_image(image, sample, reduction), build_target(sample, record.id)


def run_batches(
    num_samples: int,
    seed: int,
    start: int,
    batch_size: int,
    image_sizes: Sequence[tuple[int, int]] = (),
    world: World = SINGLE,
    num_progressive: int | None = None,
) -> Iterator[list[Place]]:
    """Yield one batch of a run after another, without end: one random permutation of the samples follows another.

    Args:
        num_samples: of an epoch.
        seed: of the run.
        start: the position of the first image.
        batch_size: of all ranks, each of which gets its own part of every batch.
        image_sizes: every batch has one of them, drawn from the seed and its number; none for the training set's.
        world: the ranks.
        num_progressive: the images of the whole run, of which each size then has an equal share, one after the other.
    """

    @lru_cache(2)  # a batch can lie in two of them
    def permutation(epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([seed, epoch]).permutation(num_samples)

    share = world.share(batch_size)
    for first in count(start, batch_size):
        size = None
        if image_sizes and num_progressive:
            size = image_sizes[progressive_index(first, num_progressive, len(image_sizes))]
        elif image_sizes:
            size = image_sizes[np.random.default_rng([seed, first // batch_size, INPUT_SIZE]).choice(len(image_sizes))]
        own = range(first + world.rank * share, first + (world.rank + 1) * share)
        yield [Place(at, int(permutation(at // num_samples)[at % num_samples]), size) for at in own]


def progressive_index(place: int, length: int, num_sizes: int) -> int:
    """Return which of so many sizes, each with an equal share of a training's `length`, it has at `place`."""
    return min(place * num_sizes // length, num_sizes - 1)


class Piece(NamedTuple):
    """What the network sees at once of an image in an evaluation: all of it, or a tile."""

    image: int  # its index in the data set
    view: View | None = None  # the tile; None is the whole image
    is_last: bool = True  # of its image


class EvaluationSet:
    """Every image as the network sees it at inference, whole or in tiles."""

    def __init__(self, dataset: CocoDataset, resize: Resize, tiles: Tiles | None = None) -> None:
        self.dataset, self.resize, self.tiles = dataset, resize, tiles
        self._opened: tuple[int, OpenImage] | None = None  # of which the next tile is likely to be

    def __getitem__(self, piece: Piece) -> Tensor:
        """Return a piece, uint8 [C, H, W]."""
        index, view = piece.image, piece.view
        with blaming(self.dataset.images[index].file_name):
            if view is None:
                return prepare_image(self.dataset.load_image(index), self.resize)
            if self._opened is None or self._opened[0] != index:
                self._opened = index, self.dataset.open_image(index)
            return prepare_image(self._opened[1].read(view), self.resize)

    def batch(self, pieces: Sequence[Piece]) -> tuple[Tensor, list[Piece]]:
        """Return several pieces, uint8 [B, C, H, W], and what they are."""
        return torch.stack([self[piece] for piece in pieces]), list(pieces)

    def batches(self, batch_size: int, world: World = SINGLE) -> list[list[Piece]]:
        """Return the batches of a rank, in order: of several images, or of tiles of one."""
        if self.tiles is None:
            return _split([Piece(index) for index in range(len(self.dataset))], batch_size)[world.rank :: world.size]
        batches = []
        for index in range(world.rank, len(self.dataset), world.size):
            record = self.dataset.images[index]
            views = self.tiles.views((record.height, record.width))
            pieces = [Piece(index, view, number == len(views)) for number, view in enumerate(views, start=1)]
            batches += _split(pieces, batch_size)
        return batches


def _split(pieces: list[Piece], size: int) -> list[list[Piece]]:
    return [pieces[start : start + size] for start in range(0, len(pieces), size)]


def training_loader(
    samples: TrainingSet,
    batch_size: int,
    start_position: int = 0,
    num_workers: int = 0,
    image_sizes: Sequence[tuple[int, int]] = (),
    timeout: float = WORKER_TIMEOUT,
    world: World = SINGLE,
    num_progressive: int | None = None,
) -> DataLoader[Batch]:
    """Yield batches for ever, beginning with the sample at `start_position` of the run, the first of a batch.

    Every batch has one of `image_sizes`, where there are any, instead of that of the samples: see `run_batches`. Of
    several ranks, each gets its part of every batch of `batch_size`, which they can share evenly.

    Iterating raises DatasetError for an image that cannot be read, unless the set skips those, and LoaderError for a
    worker that dies or gives no batch for `timeout` seconds.
    """
    places = run_batches(len(samples), samples.seed, start_position, batch_size, image_sizes, world, num_progressive)
    return Loader(samples.batch, places, num_workers, timeout)


def evaluation_loader(
    dataset: EvaluationSet, batch_size: int = 1, num_workers: int = 0, world: World = SINGLE
) -> DataLoader[tuple[Tensor, list[Piece]]]:
    """Yield (images uint8 [B, C, H, W], what they are) over every image once, in order; a batch may be smaller.

    Several ranks take turns at the batches, which are the same in any case, or with tiles at the images. Iterating
    raises DatasetError for an image that cannot be read, and LoaderError for a worker that dies or hangs.
    """
    return Loader(dataset.batch, dataset.batches(batch_size, world), num_workers)
