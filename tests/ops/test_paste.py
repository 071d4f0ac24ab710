import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from yolact.ops import masks as mask_ops
from yolact.ops.paste import interpolation, paste_masks, paste_whole_maps, pixel_windows
from yolact.ops.regions import full_masks, regions_of


def by_whole_maps(logits, size, boxes, after_resize):
    """The plain way: every mask at the image's size, one after the other; what exceeds one half is the mask."""
    before = boxes is not None and not after_resize
    small = mask_ops.crop(logits.sigmoid(), boxes) if before else logits
    resized = F.interpolate(small[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    resized = resized if before else resized.sigmoid()
    if boxes is not None and after_resize:
        resized = resized * mask_ops.box_window(boxes - 0.5, *size, padding=0)
    return resized


def test_interpolation_by_hand():
    torch.testing.assert_close(interpolation(4, 2), torch.tensor([[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]))
    torch.testing.assert_close(interpolation(2, 4), torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]))


def test_windows_by_hand():
    boxes = torch.tensor([[2.0, 3.0, 5.0, 6.5], [-9.0, -9.0, 99.0, 99.0], [7.0, 7.0, 2.0, 2.0]])
    assert pixel_windows(boxes, (10, 8), padding=1) == [(2, 8, 1, 6), (0, 10, 0, 8), (6, 6, 6, 6)]
    window = mask_ops.box_window(boxes[:1], 10, 8)[0]
    assert window.nonzero().amin(0).tolist() == [2, 1]
    assert window.nonzero().amax(0).tolist() == [7, 5]


def test_boxes_that_are_no_numbers_give_masks_all_the_same():
    boxes = torch.tensor([[float("nan")] * 4, [-float("inf"), 0, float("inf"), 4]])
    regions = paste_masks(torch.ones(2, 8, 8), (16, 16), boxes)
    assert regions[0].area <= 9 * 4  # a pixel or so around the corner
    assert regions[1].area > 16 * 8


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 10**6),
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.integers(2, 30),
    st.sampled_from(["before", "after", "none"]),
)
def test_rectangles_equal_whole_maps(seed, size, small, crop):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(5, small, small, generator=generator)
    limits = torch.tensor([size[1], size[0]] if crop == "after" else [small, small])
    corners = (torch.rand(5, 2, 2, generator=generator) * 1.4 - 0.2) * limits
    boxes = torch.cat([corners.amin(1), corners.amax(1)], 1)
    boxes[0] = boxes[0].round()  # edges on whole pixels
    given_boxes = None if crop == "none" else boxes
    expected = by_whole_maps(logits, size, given_boxes, crop == "after")
    unsure = (expected - 0.5).abs() < 1e-5
    for paste in (paste_masks, paste_whole_maps):
        regions = paste(logits, size, given_boxes, crop == "after")
        found = full_masks(regions, size)
        assert torch.equal(found | unsure, (expected > 0.5) | unsure)
        for region, smallest in zip(regions, regions_of(found), strict=True):
            assert region.bits == smallest.bits
            assert not region.bits or region == smallest


def test_many_whole_maps_are_taken_in_parts(monkeypatch):
    logits, boxes = torch.randn(7, 9, 9), torch.tensor([[1.0, 2, 7, 8]]).expand(7, 4)
    expected = paste_whole_maps(logits, (30, 20), boxes, False)
    monkeypatch.setattr("yolact.ops.paste.MOST_PIXELS", 1300)
    assert paste_whole_maps(logits, (30, 20), boxes, False) == expected
    assert paste_whole_maps(logits[:0], (30, 20), boxes[:0], False) == []


@pytest.mark.parametrize("size", [(480, 640), (1080, 1920)])
def test_sizes_of_real_images(size):
    generator = torch.Generator().manual_seed(1)
    logits = F.interpolate(4 * torch.randn(1, 20, 9, 9, generator=generator), (138, 138), mode="bicubic")[0]
    centres = torch.rand(20, 2, generator=generator) * 138
    boxes = torch.cat([centres - 15, centres + 15], 1)
    expected = by_whole_maps(logits, size, boxes, False) > 0.5
    found = full_masks(paste_masks(logits, size, boxes), size)
    assert (found != expected).sum() <= expected.numel() * 1e-6
    assert found.any()
