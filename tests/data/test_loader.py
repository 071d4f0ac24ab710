import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from yolact.config.schema import AugmentConfig
from yolact.data.dataset import CocoDataset
from yolact.data.loader import (
    Batch,
    EvaluationSet,
    RunSampler,
    TrainingSet,
    evaluation_loader,
    training_loader,
)
from yolact.data.transforms import prepare_image
from yolact.distributed import Processes
from yolact.errors import DatasetError

WriteSet = Callable[..., tuple[Path, Path]]
EVERYTHING = AugmentConfig(
    scale_jitter=(0.5, 2.0), copy_paste_probability=0.7, flip_probability=0.5, rotate90_probability=0.5
)
SIZES = (48, 64, 80)
# How `training_set` and `take` leave off or turn on all that is off by default.
MODES = pytest.mark.parametrize(
    ("augment", "sizes"), [(AugmentConfig(), ()), (EVERYTHING, SIZES)], ids=["default", "everything"]
)


def training_set(write_set: WriteSet, augment: AugmentConfig = AugmentConfig(), **options: str) -> TrainingSet:  # noqa: B008
    return TrainingSet(CocoDataset(*write_set()), 64, augment, seed=5, **options)


def take(
    samples: TrainingSet,
    batches: int,
    *,
    start: int = 0,
    workers: int = 0,
    batch_size: int = 2,
    sizes: tuple[int, ...] = (),
) -> list[Batch]:
    return list(itertools.islice(training_loader(samples, batch_size, 5, start, workers, sizes), batches))


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
    assert [place.position for place in places] == list(range(20))
    assert {place.image_size for place in places} == {None}
    passes = [[place.picture for place in places[start : start + 5]] for start in range(0, 20, 5)]
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in passes)
    assert len({tuple(order) for order in passes}) > 1
    assert list(itertools.islice(RunSampler(5, seed=2), 20)) != places


@pytest.mark.parametrize("sizes", [(), SIZES])
@pytest.mark.parametrize("start", [0, 1, 4, 5, 13])
def test_sampler_goes_on_from_anywhere(start: int, sizes: tuple[int, ...]) -> None:
    whole = list(itertools.islice(RunSampler(5, 1, 0, 3, sizes), 25))
    assert list(itertools.islice(RunSampler(5, 1, start, 3, sizes), 10)) == whole[start : start + 10]


@pytest.mark.parametrize("count", [1, 2, 3, 6])
@pytest.mark.parametrize("start", [0, 6, 42])
def test_processes_share_out_every_batch(start: int, count: int) -> None:
    whole = list(itertools.islice(RunSampler(5, 1, start, 6, SIZES), 60))
    samplers = [RunSampler(5, 1, start, 6, SIZES, Processes(rank, count)) for rank in range(count)]
    parts = [list(itertools.islice(sampler, 60 // count)) for sampler in samplers]
    share = 6 // count
    for batch in range(10):
        together = [place for part in parts for place in part[batch * share : (batch + 1) * share]]
        assert together == whole[batch * 6 : (batch + 1) * 6]


def test_processes_load_the_batches_of_one_process(write_set: WriteSet) -> None:
    samples = training_set(write_set)
    whole = take(samples, 4, sizes=SIZES)
    parts = [
        list(itertools.islice(training_loader(samples, 2, 5, image_sizes=SIZES, processes=Processes(rank, 2)), 4))
        for rank in range(2)
    ]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert torch.equal(batch.images, torch.cat([share.images for share in shares]))
        ids = [target["image_id"] for share in shares for target in share.targets]
        assert ids == [target["image_id"] for target in batch.targets]


def test_every_batch_has_one_of_the_sizes_at_random() -> None:
    places = list(itertools.islice(RunSampler(5, 1, 0, 4, SIZES), 4 * 600))
    batches = [{place.image_size for place in places[start : start + 4]} for start in range(0, len(places), 4)]
    assert all(len(sizes) == 1 for sizes in batches)
    for size in SIZES:
        assert batches.count({size}) / 600 == pytest.approx(1 / 3, abs=0.06)
    pairs = set(itertools.pairwise(size for sizes in batches for size in sizes))
    assert len(pairs) == 9  # any size follows any other
    others = [place.image_size for place in itertools.islice(RunSampler(5, 2, 0, 4, SIZES), 4 * 600)]
    assert others != [place.image_size for place in places]
    # The pictures and their order are those of a training with one size.
    assert [place[:2] for place in places] == [place[:2] for place in itertools.islice(RunSampler(5, 1), 4 * 600)]


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


@MODES
def test_number_of_workers_changes_nothing(write_set: WriteSet, augment: AugmentConfig, sizes: tuple[int, ...]) -> None:
    samples = training_set(write_set, augment)
    assert_same(take(samples, 6, sizes=sizes), take(samples, 6, sizes=sizes, workers=2))


@MODES
@pytest.mark.parametrize("workers", [0, 2])
def test_a_start_in_the_middle_gives_the_same_continuation(
    write_set: WriteSet, augment: AugmentConfig, sizes: tuple[int, ...], workers: int
) -> None:
    samples = training_set(write_set, augment)
    assert_same(take(samples, 7, sizes=sizes)[3:], take(samples, 4, sizes=sizes, start=6, workers=workers))


def test_batch_size_does_not_change_the_samples(write_set: WriteSet) -> None:
    samples = training_set(write_set)
    pairs, singles = take(samples, 3), take(samples, 6, batch_size=1)
    assert torch.equal(torch.cat([batch.images for batch in pairs]), torch.cat([batch.images for batch in singles]))


def test_no_augmentation(write_set: WriteSet) -> None:
    dataset = CocoDataset(*write_set())
    plain = AugmentConfig(photometric=False, expand_probability=0, crop=False, mirror_probability=0)
    image, target, _ = TrainingSet(dataset, 64, plain, seed=0)[0, 1]
    np.testing.assert_allclose(image.int(), prepare_image(dataset.load_image(1), 64).int(), atol=1)
    np.testing.assert_allclose(target["boxes"], [[40 * 64 / 60, 20 * 64 / 40, 50 * 64 / 60, 30 * 64 / 40]], rtol=1e-6)


def test_a_batch_has_its_size(write_set: WriteSet) -> None:
    """The sample is that of the one size, mapped to another."""
    plain = AugmentConfig(photometric=False, expand_probability=0, crop=False, mirror_probability=0)
    samples = training_set(write_set, plain)
    found = take(samples, 6, sizes=(48, 80))
    assert {batch.images.shape[-1] for batch in found} == {48, 80}
    for batch, same in zip(found, take(samples, 6), strict=True):
        size = batch.images.shape[-1]
        assert batch.images.shape == (2, 3, size, size)
        for target, twin in zip(batch.targets, same.targets, strict=True):
            assert target["masks"].shape[1:] == (size, size)
            torch.testing.assert_close(target["boxes"], twin["boxes"] * size / 64)


def count_pasted(samples: TrainingSet, base: TrainingSet, draws: int) -> int:
    """Return how many samples hold copied objects; `base` makes the same samples without."""
    different = 0
    for position in range(draws):
        (image, target, _), (plain, own, _) = samples[position, 2], base[position, 2]
        assert target["image_id"] == own["image_id"] == 5
        assert not len(own["labels"])  # the picture has no objects, so that all in the sample are copied
        rest = target["masks"].sum(dim=0) == 0
        assert torch.equal(image[:, rest], plain[:, rest])
        different += len(target["labels"]) > 0
    return different


@pytest.mark.parametrize("probability", [0, 0.5, 1])
def test_objects_are_copied_as_often_as_asked(write_set: WriteSet, probability: float) -> None:
    """Two of the three pictures have one object to copy, each taken or left by a coin; the third shows it all."""
    augment = AugmentConfig(expand_probability=0, crop=False)
    samples = training_set(write_set, replace(augment, copy_paste_probability=probability))
    count = count_pasted(samples, training_set(write_set, augment), 300)
    assert count / 300 == pytest.approx(probability * 2 / 3 * 1 / 2, abs=0.07)


def test_a_copied_object_comes_with_its_pixels_and_label(write_set: WriteSet) -> None:
    """In the first picture the cat is bright and all else is dark, and the others are dark: what is bright is a cat."""
    dataset = CocoDataset(*write_set())
    for name in ("a.png", "below/b.png", "c.png"):
        picture = np.zeros((40, 60, 3), np.uint8)
        if name == "a.png":
            picture[5:20, 10:30] = 255
        assert cv2.imwrite(str(dataset.image_folder / name), picture)
    fill_dark = AugmentConfig(photometric=False, expand_probability=0, copy_paste_probability=1)
    samples = TrainingSet(dataset, 64, fill_dark, seed=0)
    seen = 0
    for position in range(60):
        image, target, _ = samples[position, 1 + position % 2]
        cat = [mask for mask, label in zip(target["masks"], target["labels"], strict=True) if label == 2]
        assert len(cat) == bool((image >= 200).any())
        if cat:
            seen += 1
            bright = (image[0] >= 128).numpy() != (cat[0] > 0).numpy()
            assert not cv2.erode(bright.astype(np.uint8), np.ones((2, 2), np.uint8), borderValue=0).any()
    assert seen > 5


@pytest.mark.parametrize("unreadable", ["raise", "skip"])
def test_an_unreadable_picture_to_copy_from(write_set: WriteSet, unreadable: str) -> None:
    augment = AugmentConfig(copy_paste_probability=1)
    samples = training_set(write_set, augment, unreadable=unreadable)
    break_picture(samples.dataset.image_folder, "a.png")
    skipped = []
    for position in range(20):
        try:
            _, target, reasons = samples[position, 1]
        except DatasetError as error:
            assert unreadable == "raise"
            reasons = [str(error)]
        else:
            assert target["image_id"] == 4
            assert unreadable == "skip" or not reasons
        skipped += reasons
    assert 3 <= len(skipped) <= 12  # a third of the draws
    assert all("a.png" in reason for reason in skipped)


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
    assert torch.equal(images[1], prepare_image(dataset.load_image(1), 32))


def test_processes_take_turns_at_the_batches_of_an_evaluation(write_set: WriteSet) -> None:
    pictures = EvaluationSet(CocoDataset(*write_set()), 32)
    shares = [[ids for _, _, ids in evaluation_loader(pictures, 2, 0, Processes(rank, 2))] for rank in range(2)]
    assert shares == [[[9, 4]], [[5]]]
    assert list(evaluation_loader(pictures, 4, 0, Processes(1, 2))) == []


def test_evaluation_names_an_unreadable_picture(write_set: WriteSet) -> None:
    dataset = CocoDataset(*write_set())
    break_picture(dataset.image_folder, "c.png")
    with pytest.raises(DatasetError, match=r"c\.png"):
        list(evaluation_loader(EvaluationSet(dataset, 32), batch_size=2, num_workers=1))
