"""An image of 24 megapixels with a hundred objects fits into little memory, however its masks are made.

As a program, this finds and exports the objects and prints as JSON how much memory that took.
"""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from yolact.config import EvalConfig, load_config, override_config
from yolact.loaded import LoadedModel
from yolact.models import build_model
from yolact.ops.masks import assemble
from yolact.ops.paste import paste_masks
from yolact.postprocess import Detector
from yolact.predictor import Predictor
from yolact.structures import Detections, Resize

ROOT = Path(__file__).resolve().parents[2]
COUNT, SIDE, SMALL = 100, 550, 138  # objects, network input, prototypes


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "large.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (400, 600, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, (6000, 4000), interpolation=cv2.INTER_CUBIC))
    return path


@pytest.mark.long  # one to seven minutes each on a busy core
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak of a process is read from Linux's /proc")
@pytest.mark.parametrize(
    ("crop", "boxes"),
    [("before_resize", "mixed"), ("after_resize", "mixed"), ("none", "mixed"), ("before_resize", "whole")],
)
def test_memory_stays_below_three_gigabytes(image, crop, boxes):
    done = subprocess.run([sys.executable, __file__, str(image), crop, boxes], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["covered"] > (0.5 if "whole" in boxes or crop == "none" else 0.1)
    assert result["same"] == {"1": True, "7": True}
    assert not result["whole"]  # nothing made masks of the whole image
    assert result["peak"] < 3e9


@pytest.mark.long  # half a minute
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak of a process is read from Linux's /proc")
def test_an_image_of_900_megapixels_is_searched_in_tiles(tmp_path):
    rasterio = pytest.importorskip("rasterio", reason="reads images by parts")
    noise = np.random.default_rng(0).integers(0, 256, (3, 256, 256), dtype=np.uint8)
    options = {"driver": "GTiff", "dtype": "uint8", "count": 3, "tiled": True, "blockxsize": 256, "blockysize": 256}
    with rasterio.open(tmp_path / "a.tif", "w", width=30_000, height=30_000, sparse_ok=True, **options) as file:
        for place in range(0, 29_000, 512):  # elsewhere it is black, which takes no room on the disk
            file.write(noise, window=rasterio.windows.Window(place, place, 256, 256))
    arguments = [str(tmp_path / "a.tif"), "tiles"]
    done = subprocess.run([sys.executable, __file__, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["found"] > 50
    assert result["peak"] < 2e9


def predict_in_tiles(path):
    """Search the image in 4,000 tiles by a network of a few channels, whose results are arbitrary."""
    changes = ["model.num_classes=2", "model.image_size=64", "model.resize=stretch", "train.image_sizes=[]"]
    config = override_config(load_config(ROOT / "configs/shapes.yaml"), [*changes, "eval.max_detections=1"])
    predictor = Predictor(LoadedModel(build_model(config).eval(), config, ["cat", "dog"], [1, 2]))
    found = predictor(path, score_threshold=0, tiles=640)
    print(json.dumps({"peak": peak(), "found": len(found)}))


def peak():
    """Return the most memory that this process has had, in bytes."""
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


def predict(path):
    """Send the image through a whole network, whose results are arbitrary."""
    config = override_config(load_config(ROOT / "configs/yolact_resnet50.yaml"), ["model.num_classes=2"])
    loaded = LoadedModel(build_model(config).eval(), config, ["cat", "dog"], [1, 2])
    return Predictor(loaded)(path, score_threshold=0)


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
    return Detections(corners[None], scores[None], labels[None], coefficients[None], count, prototypes)


def paste_in_parts(found, detections, crop, size):
    """Return the regions of masks that are made `size` at a time."""
    height, width = found.image_size
    logits = assemble(detections.prototypes[0], detections.mask_coefficients[0])
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
    detections = made_up(boxes)
    detector = Detector(None, Resize((SIDE, SIDE)), EvalConfig(crop=crop))
    found = detector.instances(detections, 0, image.shape[:2], ["cat", "dog"], [1, 2])
    found.image = image
    # The regions of `found` are those of all hundred at once.
    same = {size: paste_in_parts(found, detections, crop, size) == found.regions for size in (1, 7)}
    covered = sum(region.area for region in found.regions) / (COUNT * image.shape[0] * image.shape[1])
    found.plot()
    found._repr_png_()
    assert len(found) == len(found.to_coco(1)) == len(found.rle()) == len(found.polygons(holes=True)) == COUNT
    assert len(found.to_labelme("large.jpg")["shapes"]) >= COUNT
    for one in found.filter("dog", min_score=0.4, min_area=100):
        one.crops(masked=True)
    print(json.dumps({"peak": peak(), "same": same, "covered": covered, "whole": "masks" in vars(found)}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[2] == "tiles":
        predict_in_tiles(sys.argv[1])
    else:
        main(*sys.argv[1:])
