"""Whether an exported file finds on pictures what PyTorch finds: the same detections, scores, boxes and masks.

The other side of the comparison is the model as it is in training and evaluation, with `select_detections` and
`to_instances`; so the folded weights, the static NMS, the writing and the reading are all checked.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from yolact.config import EvalConfig
from yolact.data.transforms import prepare_image, to_unit
from yolact.export.files import Run
from yolact.export.graphs import Export, Port
from yolact.models import Yolact
from yolact.postprocess import select_detections, to_instances
from yolact.predictor import LoadedModel
from yolact.structures import Predictions

SCORE_TOLERANCE = 1e-4
BOX_TOLERANCE = 0.1  # pixels of the network input
MASK_IOU = 0.99  # a smaller one is a disagreement, unless a single pixel of a small mask differs
RAW_TOLERANCE = 1e-3  # largest difference of a raw output over its largest magnitude
# Another order of sums moves an overlap or a score by far less than this, but can move it across a threshold.
ROUNDING = 1e-4
SHIFT = 5  # and so many detections more or less in a full list, from whose end one more at the top pushes another
BATCH = 3  # after a first batch of one picture, so that two numbers of pictures are tried


class Found(NamedTuple):
    """Detections of one picture."""

    # float32 [N, 4] xyxy, pixels of the network input, clipped to it: the edges of a box that untrained weights make a
    # hundred times as large as the picture are only rounding.
    boxes: Tensor
    scores: Tensor  # float32 [N]
    labels: Tensor  # int64 [N]
    masks: Tensor  # bool [N, Hp, Wp]
    mask_scores: Tensor  # float32 [N]


@dataclass
class Comparison:
    """What was compared and how far apart it was at most."""

    pictures: int = 0
    batch_sizes: list[int] = field(default_factory=list)
    detections: int = 0  # of PyTorch
    paired: int = 0  # those of them with a counterpart within the tolerances
    by_rounding: int = 0  # unpaired on either side where another order of sums can decide over a threshold
    unexplained: int = 0  # unpaired on either side otherwise
    score_difference: float = 0.0
    mask_score_difference: float = 0.0
    box_difference: float = 0.0  # pixels of the network input
    masks: int = 0  # pairs of which at least one side has any pixel
    smallest_mask_iou: float = 1.0  # of those
    wrong_masks: int = 0
    raw_differences: dict[str, float] = field(default_factory=dict)  # over the output's largest magnitude
    faults: list[str] = field(default_factory=list)

    def disagreement(self) -> str | None:
        """Say in a few words what differs by more than rounding, or return None."""
        if self.faults:
            return self.faults[0]
        for name, difference in self.raw_differences.items():
            if not difference <= RAW_TOLERANCE:
                return f"{name} differs by {difference:.1e} of its largest value, more than {RAW_TOLERANCE:g}"
        if self.unexplained:
            return (
                f"{self.unexplained} detections have no counterpart within {SCORE_TOLERANCE:g} in score and "
                f"{BOX_TOLERANCE:g} pixels, of {self.detections} that PyTorch finds"
            )
        if self.wrong_masks:
            return f"{self.wrong_masks} of {self.masks} masks overlap by less than {MASK_IOU:g}"
        if not self.mask_score_difference <= SCORE_TOLERANCE:
            return f"mask scores differ by {self.mask_score_difference:.1e}, more than {SCORE_TOLERANCE:g}"
        return None

    def lines(self, plus: bool) -> list[str]:
        """Return the table for a person; `plus` tells whether the file has mask scores."""
        batches = " and ".join(map(str, sorted(set(self.batch_sizes))))
        rounding = f", {self.by_rounding} at a threshold decided by rounding" if self.by_rounding else ""
        rows = [("pictures", f"{self.pictures}, {batches} at a time")]
        rows += [(name, f"largest difference {value:.1e}") for name, value in self.raw_differences.items()]
        rows += [
            ("detections", f"{self.paired} of {self.detections} the same{rounding}"),
            ("scores", f"largest difference {self.score_difference:.1e}"),
            ("boxes", f"largest difference {self.box_difference:.1e} pixels"),
            ("masks", f"smallest IoU {self.smallest_mask_iou:.4f} of {self.masks} that are not empty"),
        ]
        if plus:
            rows.append(("mask scores", f"largest difference {self.mask_score_difference:.1e}"))
        return [f"  {name:18} {text}" for name, text in rows]


def compare(run: Run, export: Export, loaded: LoadedModel, pictures: Sequence[np.ndarray]) -> Comparison:
    """Run an exported file and PyTorch on pictures, uint8 [H, W, 3] BGR, and compare what both find."""
    model, settings = copy.deepcopy(loaded.model).cpu().eval(), loaded.config.eval
    if settings.crop == "after_resize":  # nothing is cropped yet at the size of the prototypes
        settings = replace(settings, crop="none")
    result = Comparison()
    for images in _batches(pictures, model.image_size):
        outputs = run(images.permute(0, 2, 3, 1).contiguous().numpy())
        result.faults += [fault for port in export.outputs if (fault := _misfit(port, outputs, len(images)))]
        if result.faults:
            break
        with torch.no_grad():
            predictions = model(to_unit(images))
            _compare_batch(result, outputs, predictions, model, settings)
        result.pictures += len(images)
        result.batch_sizes.append(len(images))
    return result


def _batches(pictures: Sequence[np.ndarray], size: int) -> Iterator[Tensor]:
    prepared = [prepare_image(picture, size) for picture in pictures]
    yield torch.stack(prepared[:1])
    for start in range(1, len(prepared), BATCH):
        yield torch.stack(prepared[start : start + BATCH])


def _misfit(port: Port, outputs: dict[str, np.ndarray], batch: int) -> str | None:
    shape = tuple(batch if length == "batch" else length for length in port.shape)
    if port.name not in outputs:
        return f"output {port.name} is missing"
    value = outputs[port.name]
    if value.shape != shape or value.dtype != port.dtype:
        return f"output {port.name} is {value.dtype} {list(value.shape)} instead of {port.dtype} {list(shape)}"
    return None


def _compare_batch(
    result: Comparison, outputs: dict[str, np.ndarray], predictions: Predictions, model: Yolact, settings: EvalConfig
) -> None:
    values = {name: torch.from_numpy(value) for name, value in outputs.items()}
    raw = "class_logits" in values
    mask_iou = None if raw else model.mask_iou
    expected = _found(predictions, model, settings, mask_iou)
    if raw:
        _compare_raw(result, values, predictions, model)
        fields = [values.get(name, predictions.semantic_logits) for name in Predictions._fields]
        got = _found(Predictions(*fields), model, settings, None)
    else:
        got = [_found_in(values, index, model.image_size) for index in range(len(expected))]
    for index, (wanted, given) in enumerate(zip(expected, got, strict=True)):
        places = _partners(wanted, given)
        missing, extra = _select(wanted, places < 0), _select(given, _partners(given, wanted) < 0)
        if len(missing.scores) or len(extra.scores):
            _judge_unpaired(result, missing, extra, _one(predictions, index), model, settings)
        _compare_pairs(result, _select(wanted, places >= 0), _select(given, places[places >= 0]))
        result.detections += len(wanted.scores)


def _compare_raw(result: Comparison, values: dict[str, Tensor], predictions: Predictions, model: Yolact) -> None:
    for name, value in values.items():
        expected = model.anchors if name == "anchors" else getattr(predictions, name)
        difference = (value - expected).abs().max() / expected.abs().max()
        result.raw_differences[name] = _worst(result.raw_differences.get(name, 0.0), difference)


def _found(predictions: Predictions, model: Yolact, settings: EvalConfig, mask_iou: nn.Module | None) -> list[Found]:
    """Find as evaluation does, with masks at the size of the prototypes."""
    detections = select_detections(predictions, model.anchors, settings)
    found = []
    for index, count in enumerate(detections.counts.tolist()):
        instances = to_instances(
            detections,
            predictions.prototypes,
            index,
            (predictions.prototypes.shape[2], predictions.prototypes.shape[3]),
            settings,
            input_size=model.image_size,
            class_names=[],
            category_ids=[],
            mask_iou=mask_iou,
            min_score=-1.0,
        )
        boxes = detections.boxes[index, :count].clamp(0, model.image_size)
        found.append(Found(boxes, instances.scores, instances.labels, instances.masks, instances.mask_scores))
    return found


def _found_in(values: dict[str, Tensor], index: int, size: int) -> Found:
    """Return the detections of picture `index` that complete outputs hold; `size` is the side of the input."""
    count = int(values["counts"][index])
    boxes, scores, labels, masks = (values[name][index, :count] for name in ("boxes", "scores", "labels", "masks"))
    mask_scores = values["mask_scores"][index, :count] if "mask_scores" in values else scores
    return Found(boxes.clamp(0, size), scores, labels, masks > 0.5, mask_scores)


def _partners(left: Found, right: Found) -> Tensor:
    """Return for each detection the number of its counterpart within the tolerances, or -1."""
    if not len(right.scores):
        return torch.full((len(left.scores),), -1)
    boxes = (left.boxes[:, None] - right.boxes).abs().amax(-1) / BOX_TOLERANCE
    distance = boxes.maximum((left.scores[:, None] - right.scores).abs() / SCORE_TOLERANCE)
    distance[left.labels[:, None] != right.labels] = torch.inf
    nearest, places = distance.min(1)
    return torch.where(nearest <= 1, places, -1)


def _judge_unpaired(
    result: Comparison, missing: Found, extra: Found, predictions: Predictions, model: Yolact, settings: EvalConfig
) -> None:
    """Count what only PyTorch (`missing`) or the file (`extra`) finds by whether rounding can decide over it.

    It can where PyTorch loses, or finds, the same with thresholds moved slightly.
    """
    looser, stricter = (_found(predictions, model, _moved(settings, by), None)[0] for by in (ROUNDING, -ROUNDING))
    kept = (_partners(missing, looser) >= 0) & (_partners(missing, stricter) >= 0)
    possible = (_partners(extra, looser) >= 0) | (_partners(extra, stricter) >= 0)
    unexplained = int(kept.sum() + (~possible).sum())
    result.unexplained += unexplained
    result.by_rounding += len(missing.scores) + len(extra.scores) - unexplained


def _moved(settings: EvalConfig, by: float) -> EvalConfig:
    """Return settings that let slightly more (or, with a negative `by`, less) pass."""
    shift = SHIFT if by > 0 else -SHIFT
    return replace(
        settings,
        score_threshold=max(settings.score_threshold - by, 0.0),
        nms_threshold=min(max(settings.nms_threshold + by, 0.0), 1.0),
        max_detections=max(settings.max_detections + shift, 1),
    )


def _compare_pairs(result: Comparison, wanted: Found, given: Found) -> None:
    result.paired += len(wanted.scores)
    if not len(wanted.scores):
        return
    pairs = ((wanted.boxes, given.boxes), (wanted.scores, given.scores), (wanted.mask_scores, given.mask_scores))
    boxes, scores, mask_scores = ((a - b).abs().max() for a, b in pairs)
    result.box_difference = _worst(result.box_difference, boxes)
    result.score_difference = _worst(result.score_difference, scores)
    result.mask_score_difference = _worst(result.mask_score_difference, mask_scores)
    union = (wanted.masks | given.masks).sum((1, 2))
    differing = (wanted.masks ^ given.masks).sum((1, 2))
    result.masks += int((union > 0).sum())
    overlap = 1 - differing / union.clamp(min=1)
    result.smallest_mask_iou = min(result.smallest_mask_iou, float(overlap.min()))
    result.wrong_masks += int(((overlap < MASK_IOU) & (differing > 1)).sum())


def _worst(before: float, now: Tensor) -> float:
    """Return the larger one; NaN is the largest of all."""
    return float(np.maximum(before, now.item()))


def _select(found: Found, rows: Tensor) -> Found:
    return Found(*(field[rows] for field in found))


def _one(predictions: Predictions, index: int) -> Predictions:
    return Predictions(*(field[index : index + 1] for field in predictions))
