"""What the report says about anchors."""

import json
from dataclasses import replace

import pytest

from yolact.config import AnchorConfig
from yolact.inspection.check import sources_of
from yolact.inspection.entries import read_set
from yolact.inspection.fit import fit_anchors


@pytest.fixture
def inspected(clean):
    return read_set(*sources_of(clean.write())[0])


def with_anchors(config, **changes):
    return replace(config, model=replace(config.model, anchors=replace(config.model.anchors, **changes)))


def test_figures_belong_together(inspected, clean) -> None:
    fit = fit_anchors(inspected, clean.write())
    assert fit is not None
    assert fit.objects == sum(one.objects for one in fit.sizes) == 23
    met = sum(one.objects * (one.recall or 0) for one in fit.sizes)
    assert met / 23 == pytest.approx(fit.now.recall, abs=1e-3)
    assert fit.only_forced >= 1 - fit.now.recall - 1e-9
    json.dumps(fit.to_json(), allow_nan=False)


def test_bad_sizes_get_a_better_suggestion(inspected, clean) -> None:
    config = with_anchors(clean.write(), scales=((2.0,), (2.0,), (2.0,), (2.0,), (2.0,)))
    fit = fit_anchors(inspected, config)
    assert fit is not None
    assert fit.now.recall == 0
    assert fit.only_forced == 1
    assert fit.suggestion is not None
    assert fit.suggestion.recall == 1
    assert fit.suggestion in fit.options
    assert fit.larger == []  # nothing is missed any more


def test_square_anchors_are_compared_with_free_ones(inspected, clean) -> None:
    assert fit_anchors(inspected, clean.write()).upright is None
    # Half of the objects are 16 x 32 pixels of the input: a square cannot reach more than one half.
    config = with_anchors(clean.write(), square=True, aspect_ratios=(1.0, 0.5))
    config = replace(config, loss=replace(config.loss, positive_iou=0.6))
    fit = fit_anchors(inspected, config)
    assert fit.upright is not None
    assert not fit.upright.anchors.square
    assert fit.upright.recall > max(option.recall for option in fit.options)
    assert fit.better_upright == fit.upright


def test_without_objects_there_is_nothing_to_say(clean) -> None:
    clean.train["annotations"] = []
    config = clean.write()
    assert fit_anchors(read_set(*sources_of(config)[0]), config) is None


def test_a_larger_input_is_tried_where_objects_are_missed(inspected, clean) -> None:
    config = clean.write()
    config = replace(config, loss=replace(config.loss, positive_iou=0.97))
    fit = fit_anchors(inspected, config)
    assert [option.image_size for option in fit.larger] == [96, 128]
    assert isinstance(fit.larger[0].anchors, AnchorConfig)
