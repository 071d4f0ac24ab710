"""Compare this implementation with the authors', number by number (see README.md beside this file).

    python tests/parity/compare.py            # every configuration: minutes
    python tests/parity/compare.py yolact_resnet50

prints each number's error beside its tolerance and exits 1 if one is missed.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rules
import torch
import torch.nn.functional as F

from yolact.compat import dbolya
from yolact.config import EvalConfig, LossConfig
from yolact.losses import ModelWithLoss
from yolact.models import Yolact, build_model
from yolact.ops.boxes import xyxy_to_cxcywh
from yolact.postprocess import Detector
from yolact.structures import Predictions, Target

HERE = Path(__file__).parent
STATE_DICTS = json.loads((HERE / "state_dicts.json").read_text())
RAW, GRADIENT, AREA, AGREEMENT = 1e-4, 1e-3, 0.005, 0.99
LOSSES = {"box": "B", "mask": "M", "class": "C", "semantic": "S", "mask_iou": "I"}


class Check(NamedTuple):
    """One comparison: `error` must not exceed `tolerance`."""

    what: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance


def published_state_dict(name: str) -> dict[str, torch.Tensor]:
    """Return the deterministic stand-in for the published weights of configuration `name`."""
    return {key: torch.from_numpy(rules.weight(key, tuple(shape))) for key, shape, _ in STATE_DICTS[name]}


def load_published(name: str) -> Yolact:
    """Build the configuration and load its weights the way published weights are loaded."""
    state_dict = published_state_dict(name)
    config = dbolya.recognise(state_dict, f"{name}_54_800000.pth")
    assert config.name == name
    model = build_model(config)
    model.load_state_dict(dbolya.convert(state_dict))
    return model.eval()


def train_only(model: Yolact, names: np.ndarray) -> None:
    """Compute no gradient but those of the parameters of the authors' `names`, which halves the time."""
    wanted = dbolya.convert(dict.fromkeys(map(str, names), torch.empty(0))).keys()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in wanted)


def network_input(size: int) -> torch.Tensor:
    """Return the fixture's image as network input, float32 [1, 3, size, size] RGB in [0, 1]."""
    rgb = torch.from_numpy(rules.image(3)[..., ::-1].copy()).permute(2, 0, 1)[None].float()
    return F.interpolate(rgb, (size, size), mode="bilinear", align_corners=False) / 255


def compare(name: str) -> Iterator[Check]:
    """Yield every comparison for configuration `name`."""
    reference = dict(np.load(HERE / f"{name}.npz"))
    model = load_published(name)
    side = model.image_size[0]
    images = network_input(side)
    normalised = (images - model.pixel_mean) / model.pixel_std
    yield relative("input", float(normalised.double().abs().sum()), reference["input_abs"])
    # The network runs once: the losses are those of the image and its mirror, the outputs those of the image alone.
    outputs: list[Predictions] = []
    model.register_forward_hook(lambda module, given, made: outputs.append(made))
    train_only(model, reference["grad_names"])
    batch, targets = torch.cat([images, images.flip(3)]), training_targets(side, model.num_classes)
    losses = ModelWithLoss(model, LossConfig())(batch, targets)
    predictions = Predictions(*(field[:1].detach() for field in outputs[0]))
    with torch.no_grad():
        yield from raw_outputs(predictions, model, reference)
        yield from detections(predictions, model, reference, "fast", 100)
        yield from detections(predictions, model, reference, "cross_class", 200)
    yield from losses_and_gradients(losses, model, reference)


def relative(what: str, got: float, want: np.ndarray, tolerance: float = RAW) -> Check:
    return Check(what, abs(got - float(want)) / (abs(float(want)) or 1), tolerance)


def relative_norm(what: str, got: torch.Tensor, want: np.ndarray) -> Check:
    """Largest difference over the largest magnitude, so that values near zero do not decide."""
    return Check(what, float(np.abs(got.numpy() - want).max() / np.abs(want).max()), RAW)


def raw_outputs(predictions: Predictions, model: Yolact, reference: dict[str, np.ndarray]) -> Iterator[Check]:
    index = reference["prior_index"]
    yield Check("number of anchors", abs(len(model.anchors) - int(reference["num_priors"])), 0)
    yield relative_norm("anchors", xyxy_to_cxcywh(model.anchors)[index] / model.image_size[0], reference["priors"])
    ours = {
        "loc": predictions.box_deltas[0],
        "conf": predictions.class_logits[0].softmax(-1),
        "mask": predictions.mask_coefficients[0],
    }
    for key, value in ours.items():
        yield relative_norm(key, value[index], reference[key])
        yield relative(f"{key}, sum", float(value.double().abs().sum()), reference[f"{key}_abs_sum"])
    prototypes = predictions.prototypes[0].permute(1, 2, 0)
    yield Check("prototype shape", float(tuple(prototypes.shape) != tuple(reference["proto_shape"])), 0)
    yield relative_norm("prototypes", prototypes[::6, ::6], reference["proto"])
    yield relative("prototypes, sum", float(prototypes.double().abs().sum()), reference["proto_abs_sum"])


def detections(
    predictions: Predictions, model: Yolact, reference: dict[str, np.ndarray], nms: str, limit: int
) -> Iterator[Check]:
    settings = replace(EvalConfig(), nms=nms, max_detections=limit)
    detector = Detector.of(model, settings)
    height, width = reference[f"{nms}_mask_shape"][1:]
    names, ids = [""] * model.num_classes, range(model.num_classes)
    size = (int(height), int(width))
    instances = detector.instances(detector.detect(predictions), 0, size, names, ids)
    want = reference[f"{nms}_classes"]
    yield Check(f"{nms}: number of detections", abs(len(instances) - len(want)), 0)
    same_class = instances.labels.numpy() == want
    distance = np.abs(instances.boxes.numpy() - reference[f"{nms}_boxes"]).max(1)
    yield Check(f"{nms}: share of other classes or boxes", 1 - (same_class & (distance <= 1)).mean(), 1 - AGREEMENT)
    yield relative_norm(f"{nms}: scores", instances.scores, reference[f"{nms}_scores"])
    if f"{nms}_mask_scores" in reference:
        yield relative_norm(f"{nms}: mask scores", instances.mask_scores, reference[f"{nms}_mask_scores"])
    areas = instances.masks.sum((1, 2)).numpy()
    want_areas = reference[f"{nms}_mask_areas"]
    # Half a percent of the mask, or one pixel of a mask too small for that to be one.
    off = np.abs(areas - want_areas) > np.maximum(AREA * want_areas, 1)
    yield Check(f"{nms}: share of other mask areas", float(off.mean()), 1 - AGREEMENT)
    packed = reference[f"{nms}_masks_packed"]
    first = np.unpackbits(packed, axis=1)[:, : height * width].reshape(len(packed), height, width).astype(bool)
    differing = (instances.masks[: len(packed)].numpy() != first).sum() / max(first.sum(), 1)
    yield Check(f"{nms}: differing pixels of the first masks", float(differing), AREA)


def training_targets(size: int, num_classes: int) -> list[Target]:
    """Return the fixture's ground truth of both training images."""
    targets = []
    for image_id, (seed, crowds) in enumerate([(5, 1), (6, 0)]):
        boxes, labels, masks, _ = rules.ground_truth(seed, size, num_classes, objects=5, crowds=crowds)
        iscrowd = torch.arange(len(labels)) >= len(labels) - crowds
        targets.append(
            Target(
                boxes=torch.from_numpy(boxes) * size,
                labels=torch.from_numpy(labels),
                masks=torch.from_numpy(masks),
                iscrowd=iscrowd,
                image_id=image_id,
            )
        )
    return targets


def losses_and_gradients(
    losses: dict[str, torch.Tensor], model: Yolact, reference: dict[str, np.ndarray]
) -> Iterator[Check]:
    for ours, theirs in LOSSES.items():
        if f"loss_{theirs}" in reference:
            yield relative(f"loss: {ours}", float(losses[ours].detach()), reference[f"loss_{theirs}"])
    sum(losses.values()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    norms = {name: float(gradient.norm()) for name, gradient in dbolya.export(gradients).items()}
    for name, norm in zip(reference["grad_names"], reference["grad_norms"], strict=True):
        yield relative(f"gradient: {name}", norms[str(name)], norm, GRADIENT)


def main(names: list[str]) -> int:
    failed = 0
    for name in names or list(STATE_DICTS):
        print(f"\n{name}")
        for check in compare(name):
            failed += not check.passed
            print(
                f"  {'ok  ' if check.passed else 'MISS'} {check.what:<60} {check.error:9.2e} <= {check.tolerance:.0e}"
            )
    print(f"\n{failed} numbers missed" if failed else "\nevery number met")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
