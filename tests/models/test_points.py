import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from yolact.config import override_config
from yolact.errors import ConfigError
from yolact.models import build_model
from yolact.models.points import PointCoder, make_points

POINTS = ["model.head=points", "loss.class_loss=quality", "loss.assigner=task_aligned"]


def test_points_stand_in_the_middle_of_their_cells():
    """Four cells of 8 pixels, row by row, then one of 16."""
    points = make_points([(2, 2), (1, 1)], (8, 16), (16, 16))
    assert points.tolist() == [[4, 4, 8], [12, 4, 8], [4, 12, 8], [12, 12, 8], [8, 8, 16]]


def test_decode_by_hand():
    coder = PointCoder(torch.tensor([[32.0, 16, 8]]), (64, 64))  # x, y, stride
    deltas = torch.tensor([[0.0, math.log(math.e - 1), -100, 100]])  # softplus: 0.6931, 1, 0 and 100
    torch.testing.assert_close(coder.decode(deltas)[0], torch.tensor([32 - 8 * math.log(2), 8, 32, 16 + 800]))


@given(st.lists(st.floats(0.01, 500), min_size=4, max_size=4), st.sampled_from([4, 8, 128]))
def test_decode_inverts_encode(distances, stride):
    coder = PointCoder(torch.tensor([[204.8, 307.2, stride]]), (512, 512))
    left, top, right, bottom = (torch.tensor(distances) * stride).tolist()
    x, y = coder.points[0].tolist()
    box = torch.tensor([[x - left, y - top, x + right, y + bottom]])
    torch.testing.assert_close(coder.decode(coder.encode(box)), box, rtol=1e-4, atol=1e-3 * stride)


def test_a_box_that_does_not_hold_its_point_is_encoded_as_ending_there():
    coder = PointCoder(torch.tensor([[32.0, 32, 8]]), (64, 64))
    decoded = coder.decode(coder.encode(torch.tensor([[40.0, 8, 48, 16]])))
    torch.testing.assert_close(decoded, torch.tensor([[32.0, 8, 48, 32]]), atol=0.02, rtol=0)


@pytest.mark.parametrize(("levels", "cells", "maps"), [((3, 7), 86, 8), ((2, 5), 256 + 64 + 16 + 4, 16)])
def test_levels_set_cells_and_maps(tiny_config, levels, cells, maps):
    config = override_config(tiny_config, [*POINTS, f"model.levels={[*levels]}", "model.backbone.name=resnet18"])
    found = build_model(config)(torch.rand(2, 3, 64, 64))
    assert found.class_logits.shape == (2, cells, 3)
    assert found.box_deltas.shape == (2, cells, 4)
    assert found.mask_coefficients.shape == (2, cells, 8)
    assert found.prototypes.shape == (2, 8, 2 * maps, 2 * maps)
    assert found.semantic_logits.shape == (2, 3, maps, maps)


@pytest.mark.parametrize("head", [POINTS, [f"model.anchors.scales={[[8], [16], [32]]}"]])
def test_the_finest_levels_can_be_for_the_prototypes_alone(tiny_config, head):
    overrides = ["model.levels=[2, 5]", "model.head_from=3", "model.backbone.name=resnet10_half", "model.num_classes=3"]
    model = build_model(override_config(tiny_config, [*head, *overrides])).eval()
    found = model(torch.rand(1, 3, 64, 64))
    candidates = 84 if head is POINTS else 84 * 3  # of 8 x 8, 4 x 4 and 2 x 2 cells
    assert found.class_logits.shape[1] == found.box_deltas.shape[1] == found.mask_coefficients.shape[1] == candidates
    assert found.prototypes.shape[-1] == 32
    assert model.backbone.channels == (32, 64, 128, 256)


def test_before_training_every_score_is_low_and_every_box_four_strides_wide(tiny_config):
    model = build_model(override_config(tiny_config, POINTS)).eval()
    for name in ("class_logits", "box_deltas"):
        torch.nn.init.zeros_(getattr(model.head, name).weight)
    coder, found = model.head.coder((64, 64)), model(torch.rand(1, 3, 64, 64))
    torch.testing.assert_close(coder.scores(found.class_logits), torch.full((1, 86, 3), 0.01))
    boxes = coder.decode(found.box_deltas)
    torch.testing.assert_close(boxes[0, :, 2] - boxes[0, :, 0], 4 * coder.strides)


def test_levels_share_convolutions_but_not_norms(tiny_config):
    names = [name for name, _ in build_model(override_config(tiny_config, POINTS)).head.class_tower.named_parameters()]
    assert sum("convs" in name for name in names) == 2
    assert sum("norms" in name for name in names) == 5 * 2 * 2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["model.head=points"], "class_loss must be quality with model.head=points, got ohem"),
        (["loss.class_loss=quality"], "class_loss must be ohem with model.head=anchors"),
        (POINTS[:2], "assigner must be task_aligned with model.head=points, or one of your own, got max_iou"),
        (["loss.assigner=task_aligned"], "assigner must be max_iou with model.head=anchors"),
        (["model.levels=[2, 5]"], "anchors.scales must be 4 lists"),
        (["model.levels=[4, 7]"], "model.levels.0 must be 2 or 3, got 4"),
        (["model.head_from=2"], "model.head_from must be a level of the pyramid, 3 or more, got 2"),
    ],
)
def test_the_configuration_refuses_what_does_not_fit(tiny_config, wrong, said):
    with pytest.raises(ConfigError, match=said):
        override_config(tiny_config, wrong)
