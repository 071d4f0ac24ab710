import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from yolact.config.schema import AugmentConfig
from yolact.data.dataset import CocoDataset
from yolact.data.loader import Batch, EvaluationSet, Place, TrainingSet, evaluation_loader, run_batches, training_loader
from yolact.data.rendering import prepare_image
from yolact.data.transforms import make_transforms
from yolact.distributed import World
from yolact.errors import DatasetError
from yolact.structures import Resize

WriteSet = Callable[..., tuple[Path, Path]]
EVERYTHING = AugmentConfig(
    scale_jitter=(0.5, 2.0), copy_paste_probability=0.7, flip_probability=0.5, rotate90_probability=0.5
)
SIZES = ((48, 48), (64, 64), (80, 80))
Sizes = tuple[tuple[int, int], ...]
# How `training_set` and `take` leave off or turn on all that is off by default.
MODES = pytest.mark.parametrize(
    ("augment", "sizes"), [(AugmentConfig(), ()), (EVERYTHING, SIZES)], ids=["default", "everything"]
)


PLAIN = AugmentConfig(photometric=False, expand_probability=0, crop=False, mirror_probability=0)


def training_set(write_set: WriteSet, augment: AugmentConfig = AugmentConfig(), **options: str) -> TrainingSet:  # noqa: B008
    return make_set(CocoDataset(*write_set()), augment, **options)


def make_set(dataset: CocoDataset, augment: AugmentConfig, **options: str) -> TrainingSet:
    probability = augment.copy_paste_probability
    return TrainingSet(
        dataset, Resize((64, 64)), make_transforms(augment), 5, copy_paste_probability=probability, **options
    )


def take(
    samples: TrainingSet, batches: int, *, start: int = 0, workers: int = 0, batch_size: int = 2, sizes: Sizes = ()
) -> list[Batch]:
    return list(itertools.islice(training_loader(samples, batch_size, start, workers, sizes), batches))


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.images, other.images)
        assert one[2:] == other[2:]  # counts, image ids, skipped
        for key in ("boxes", "labels", "masks", "iscrowd"):
            assert torch.equal(one.objects[key], other.objects[key])


def places(count: int, batch_size: int, *, seed: int = 1, start: int = 0, **options: Any) -> list[Place]:
    """Return the first places of a run over five images."""
    batches = run_batches(5, seed, start, batch_size, **options)
    return list(itertools.islice(itertools.chain.from_iterable(batches), count))


def test_a_run_passes_over_all_images_again_and_again() -> None:
    found = places(20, 3)
    assert [place.position for place in found] == list(range(20))
    assert {place.image_size for place in found} == {None}
    passes = [[place.sample for place in found[start : start + 5]] for start in range(0, 20, 5)]
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in passes)
    assert len({tuple(order) for order in passes}) > 1
    assert places(20, 3, seed=2) != found


@pytest.mark.parametrize("sizes", [(), SIZES])
@pytest.mark.parametrize("start", [0, 3, 12])
def test_a_run_goes_on_from_any_batch(start: int, sizes: Sizes) -> None:
    assert places(9, 3, start=start, image_sizes=sizes) == places(25, 3, image_sizes=sizes)[start : start + 9]


@pytest.mark.parametrize("count", [2, 6])
@pytest.mark.parametrize("start", [0, 42])
def test_ranks_share_out_every_batch(start: int, count: int) -> None:
    whole = places(60, 6, start=start, image_sizes=SIZES)
    parts = [places(60 // count, 6, start=start, image_sizes=SIZES, world=World(rank, count)) for rank in range(count)]
    share = 6 // count
    for batch in range(10):
        joined = [place for part in parts for place in part[batch * share : (batch + 1) * share]]
        assert joined == whole[batch * 6 : (batch + 1) * 6]


def test_every_batch_has_one_of_the_sizes_at_random() -> None:
    found = places(4 * 600, 4, image_sizes=SIZES)
    batches = [{place.image_size for place in found[start : start + 4]} for start in range(0, len(found), 4)]
    assert all(len(sizes) == 1 for sizes in batches)
    for size in SIZES:
        assert batches.count({size}) / 600 == pytest.approx(1 / 3, abs=0.06)
    # The images and their order are those of a training with one size.
    assert [place[:2] for place in found] == [place[:2] for place in places(4 * 600, 1)]


def test_sizes_can_follow_one_another() -> None:
    """Each for an equal share of 30 images; the run goes on with the last."""
    found = places(36, 2, image_sizes=SIZES, num_progressive=30)
    assert [place.image_size for place in found] == [SIZES[0]] * 10 + [SIZES[1]] * 10 + [SIZES[2]] * 16
    assert (
        places(9, 3, start=12, image_sizes=SIZES, num_progressive=30)
        == places(21, 3, image_sizes=SIZES, num_progressive=30)[12:]
    )


def test_samples_depend_on_the_position_alone(write_set: WriteSet) -> None:
    samples = training_set(write_set)
    assert torch.equal(samples[Place(7, 0)][0], samples[Place(7, 0)][0])
    assert not torch.equal(samples[Place(7, 0)][0], samples[Place(8, 0)][0])


@MODES
@pytest.mark.parametrize("workers", [0, 2])
def test_a_start_in_the_middle_gives_the_same_continuation_whatever_the_number_of_workers(
    write_set: WriteSet, augment: AugmentConfig, sizes: Sizes, workers: int
) -> None:
    samples = training_set(write_set, augment)
    assert_same(take(samples, 7, sizes=sizes)[3:], take(samples, 4, sizes=sizes, start=6, workers=workers))


def test_no_augmentation(write_set: WriteSet) -> None:
    dataset = CocoDataset(*write_set())
    image, target, _ = make_set(dataset, PLAIN)[Place(0, 1)]
    np.testing.assert_allclose(image.int(), prepare_image(dataset.load_image(1), Resize((64, 64))).int(), atol=1)
    np.testing.assert_allclose(target["boxes"], [[40 * 64 / 60, 20 * 64 / 40, 50 * 64 / 60, 30 * 64 / 40]], rtol=1e-6)


def test_a_batch_joins_its_samples_and_gives_their_targets_back(write_set: WriteSet) -> None:
    samples, chosen = (
        training_set(write_set, PLAIN),
        [Place(0, 2), Place(1, 0), Place(2, 1)],
    )  # the first has no objects
    batch = samples.batch(chosen)
    assert batch.counts == [0, 2, 1]
    for place, image, target in zip(chosen, batch.images, batch.targets, strict=True):
        wanted_image, wanted, _ = samples[place]
        assert torch.equal(image, wanted_image)
        assert target.keys() == wanted.keys()
        torch.testing.assert_close(target, wanted, atol=0, rtol=0)


def test_a_batch_has_its_size(write_set: WriteSet) -> None:
    """The sample is that of the one size, mapped to another."""
    samples = training_set(write_set, PLAIN)
    found = take(samples, 6, sizes=((48, 48), (80, 80)))
    assert {batch.images.shape[-1] for batch in found} == {48, 80}
    for batch, same in zip(found, take(samples, 6), strict=True):
        size = batch.images.shape[-1]
        assert batch.images.shape == (2, 3, size, size)
        for target, twin in zip(batch.targets, same.targets, strict=True):
            assert target["masks"].shape[1:] == (size, size)
            torch.testing.assert_close(target["boxes"], twin["boxes"] * size / 64)


@pytest.mark.parametrize("probability", [0, 0.5, 1])
def test_objects_are_copied_as_often_as_asked(write_set: WriteSet, probability: float) -> None:
    """Two of the three images have one object to copy, each taken or left by a coin; the third shows it all."""
    samples = training_set(write_set, replace(PLAIN, copy_paste_probability=probability))
    base, count = training_set(write_set, PLAIN), 0
    for position in range(120):
        (image, target, _), (plain, own, _) = samples[Place(position, 2)], base[Place(position, 2)]
        assert target["image_id"] == own["image_id"] == 5
        # The image has no objects, so that all in the sample are copied.
        assert (own["boxes"].shape, own["masks"].shape) == ((0, 4), (0, 64, 64))
        rest = target["masks"].sum(dim=0) == 0
        assert torch.equal(image[:, rest], plain[:, rest])
        count += len(target["labels"]) > 0
    assert count / 120 == pytest.approx(probability * 2 / 3 * 1 / 2, abs=0.07)


@pytest.mark.parametrize("unreadable", ["raise", "skip"])
def test_an_unreadable_image_to_copy_from(write_set: WriteSet, unreadable: str) -> None:
    augment = AugmentConfig(copy_paste_probability=1)
    samples = training_set(write_set, augment, unreadable=unreadable)
    break_image(samples.dataset.image_folder, "a.png")
    skipped = []
    for position in range(20):
        try:
            _, target, reasons = samples[Place(position, 1)]
        except DatasetError as error:
            assert unreadable == "raise"
            reasons = [str(error)]
        else:
            assert target["image_id"] == 4
            assert unreadable == "skip" or not reasons
        skipped += reasons
    assert 3 <= len(skipped) <= 12  # a third of the draws
    assert all("a.png" in reason for reason in skipped)


def break_image(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:60])


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_stops_with_one_sentence(write_set: WriteSet, workers: int) -> None:
    samples = training_set(write_set)
    break_image(samples.dataset.image_folder, "a.png")
    with pytest.raises(DatasetError, match=r"Cannot decode the image .*a\.png"):
        take(samples, 3, workers=workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_skipped_and_named(write_set: WriteSet, workers: int) -> None:
    samples = training_set(write_set, unreadable="skip")
    break_image(samples.dataset.image_folder, "a.png")
    batches = take(samples, 3, workers=workers)
    ids = sorted(image_id for batch in batches for image_id in batch.image_ids)
    assert ids == [4, 4, 4, 4, 5, 5]  # a.png, twice, gave way to the one after it
    skipped = [reason for batch in batches for reason in batch.skipped]
    assert len(skipped) == 2
    assert all(re.search(r"a\.png", reason) for reason in skipped)


def test_no_readable_image_at_all(write_set: WriteSet) -> None:
    samples = training_set(write_set, unreadable="skip")
    for name in ("a.png", "below/b.png", "c.png"):
        break_image(samples.dataset.image_folder, name)
    with pytest.raises(DatasetError, match="None of the 3 images can be read"):
        take(samples, 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_sees_every_image_once_and_in_order(write_set: WriteSet, workers: int) -> None:
    dataset = CocoDataset(*write_set())
    batches = list(evaluation_loader(EvaluationSet(dataset, Resize((32, 32))), batch_size=2, num_workers=workers))
    assert [[piece.image for piece in pieces] for _, pieces in batches] == [[0, 1], [2]]
    assert all(piece.view is None and piece.is_last for _, pieces in batches for piece in pieces)
    images = torch.cat([images for images, _ in batches])
    assert torch.equal(images[1], prepare_image(dataset.load_image(1), Resize((32, 32))))


def test_ranks_take_turns_at_the_batches_of_an_evaluation(write_set: WriteSet) -> None:
    images = EvaluationSet(CocoDataset(*write_set()), Resize((32, 32)))
    loaders = [evaluation_loader(images, 2, 0, World(rank, 2)) for rank in range(2)]
    shares = [[[piece.image for piece in pieces] for _, pieces in loader] for loader in loaders]
    assert shares == [[[0, 1]], [[2]]]
    assert list(evaluation_loader(images, 4, 0, World(1, 2))) == []
