"""Find and export a hundred objects of a large image, and print as JSON how much memory that took.

python large_image.py IMAGE CROP BOXES; the test beside it runs this in a process of its own.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F

from yolact.config import EvalConfig, load_config, override_config
from yolact.instances import Instances
from yolact.models import build_model
from yolact.ops.masks import assemble
from yolact.ops.paste import paste_masks
from yolact.postprocess import Detector
from yolact.predictor import LoadedModel, Predictor
from yolact.structures import Detections

ROOT = Path(__file__).resolve().parents[2]
COUNT, SIDE, SMALL = 100, 550, 138  # objects, network input, prototypes


def peak_bytes():
    """Return the most memory that this process has had; what getrusage says may be its parent's."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def predict(image):
    """Send the image through a whole network, whose results are arbitrary."""
    config = override_config(load_config(ROOT / "configs/yolact_resnet50.yaml"), ["model.num_classes=2"])
    loaded = LoadedModel(build_model(config).eval(), config, ["cat", "dog"], [1, 2])
    return Predictor(loaded)(image, score_threshold=0)


def made_up(boxes):
    """Return a hundred detections, whose masks are smooth, have holes and cover half of what they may."""
    generator = torch.Generator().manual_seed(0)
    prototypes = F.interpolate(torch.randn(1, 32, 9, 9, generator=generator), (SMALL, SMALL), mode="bicubic")
    coefficients = torch.rand(COUNT, 32, generator=generator) * 2 - 1
    centres, sides = torch.rand(COUNT, 2, generator=generator), torch.rand(COUNT, 1, generator=generator) ** 3
    corners = torch.cat([centres - sides / 2, centres + sides / 2], 1) * SIDE
    corners[:: 10 if boxes == "mixed" else 1] = torch.tensor([0.0, 0, SIDE, SIDE])
    scores, labels = torch.linspace(0.9, 0.3, COUNT), torch.arange(COUNT) % 2
    count = torch.tensor([COUNT])
    return Detections(corners[None], scores[None], labels[None], coefficients[None], count), prototypes


def paste_in_parts(found: Instances, detections, prototypes, crop, size):
    """Return the regions of masks that are made `size` at a time."""
    height, width = found.image_size
    logits = assemble(prototypes[0], detections.mask_coefficients[0])
    target = torch.tensor([width, height] * 2) if crop == "after_resize" else torch.tensor([SMALL] * 4)
    boxes = detections.boxes[0] * (target / SIDE)
    regions = []
    for start in range(0, COUNT, size):
        part = slice(start, start + size)
        given = None if crop == "none" else boxes[part]
        regions += paste_masks(logits[part], found.image_size, given, after_resize=crop == "after_resize")
    return regions


def main(path, crop, boxes):
    image = predict(path).image
    detections, prototypes = made_up(boxes)
    coder = SimpleNamespace(image_size=SIDE)  # what is made of detections needs no more of a head
    found = Detector(coder, EvalConfig(crop=crop)).instances(
        detections, prototypes, 0, image.shape[:2], ["cat", "dog"], [1, 2]
    )
    found.image = image
    # The regions of `found` are those of all hundred together.
    same = {size: paste_in_parts(found, detections, prototypes, crop, size) == found.regions for size in (1, 7)}
    covered = sum(region.area for region in found.regions) / (COUNT * image.shape[0] * image.shape[1])
    found.plot()
    found._repr_png_()
    assert len(found.to_coco(1)) == len(found.rle()) == len(found.polygons(holes=True)) == COUNT
    assert len(found.to_labelme("large.jpg")["shapes"]) >= COUNT
    for one in found.filter("dog", min_score=0.4, min_area=100):
        one.crops(masked=True)
    whole = "masks" in vars(found)
    print(json.dumps({"peak": peak_bytes(), "same": same, "covered": covered, "whole": whole, "count": len(found)}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
