import itertools
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from yolact.config.schema import AugmentConfig
from yolact.data.coco import CocoDataset
from yolact.data.loader import (
    Batch,
    EvaluationSet,
    RunSampler,
    TrainingSet,
    evaluation_loader,
    training_loader,
)
from yolact.data.transforms import prepare_picture
from yolact.errors import DatasetError

WriteSet = Callable[..., tuple[Path, Path]]


def training_set(write_set: WriteSet, **options: str) -> TrainingSet:
    return TrainingSet(CocoDataset(*write_set()), 64, AugmentConfig(), seed=5, **options)


def take(samples: TrainingSet, batches: int, *, start: int = 0, workers: int = 0, batch_size: int = 2) -> list[Batch]:
    return list(itertools.islice(training_loader(samples, batch_size, 5, start, workers), batches))


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.images, other.images)
        assert one.skipped == other.skipped
        for target, twin in zip(one.targets, other.targets, strict=True):
            assert target["image_id"] == twin["image_id"]
            for key in ("boxes", "labels", "masks", "iscrowd"):
                assert torch.equal(target[key], twin[key])  # type: ignore[literal-required]


def test_sampler_passes_over_all_pictures_again_and_again() -> None:
    places = list(itertools.islice(RunSampler(5, seed=1), 20))
    assert [position for position, _ in places] == list(range(20))
    passes = [[index for _, index in places[start : start + 5]] for start in range(0, 20, 5)]
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in passes)
    assert len({tuple(order) for order in passes}) > 1
    assert [index for _, index in itertools.islice(RunSampler(5, seed=2), 20)] != [index for _, index in places]


@pytest.mark.parametrize("start", [0, 1, 4, 5, 13])
def test_sampler_goes_on_from_anywhere(start: int) -> None:
    whole = list(itertools.islice(RunSampler(5, seed=1), 25))
    assert list(itertools.islice(RunSampler(5, seed=1, start=start), 10)) == whole[start : start + 10]


def test_batches(write_set: WriteSet) -> None:
    for batch in take(training_set(write_set), 6):
        assert batch.images.shape == (2, 3, 64, 64)
        assert batch.images.dtype == torch.uint8
        assert batch.skipped == []
        for target in batch.targets:
            count = len(target["labels"])
            assert target["boxes"].shape == (count, 4)
            assert target["masks"].shape == (count, 64, 64)
            assert target["iscrowd"].shape == (count,)
            assert target["image_id"] in (9, 4, 5)


def test_batches_straddle_passes(write_set: WriteSet) -> None:
    batches = take(training_set(write_set), 3)
    ids = [target["image_id"] for batch in batches for target in batch.targets]
    assert sorted(ids[:3]) == sorted(ids[3:]) == [4, 5, 9]


def test_a_picture_without_annotations_gives_an_empty_target(write_set: WriteSet) -> None:
    image, target, skipped = training_set(write_set)[0, 2]
    assert image.shape == (3, 64, 64)
    assert target["boxes"].shape == (0, 4)
    assert target["masks"].shape == (0, 64, 64)
    assert (target["image_id"], skipped) == (5, [])


def test_samples_depend_on_the_position_alone(write_set: WriteSet) -> None:
    samples = training_set(write_set)
    assert torch.equal(samples[7, 0][0], samples[7, 0][0])
    assert not torch.equal(samples[7, 0][0], samples[8, 0][0])


def test_number_of_workers_changes_nothing(write_set: WriteSet) -> None:
    samples = training_set(write_set)
    assert_same(take(samples, 6), take(samples, 6, workers=2))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_start_in_the_middle_gives_the_same_continuation(write_set: WriteSet, workers: int) -> None:
    samples = training_set(write_set)
    assert_same(take(samples, 7)[3:], take(samples, 4, start=6, workers=workers))


def test_batch_size_does_not_change_the_samples(write_set: WriteSet) -> None:
    samples = training_set(write_set)
    pairs, singles = take(samples, 3), take(samples, 6, batch_size=1)
    assert torch.equal(torch.cat([batch.images for batch in pairs]), torch.cat([batch.images for batch in singles]))


def test_no_augmentation(write_set: WriteSet) -> None:
    dataset = CocoDataset(*write_set())
    plain = AugmentConfig(photometric=False, expand_probability=0, crop=False, mirror_probability=0)
    image, target, _ = TrainingSet(dataset, 64, plain, seed=0)[0, 1]
    np.testing.assert_allclose(image.int(), prepare_picture(dataset.load_picture(1), 64).int(), atol=1)
    np.testing.assert_allclose(target["boxes"], [[40 * 64 / 60, 20 * 64 / 40, 50 * 64 / 60, 30 * 64 / 40]], rtol=1e-6)


def break_picture(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:60])


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_picture_stops_with_one_sentence(write_set: WriteSet, workers: int) -> None:
    samples = training_set(write_set)
    break_picture(samples.dataset.image_folder, "a.png")
    with pytest.raises(DatasetError, match=r"Cannot decode the picture .*a\.png") as caught:
        take(samples, 3, workers=workers)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_picture_is_skipped_and_named(write_set: WriteSet, workers: int) -> None:
    samples = training_set(write_set, unreadable="skip")
    break_picture(samples.dataset.image_folder, "a.png")
    batches = take(samples, 3, workers=workers)
    ids = sorted(target["image_id"] for batch in batches for target in batch.targets)
    assert ids == [4, 4, 4, 4, 5, 5]  # a.png, twice, gave way to the one after it
    skipped = [reason for batch in batches for reason in batch.skipped]
    assert len(skipped) == 2
    assert all(re.search(r"a\.png", reason) for reason in skipped)


def test_no_readable_picture_at_all(write_set: WriteSet) -> None:
    samples = training_set(write_set, unreadable="skip")
    for name in ("a.png", "below/b.png", "c.png"):
        break_picture(samples.dataset.image_folder, name)
    with pytest.raises(DatasetError, match="None of the 3 pictures can be read"):
        take(samples, 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_sees_every_picture_once_and_in_order(write_set: WriteSet, workers: int) -> None:
    dataset = CocoDataset(*write_set())
    batches = list(evaluation_loader(EvaluationSet(dataset, 32), batch_size=2, num_workers=workers))
    assert [ids for _, _, ids in batches] == [[9, 4], [5]]
    assert [sizes for _, sizes, _ in batches] == [[(40, 60), (40, 60)], [(40, 60)]]
    images = torch.cat([images for images, _, _ in batches])
    assert torch.equal(images[1], prepare_picture(dataset.load_picture(1), 32))


def test_evaluation_names_an_unreadable_picture(write_set: WriteSet) -> None:
    dataset = CocoDataset(*write_set())
    break_picture(dataset.image_folder, "c.png")
    with pytest.raises(DatasetError, match=r"c\.png"):
        list(evaluation_loader(EvaluationSet(dataset, 32), batch_size=2, num_workers=1))
