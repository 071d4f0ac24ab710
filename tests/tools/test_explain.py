import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import yolact
from tests.made import make_instances
from yolact.cli import run
from yolact.errors import CheckpointError, UserError
from yolact.ops.paste import paste_masks
from yolact.ops.regions import MaskRegion
from yolact.tools.explain import (
    Explanation,
    draw_all,
    draw_coefficients,
    draw_contributions,
    draw_prototypes,
    draw_sum,
    explain,
)


def made(coefficients: list[list[float]], prototypes: torch.Tensor, size: tuple[int, int] = (8, 8)) -> Explanation:
    """Return objects whose box is the lower right quarter of the map, on a grey image."""
    masks = np.zeros((len(coefficients), *size), bool)
    masks[:, size[0] // 2 :, size[1] // 2 :] = True
    instances = make_instances(masks, image=np.full((*size, 3), 128, np.uint8))
    side = prototypes.shape[1]
    boxes = torch.tensor([[side / 2, side / 2, side, side]]).repeat(len(coefficients), 1)
    return Explanation(instances, prototypes, torch.tensor(coefficients), boxes)


@pytest.fixture
def by_hand() -> Explanation:
    """An object of three prototypes on 4 x 4 pixels; its box and a pixel around leave out the first row and column."""
    prototypes = torch.zeros(3, 4, 4)
    prototypes[0], prototypes[1, 3], prototypes[2, 0] = 1, 4, 9  # everywhere, in the last row, outside the box
    return made([[-0.5, 1.0, 1.0]], prototypes)


def test_contributions_add_up_to_the_logits_of_the_mask(by_hand: Explanation) -> None:
    contributions = by_hand.contributions(0)
    assert contributions[:, 0, 0].tolist() == [-0.5, 0, 9]
    assert contributions[:, 3, 3].tolist() == [-0.5, 4, 0]
    assert contributions.sum(0)[:, 1].tolist() == [8.5, -0.5, -0.5, 3.5]
    sums = by_hand.running_sums(0)  # the largest share comes first
    assert sums[:, 3, 3].tolist() == [4, 3.5, 3.5]
    assert torch.equal(sums[-1], contributions.sum(0))


def test_shares_count_what_lies_in_the_box_and_a_pixel_around_it(by_hand: Explanation) -> None:
    assert by_hand.window(0).int().tolist() == [[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]]
    # 9 pixels of 0.5, and 3 of 4.
    assert by_hand.shares(0).tolist() == pytest.approx([4.5 / 16.5, 12 / 16.5, 0])
    assert by_hand.order(0) == [1, 0, 2]


def test_the_mask_is_decided_where_it_no_longer_changes(by_hand: Explanation) -> None:
    assert by_hand.agreement(0).tolist() == [1, 1, 1]
    assert by_hand.num_needed(0) == 1
    # Now the largest share takes away everywhere, and the last row comes back with the second.
    later = replace(by_hand, coefficients=torch.tensor([[-1.0, 0.5, 0.0]]))
    assert later.order(0) == [0, 1, 2]
    assert later.agreement(0).tolist() == [0, 1, 1]
    assert later.num_needed(0) == 2
    # A mask that grows with each step: 1, 2, 3 of 3 rows in the box.
    rows = torch.zeros(3, 4, 4)
    rows[0, 3], rows[1, 2], rows[2, 1] = 3, 2, 1
    growing = made([[1.0, 1.0, 1.0]], rows)
    assert growing.agreement(0).tolist() == pytest.approx([1 / 3, 2 / 3, 1])
    assert growing.num_needed(0) == 3
    nothing = made([[0.0, 0.0]], torch.ones(2, 4, 4))
    assert nothing.shares(0).tolist() == [0, 0]
    assert (nothing.agreement(0).tolist(), nothing.num_needed(0)) == ([1, 1], 1)


@pytest.fixture
def image(sample_data: Path) -> Path:
    return sample_data / "pictures" / "picture 1.png"


@pytest.mark.parametrize(("crop", "nms"), [("before_resize", "fast"), ("none", "exact"), ("none", "cross_class")])
def test_the_contributions_to_what_a_call_finds_add_up_to_its_masks(
    sample_checkpoint: Path, image: Path, crop: str, nms: str
) -> None:
    predictor = yolact.load(sample_checkpoint, crop=crop, nms=nms)
    parts, found = explain(predictor, image, 0.3), predictor(image, 0.3)
    assert len(parts.coefficients) == len(parts.boxes) == len(found) > 3
    assert torch.equal(parts.instances.scores, found.scores)
    assert parts.instances.regions == found.regions
    assert np.array_equal(parts.instances.image, found.image)
    assert torch.equal(parts.prototypes, predictor.prototypes(image))
    assert repr(parts) == f"{len(parts)} objects, made of 8 prototypes of 16 x 16 pixels"
    sums = torch.stack([parts.contributions(index).sum(0) for index in range(len(parts))])
    assert any(region.height for region in found.regions)
    assert paste_masks(sums, found.image_size, parts.boxes if crop == "before_resize" else None) == found.regions
    for index, total in enumerate(sums):
        torch.testing.assert_close(parts.running_sums(index)[-1], total)
        assert float(parts.shares(index).sum()) == pytest.approx(1)
        assert float(parts.agreement(index)[-1]) == 1


def test_drawings_are_images_that_a_notebook_shows(sample_checkpoint: Path, image: Path) -> None:
    parts = explain(yolact.load(sample_checkpoint), image, 0.3)
    drawn = dict(draw_all(parts, [0, 1]))
    for drawing in drawn.values():
        assert drawing._repr_png_().startswith(b"\x89PNG")
        assert len(np.unique(drawing)) > 10
    assert not np.array_equal(drawn["0_contributions"], drawn["1_contributions"])
    assert draw_contributions(parts, 0, count=2).size < drawn["0_contributions"].size


def colour_pixels(figure: np.ndarray, channel: int) -> int:
    """Count pixels that are clearly blue (0) or red (2)."""
    values = figure.astype(int)
    return int((values[:, :, channel] > values[:, :, 2 - channel] + 60).sum())


def test_red_adds_and_blue_takes_away(by_hand: Explanation) -> None:
    for draw in (draw_coefficients, draw_contributions, draw_sum):
        adding, taking = (
            draw(replace(by_hand, coefficients=torch.tensor([[sign, sign, sign]])), 0) for sign in (0.9, -0.9)
        )
        assert colour_pixels(adding, 2) > 2 * colour_pixels(taking, 2)
        assert colour_pixels(taking, 0) > 2 * colour_pixels(adding, 0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [(1, 1), (300, 40)])
@pytest.mark.parametrize(
    ("coefficients", "prototypes"),
    [
        ([0.5], torch.ones(1, 4, 4)),  # the only prototype
        ([0.0, 0.0], torch.ones(2, 4, 4)),  # contributes nothing
        ([-1.0, 0.5], torch.ones(2, 4, 4)),  # an empty mask
        ([1.0] * 3, torch.zeros(3, 4, 4)),  # dead prototypes
    ],
)
def test_extreme_objects_can_be_drawn(size: tuple[int, int], coefficients: list[float], prototypes: Any) -> None:
    parts = made([coefficients], prototypes, size)
    parts.instances.regions[0] = MaskRegion(0, 0, 0, 0, b"")
    parts.instances.boxes[0] = torch.tensor([size[1], size[0]] * 2)  # outside, clipped
    assert all(drawing.size for _, drawing in draw_all(parts, [0]))


def test_prototypes_become_one_image() -> None:
    blue = np.full((30, 40, 3), (250, 0, 0), np.uint8)
    for image, count in ((None, 1), (blue, 32)):
        grid = draw_prototypes(torch.rand(count, 16, 16), image)
        assert ((np.abs(grid.astype(int) - (250, 0, 0)).max(axis=2) < 5).mean() > 0.01) == (image is not None)


@pytest.fixture
def command(sample_checkpoint: Path, image: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Return a function that runs the command line on an image and gives the files that it wrote."""

    def call(*arguments: str) -> list[str]:
        options = ["--weights", str(sample_checkpoint), "--output", str(tmp_path / "out"), "--device", "cpu"]
        run(["explain", str(image), *options, *arguments])
        return sorted(path.name for path in (tmp_path / "out").iterdir())

    return call


def expected(*numbers: int) -> list[str]:
    of_objects = [f"{n}_{kind}" for n in numbers for kind in ("coefficients", "contributions", "sum", "mask")]
    return sorted(f"picture 1_{kind}.png" for kind in ("prototypes", "objects", *of_objects))


def test_the_best_three_objects_or_those_chosen_or_none_are_explained(
    command: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command() == expected(0, 1, 2)
    assert all(cv2.imread(str(file)) is not None for file in (tmp_path / "out").iterdir())
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].endswith("above a score of 0.3")
    assert [line.split(":")[0].strip() for line in shown[1:4]] == ["0", "1", "2"]
    assert "of 8 contributions" in shown[1]
    foreign = tmp_path / "out" / "picture 1_my_mask.png"
    foreign.touch()
    assert command("--instance", "4", "1", "4") == sorted([*expected(1, 4), foreign.name])  # no object of the first run
    shutil.rmtree(tmp_path / "out")
    assert command("--set", "eval.score_threshold=1.0") == expected()
    assert "0 objects above a score of 1\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        (["--instance", "0", "999"], UserError, r"--instance 999 does not exist: \d+ objects .* from 0; give another"),
        (["--set", "eval.tiles=64"], UserError, r"this model cuts images into tiles: add --set eval\.tiles=null"),
        (["--instance", "-1"], UserError, "--instance -1 does not exist"),
        (["--instance", "0", "--score-threshold", "1"], UserError, "0 objects above"),
        (["--weights", "none.pth"], CheckpointError, r"none\.pth"),
        (["--output", __file__], UserError, "cannot be written"),
    ],
)
def test_mistakes_are_named_and_leave_nothing_behind(
    command: Callable[..., list[str]], tmp_path: Path, more: list[str], error: type[UserError], message: str
) -> None:
    with pytest.raises(error, match=message):
        command(*more)
    assert list(tmp_path.iterdir()) == []
