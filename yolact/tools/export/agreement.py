"""Whether an exported file finds on images what PyTorch finds: the same detections, scores, boxes and masks.

The other side of the comparison is the model as it is in training and evaluation; so the folded weights, the writing
and the reading are all checked.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from yolact.data.rendering import prepare_image, to_unit
from yolact.loaded import LoadedModel
from yolact.postprocess import Detector
from yolact.runtimes.exported import RAW
from yolact.structures import Predictions
from yolact.tools.export.graph import Export, find

# The largest differences: of raw outputs as shares of their largest magnitude, of boxes in pixels of the network input,
# of masks 1 - IoU; and of all detections, the share that may have no counterpart.
EXACT = dict.fromkeys((*RAW, "anchors", "points"), 1e-3) | {
    "scores": 1e-4, "boxes": 0.1, "mask_scores": 1e-4, "masks": 0.01, "unpaired": 0.0,
}  # fmt: skip
# Half the bits round by a hundredth where a float rounds by a millionth.
ROUGH = dict.fromkeys(RAW, 0.1) | {
    "anchors": 1e-3, "points": 1e-3, "scores": 0.05, "boxes": 4.0, "mask_scores": 0.05, "masks": 0.25, "unpaired": 0.1,
}  # fmt: skip
# Another order of sums moves an overlap or a score by far less than this, but can move it across a threshold.
ROUNDING = 1e-4
SHIFT = 5  # and so many detections more or less in a full list, from whose end one more at the top pushes another
BATCH = 3  # after a first batch of one image, so that two numbers of images are tried

Run = Callable[[Tensor], dict[str, Tensor]]
Found = dict[str, Tensor]  # of one image: what a complete export has, but for counts, and the masks as bool


@dataclass
class Comparison:
    """What was compared, and how large the differences were at most."""

    allowed: dict[str, float]  # EXACT or ROUGH
    batch_sizes: list[int] = field(default_factory=list)
    detections: int = 0  # of PyTorch
    paired: int = 0  # those of them with a counterpart within the tolerances
    by_rounding: int = 0  # unpaired on either side where another order of sums can decide over a threshold
    unexplained: int = 0  # unpaired on either side otherwise
    masks: int = 0  # pairs of which at least one side has any pixel
    differences: dict[str, float] = field(default_factory=dict)  # the largest, in the units of EXACT

    def disagreement(self) -> str | None:
        """Say in a few words what differs by more than rounding, or return None."""
        for name, difference in self.differences.items():
            if not difference <= self.allowed[name]:  # NaN, too
                return f"{name} differs by {difference:.1e}, more than {self.allowed[name]:g}"
        if self.unexplained > self.allowed["unpaired"] * self.detections:
            return (
                f"{self.unexplained} detections have no counterpart within {self.allowed['scores']:g} in score "
                f"and {self.allowed['boxes']:g} pixels, of {self.detections} that PyTorch finds"
            )
        return None

    def lines(self) -> list[str]:
        """Return the table for a person."""
        batches = " and ".join(map(str, sorted(set(self.batch_sizes))))
        rounding = f", {self.by_rounding} at a threshold decided by rounding" if self.by_rounding else ""
        rounding += f", {self.unexplained} without a counterpart" if self.unexplained else ""
        rows = {"images": f"{sum(self.batch_sizes)}, {batches} at a time"}
        rows["detections"] = f"{self.paired} of {self.detections} the same{rounding}"
        for name, difference in self.differences.items():
            rows[name] = f"largest difference {difference:.1e}, allowed {self.allowed[name]:g}"
        rows["masks"] += f" (1 - IoU, of {self.masks} that are not empty)" if "masks" in rows else ""
        return [f"  {name:18} {text}" for name, text in rows.items()]

    def note(self, name: str, difference: Tensor) -> None:
        """Keep the largest difference; NaN is the largest of all."""
        self.differences[name] = float(np.maximum(self.differences.get(name, 0.0), difference.item()))


def compare(run: Run, export: Export, loaded: LoadedModel, images: Sequence[np.ndarray]) -> Comparison:
    """Run an exported file and PyTorch on images, `Pixels` [H, W, C], and compare what both find."""
    model = copy.deepcopy(loaded.model).cpu()
    detector = Detector.of(model, loaded.config.eval)
    if export.raw:
        detector.mask_iou = None  # no such file has it
    prepared = torch.stack([prepare_image(image, model.resize) for image in images])
    result = Comparison(EXACT if export.metadata["precision"] == "fp32" else ROUGH)
    for batch in (prepared[:1], *prepared[1:].split(BATCH)):
        outputs = {name: value.cpu() for name, value in run(batch.permute(0, 2, 3, 1).contiguous()).items()}
        result.batch_sizes.append(len(batch))
        with torch.no_grad():
            predictions = model(to_unit(batch))
            for index in range(len(batch)):
                one = Predictions(*(value[index : index + 1] for value in predictions))
                values = {name: value[index : index + 1] for name, value in outputs.items()}
                if export.raw:
                    expected = {name: getattr(one, name) for name in RAW} | detector.coder.constants
                    for name, wanted in expected.items():
                        result.note(name, (values[name] - wanted).abs().max() / wanted.abs().max())
                    values = find(detector, one._replace(**{name: values[name] for name in RAW}))
                _compare_image(result, _found_in(values, detector), one, detector)
    return result


def _found_in(values: dict[str, Tensor], detector: Detector) -> Found:
    """Return the detections that the outputs of a complete export for one image hold."""
    count = int(values["counts"])
    # What masks are made of needs no comparison beside theirs.
    left_out = ("counts", "prototypes", "mask_coefficients")
    found = {name: value[0, :count] for name, value in values.items() if name not in left_out}
    # The edges of a box that untrained weights make a hundred times as large as the image are only rounding.
    height, width = detector.coder.image_size
    boxes = found["boxes"].clamp(min=0).minimum(torch.tensor([width, height, width, height]))
    return found | {"boxes": boxes, "masks": found["masks"] > detector.mask_threshold}


def _compare_image(result: Comparison, given: Found, predictions: Predictions, detector: Detector) -> None:
    """Compare what a file finds in an image with what PyTorch finds from its own predictions for it."""

    def found(sign: int) -> Found:
        """Find with thresholds that let slightly more pass, or with -1 less, or with 0 as they are."""
        settings = replace(
            detector.settings,
            score_threshold=detector.settings.score_threshold - sign * ROUNDING,
            nms_threshold=detector.settings.nms_threshold + sign * ROUNDING,
            max_detections=max(detector.settings.max_detections + sign * SHIFT, 1),
        )
        moved = Detector(detector.coder, detector.resize, settings, detector.mask_iou)
        return _found_in(find(moved, predictions), detector)

    wanted = found(0)
    partners = _partners(wanted, given, result.allowed)
    unpaired = {
        name: torch.cat([wanted[name][partners < 0], given[name][_partners(given, wanted, result.allowed) < 0]])
        for name in ("boxes", "scores", "labels")
    }
    if len(unpaired["scores"]):
        # Rounding can decide where PyTorch finds the same at some of the thresholds and not at all of them.
        present = torch.stack([_partners(unpaired, found(sign), result.allowed) >= 0 for sign in (-1, 0, 1)])
        by_rounding = int((present.any(0) & ~present.all(0)).sum())
        result.by_rounding += by_rounding
        result.unexplained += len(unpaired["scores"]) - by_rounding
    result.detections += len(partners)
    paired = [(wanted[name][partners >= 0], given[name][partners[partners >= 0]]) for name in wanted]
    result.paired += len(paired[0][0])
    if not len(paired[0][0]):
        return
    for name, (left, right) in zip(wanted, paired, strict=True):
        if name == "masks":
            union, differing = (left | right).sum((1, 2)), (left ^ right).sum((1, 2))
            result.masks += int((union > 0).sum())
            differing[differing == 1] = 0  # a single pixel of a small mask
            result.note(name, (differing / union.clamp(min=1)).max())
        elif name != "labels":
            result.note(name, (left - right).abs().max())


def _partners(left: Found, right: Found, allowed: dict[str, float]) -> Tensor:
    """Return for each detection the index of its counterpart of the same label within the tolerances, or -1."""
    if not len(right["scores"]):
        return torch.full((len(left["scores"]),), -1)
    boxes = (left["boxes"][:, None] - right["boxes"]).abs().amax(-1) / allowed["boxes"]
    distance = boxes.maximum((left["scores"][:, None] - right["scores"]).abs() / allowed["scores"])
    distance[left["labels"][:, None] != right["labels"]] = torch.inf
    nearest, index = distance.min(1)
    return torch.where(nearest <= 1, index, -1)
