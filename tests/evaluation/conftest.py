"""Small scenes of rectangles, of which everything can be computed by hand."""

import json

import numpy as np
import pytest

from yolact.data import CocoDataset
from yolact.evaluation.errors import image_errors, total_errors
from yolact.evaluation.overlaps import image_overlaps
from yolact.ops.regions import MaskRegion
from yolact.ops.rle import encode_region

SIDE = 100
CAT, DOG = 2, 5  # category ids; the labels are 0 and 1


def rectangle(x, y, width, height):
    """Return box and mask of an annotation or a detection in an image of 100 x 100 pixels."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y : y + height, x : x + width] = True
    return {"bbox": [x, y, width, height], "segmentation": encode_region(MaskRegion.of(mask), (SIDE, SIDE))}


class Scene:
    """Objects and detections, which are rectangles (x, y, width, height) of images of 100 x 100 pixels."""

    def __init__(self, folder, num_images=1) -> None:
        self.path, self.num_images = folder / "annotations.json", num_images
        self.objects, self.detections = [], []

    def object(self, category_id, box, image_id=1, crowd=False) -> None:
        common = {"id": len(self.objects) + 1, "image_id": image_id, "category_id": category_id}
        self.objects.append({**common, "iscrowd": int(crowd), "area": box[2] * box[3], **rectangle(*box)})

    def detection(self, category_id, box, score, image_id=1) -> None:
        common = {"image_id": image_id, "category_id": category_id, "score": score}
        self.detections.append({**common, **rectangle(*box)})

    def write(self):
        """Write the annotation file and return its path."""
        images = [
            {"id": number, "file_name": f"{number}.png", "height": SIDE, "width": SIDE}
            for number in range(1, self.num_images + 1)
        ]
        categories = [{"id": DOG, "name": "dog"}, {"id": CAT, "name": "cat"}]
        self.path.write_text(json.dumps({"images": images, "annotations": self.objects, "categories": categories}))
        return self.path

    def overlaps(self, kind="bbox"):
        """Return the overlaps of the images that hold something."""
        return list(image_overlaps(self.write(), self.detections, kind, range(1, self.num_images + 1)))

    def errors(self, kind="bbox"):
        return total_errors([image_errors(one, one.match()) for one in self.overlaps(kind)], 2)


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


@pytest.fixture
def make_scene(tmp_path):
    """Return a function that makes a scene of several images."""
    return lambda num_images: Scene(tmp_path, num_images)


@pytest.fixture
def dataset(sample_config):
    return CocoDataset(sample_config.data.val_annotations, sample_config.data.val_images)
