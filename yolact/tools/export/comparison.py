"""Whether an exported file finds on images what PyTorch finds: the same detections, scores, boxes and masks.

The other side of the comparison is the model as it is in training and evaluation; so the folded weights, the writing
and the reading are all checked.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from yolact.config import EvalConfig
from yolact.data.transforms import prepare_image, to_unit
from yolact.postprocess import Detector
from yolact.predictor import LoadedModel
from yolact.structures import Predictions
from yolact.tools.export.files import Run
from yolact.tools.export.graph import RAW, Export, find

SCORE_TOLERANCE = 1e-4
BOX_TOLERANCE = 0.1  # pixels of the network input
MASK_IOU = 0.99  # a smaller one is a disagreement, unless a single pixel of a small mask differs
RAW_TOLERANCE = 1e-3  # largest difference of a raw output over its largest magnitude
# Another order of sums moves an overlap or a score by far less than this, but can move it across a threshold.
ROUNDING = 1e-4
SHIFT = 5  # and so many detections more or less in a full list, from whose end one more at the top pushes another
BATCH = 3  # after a first batch of one image, so that two numbers of images are tried

Found = dict[str, Tensor]  # of one image: what a complete export has, but for counts, and the masks as bool


@dataclass
class Comparison:
    """What was compared, and how large the differences were at most."""

    batch_sizes: list[int] = field(default_factory=list)
    detections: int = 0  # of PyTorch
    paired: int = 0  # those of them with a counterpart within the tolerances
    by_rounding: int = 0  # unpaired on either side where another order of sums can decide over a threshold
    unexplained: int = 0  # unpaired on either side otherwise
    differences: dict[str, float] = field(default_factory=dict)  # raw ones over the output's largest magnitude
    masks: int = 0  # pairs of which at least one side has any pixel
    smallest_mask_iou: float = 1.0  # of those
    wrong_masks: int = 0
    faults: list[str] = field(default_factory=list)

    def disagreement(self) -> str | None:
        """Say in a few words what differs by more than rounding, or return None."""
        if self.faults:
            return self.faults[0]
        for name, most in {**dict.fromkeys(RAW, RAW_TOLERANCE), "mask_scores": SCORE_TOLERANCE}.items():
            difference = self.differences.get(name, 0.0)
            if not difference <= most:  # NaN, too
                share = " of its largest value" if name in RAW else ""
                return f"{name} differs by {difference:.1e}{share}, more than {most:g}"
        if self.unexplained:
            return (
                f"{self.unexplained} detections have no counterpart within {SCORE_TOLERANCE:g} in score and "
                f"{BOX_TOLERANCE:g} pixels, of {self.detections} that PyTorch finds"
            )
        wrong = f"{self.wrong_masks} of {self.masks} masks overlap by less than {MASK_IOU:g}"
        return wrong if self.wrong_masks else None

    def lines(self) -> list[str]:
        """Return the table for a person."""
        batches = " and ".join(map(str, sorted(set(self.batch_sizes))))
        rounding = f", {self.by_rounding} at a threshold decided by rounding" if self.by_rounding else ""
        rows = {"images": f"{sum(self.batch_sizes)}, {batches} at a time"}
        rows["detections"] = f"{self.paired} of {self.detections} the same{rounding}"
        rows |= {name: f"largest difference {value:.1e}" for name, value in self.differences.items()}
        rows["masks"] = f"smallest IoU {self.smallest_mask_iou:.4f} of {self.masks} that are not empty"
        rows["allowed"] = f"{SCORE_TOLERANCE:g} in scores, {BOX_TOLERANCE:g} pixels, mask IoU {MASK_IOU:g}"
        return [f"  {name:18} {text}" for name, text in rows.items()]


def compare(run: Run, export: Export, loaded: LoadedModel, images: Sequence[np.ndarray]) -> Comparison:
    """Run an exported file and PyTorch on images, uint8 [H, W, 3] BGR, and compare what both find."""
    model = copy.deepcopy(loaded.model).cpu().eval()
    prepared = torch.stack([prepare_image(image, model.image_size) for image in images])
    result = Comparison()
    for batch in (prepared[:1], *prepared[1:].split(BATCH)):
        outputs = run(batch.permute(0, 2, 3, 1).contiguous().numpy())
        result.faults += _misfits(export, outputs, len(batch))
        if result.faults:
            break
        result.batch_sizes.append(len(batch))
        with torch.no_grad():
            values = {name: torch.from_numpy(value) for name, value in outputs.items()}
            _compare_batch(result, values, model(to_unit(batch)), Detector.of(model, loaded.config.eval), model.anchors)
    return result


def _misfits(export: Export, outputs: dict[str, np.ndarray], batch: int) -> list[str]:
    got = {name: f"{value.dtype} {list(value.shape)}" for name, value in outputs.items()}
    due = {name: f"{str(value.dtype)[6:]} {[batch, *value.shape[1:]]}" for name, value in export.outputs.items()}
    return [f"output {n} is {got.get(n, 'missing')} instead of {due[n]}" for n in due if got.get(n) != due[n]]


def _compare_batch(
    result: Comparison, values: dict[str, Tensor], predictions: Predictions, detector: Detector, anchors: Tensor
) -> None:
    if "class_logits" in values:
        for name in RAW:
            expected = getattr(predictions, name, anchors)
            _note(result, name, (values[name] - expected).abs().max() / expected.abs().max())
        detector.mask_iou = None  # no such file has it
        values = find(detector, predictions._replace(**{name: values[name] for name in RAW[:-1]}))
    wanted = find(detector, predictions)
    for index in range(len(predictions.class_logits)):
        own, other = (_found_in(found, index, detector.coder.image_size) for found in (wanted, values))
        partners = _partners(own, other)
        missing, extra = _rows(own, partners < 0), _rows(other, _partners(other, own) < 0)
        if len(missing["scores"]) + len(extra["scores"]):
            one = Predictions(*(value[index : index + 1] for value in predictions))
            _judge_unpaired(result, missing, extra, one, detector)
        _compare_pairs(result, _rows(own, partners >= 0), _rows(other, partners[partners >= 0]))
        result.detections += len(partners)


def _found_in(values: dict[str, Tensor], index: int, image_size: int) -> Found:
    """Return the detections of image `index` that the outputs of a complete export hold."""
    count = int(values["counts"][index])
    found = {name: value[index, :count] for name, value in values.items() if name != "counts"}
    # The edges of a box that untrained weights make a hundred times as large as the image are only rounding.
    return found | {"boxes": found["boxes"].clamp(0, image_size), "masks": found["masks"] > 0.5}


def _rows(found: Found, chosen: Tensor) -> Found:
    return {name: value[chosen] for name, value in found.items()}


def _partners(left: Found, right: Found) -> Tensor:
    """Return for each detection the index of its counterpart within the tolerances, or -1."""
    if not len(right["scores"]):
        return torch.full((len(left["scores"]),), -1)
    boxes = (left["boxes"][:, None] - right["boxes"]).abs().amax(-1) / BOX_TOLERANCE
    distance = boxes.maximum((left["scores"][:, None] - right["scores"]).abs() / SCORE_TOLERANCE)
    distance[left["labels"][:, None] != right["labels"]] = torch.inf
    nearest, index = distance.min(1)
    return torch.where(nearest <= 1, index, -1)


def _judge_unpaired(result: Comparison, missing: Found, extra: Found, one: Predictions, detector: Detector) -> None:
    """Count what only PyTorch (`missing`) or the file (`extra`) finds by whether rounding can decide over it.

    It can where PyTorch loses, or finds, the same with thresholds moved slightly.
    """
    moved = (Detector(detector.coder, _moved(detector.settings, sign), detector.mask_iou) for sign in (1, -1))
    looser, stricter = (_found_in(find(other, one), 0, detector.coder.image_size) for other in moved)
    kept = (_partners(missing, looser) >= 0) & (_partners(missing, stricter) >= 0)
    possible = (_partners(extra, looser) >= 0) | (_partners(extra, stricter) >= 0)
    unexplained = int(kept.sum() + (~possible).sum())
    result.unexplained += unexplained
    result.by_rounding += len(kept) + len(possible) - unexplained


def _moved(settings: EvalConfig, sign: int) -> EvalConfig:
    """Return settings that let slightly more (or, with sign -1, less) pass."""
    return replace(
        settings,
        score_threshold=max(settings.score_threshold - sign * ROUNDING, 0.0),
        nms_threshold=min(max(settings.nms_threshold + sign * ROUNDING, 0.0), 1.0),
        max_detections=max(settings.max_detections + sign * SHIFT, 1),
    )


def _compare_pairs(result: Comparison, wanted: Found, given: Found) -> None:
    result.paired += len(wanted["scores"])
    if not len(wanted["scores"]):
        return
    for name in [name for name in wanted if name not in ("labels", "masks")]:
        _note(result, name, (wanted[name] - given[name]).abs().max())
    union = (wanted["masks"] | given["masks"]).sum((1, 2))
    differing = (wanted["masks"] ^ given["masks"]).sum((1, 2))
    result.masks += int((union > 0).sum())
    overlap = 1 - differing / union.clamp(min=1)
    result.smallest_mask_iou = min(result.smallest_mask_iou, float(overlap.min()))
    result.wrong_masks += int(((overlap < MASK_IOU) & (differing > 1)).sum())


def _note(result: Comparison, name: str, difference: Tensor) -> None:
    """Keep the largest difference; NaN is the largest of all."""
    result.differences[name] = float(np.maximum(result.differences.get(name, 0.0), difference.item()))
