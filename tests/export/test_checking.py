"""Disagreements are found, and rounding at a threshold is not taken for one."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from yolact.data.transforms import prepare_image, to_unit
from yolact.export.checking import compare
from yolact.export.graphs import make_export
from yolact.export.pictures import generated_pictures
from yolact.postprocess import select_detections

PICTURES = generated_pictures(64)[:2]


def runner(export):
    """Run an export without writing it."""

    def run(images):
        with torch.no_grad():
            return {name: value.numpy().copy() for name, value in export.graph(torch.from_numpy(images)).items()}

    return run


def compared(loaded, contents, change):
    """Compare an export whose outputs `change` has altered."""
    export = make_export(loaded, contents)

    def run(images):
        outputs = runner(export)(images)
        change(outputs)
        return outputs

    return compare(run, export, loaded, PICTURES)


def add(name, amount):
    return lambda outputs: outputs.__setitem__(name, outputs[name] + np.asarray(amount, outputs[name].dtype))


def flip(*pixels):
    """Turn pixels of every mask into their opposite."""

    def change(outputs):
        for row, column in pixels:
            outputs["masks"][..., row, column] = 1 - outputs["masks"][..., row, column]

    return change


def shorten(outputs):
    outputs["counts"] -= 20


@pytest.mark.parametrize("contents", ["complete", "raw"])
def test_an_untouched_export_agrees(loaded, contents):
    result = compared(loaded, contents, lambda outputs: None)
    assert result.disagreement() is None
    assert (result.pictures, result.detections, result.paired, result.unexplained) == (2, 200, 200, 0)
    assert result.batch_sizes == [1, 1]
    assert result.smallest_mask_iou > 0.99


COMPLETE_FAULTS = {
    "scores": (add("scores", 2e-4), "no counterpart within 0.0001 in score and 0.1 pixels, of 200"),
    "boxes": (add("boxes", [0.2, 0, 0, 0]), "no counterpart"),
    "labels": (lambda o: o.update(labels=(o["labels"] + 1) % 3), "no counterpart"),
    "counts": (shorten, "no counterpart"),
    "masks": (flip((0, 0), (0, 1)), "masks overlap by less than 0.99"),
    "rows": (lambda o: o.update(boxes=o["boxes"][:, :-1]), r"output boxes is float32 \[1, 99, 4\] instead of float32"),
    "type": (lambda o: o.update(labels=o["labels"].astype(np.int32)), r"output labels is int32 .* instead of int64"),
    "name": (lambda o: o.pop("masks"), "output masks is missing"),
    "NaN": (add("scores", np.nan), "no counterpart"),
}


@pytest.mark.parametrize("fault", COMPLETE_FAULTS)
def test_a_disagreement_of_detections_is_found(loaded, fault):
    change, words = COMPLETE_FAULTS[fault]
    reason = compared(loaded, "complete", change).disagreement()
    assert re.search(words, str(reason))


def test_a_single_pixel_of_a_small_mask_is_no_disagreement(loaded):
    result = compared(loaded, "complete", flip((0, 0)))
    assert result.smallest_mask_iou < 0.99
    assert result.disagreement() is None


@pytest.mark.parametrize("name", ["class_logits", "box_deltas", "mask_coefficients", "prototypes", "anchors"])
@pytest.mark.parametrize("amount", [1.0, np.nan])
def test_a_disagreement_of_raw_outputs_is_found(loaded, name, amount):
    assert f"{name} differs by" in compared(loaded, "raw", add(name, amount)).disagreement()


def found_at(loaded, threshold):
    """Boxes of both pictures with another NMS threshold."""
    images = torch.stack([prepare_image(picture, 64) for picture in PICTURES])
    settings = replace(loaded.config.eval, nms_threshold=threshold)
    with torch.no_grad():
        return select_detections(loaded.model(to_unit(images)), loaded.model.anchors, settings).boxes


def threshold_on_an_overlap(loaded):
    """Two NMS thresholds less than 1e-5 apart between which a detection appears."""
    low, high = 0.3, 0.6
    first = found_at(loaded, low)
    while high - low > 1e-6:
        middle = (low + high) / 2
        if torch.equal(found_at(loaded, middle), first):
            low = middle
        else:
            high = middle
    return low, high


def test_rounding_may_decide_over_an_overlap_at_the_threshold(loaded):
    low, high = threshold_on_an_overlap(loaded)

    def with_threshold(value):
        return replace(loaded, config=replace(loaded.config, eval=replace(loaded.config.eval, nms_threshold=value)))

    export = make_export(with_threshold(high + 1e-6), "complete")
    near = compare(runner(export), export, with_threshold(low - 1e-6), PICTURES)
    assert near.by_rounding > 0
    assert near.disagreement() is None
    far = compare(runner(export), export, with_threshold(low - 0.05), PICTURES)
    assert "no counterpart" in far.disagreement()


def test_masks_that_are_cropped_after_resizing_are_compared_whole(loaded):
    after = replace(loaded, config=replace(loaded.config, eval=replace(loaded.config.eval, crop="after_resize")))
    export = make_export(after, "complete")
    assert compare(runner(export), export, after, PICTURES).disagreement() is None


def test_the_table_says_how_much_was_compared(loaded):
    result = compared(loaded, "complete", lambda outputs: None)
    text = "\n".join(result.lines(plus=False))
    assert "200 of 200 the same" in text
    assert f"of {result.masks} that are not empty" in text
    assert "mask scores" not in text
