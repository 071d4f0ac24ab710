"""Small scenes of rectangles, of which everything can be computed by hand."""

import json

import numpy as np
import pytest

from yolact.evaluation.coco import encode_mask
from yolact.evaluation.errors import image_errors, total_errors
from yolact.evaluation.overlaps import image_overlaps

SIDE = 100
CAT, DOG = 2, 5  # category ids; the labels are 0 and 1


class Scene:
    """Objects and detections, which are rectangles (x, y, width, height) of pictures of 100 x 100 pixels."""

    def __init__(self, folder, num_images=1) -> None:
        self.path, self.num_images = folder / "annotations.json", num_images
        self.objects, self.detections = [], []

    def object(self, category_id, box, image_id=1, crowd=False) -> None:
        self.objects.append(
            {
                "id": len(self.objects) + 1,
                "iscrowd": int(crowd),
                "area": box[2] * box[3],
                **self._place(category_id, box, image_id),
            }
        )

    def detection(self, category_id, box, score, image_id=1) -> None:
        self.detections.append({"score": score, **self._place(category_id, box, image_id)})

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
        """Return the overlaps of the pictures that hold something."""
        image_ids = range(1, self.num_images + 1)
        return list(image_overlaps(self.write(), self.detections, kind, image_ids))

    def errors(self, kind="bbox"):
        """Return the errors."""
        return total_errors([image_errors(one, one.match()) for one in self.overlaps(kind)], 2)

    @staticmethod
    def _place(category_id, box, image_id):
        x, y, width, height = box
        mask = np.zeros((SIDE, SIDE), bool)
        mask[y : y + height, x : x + width] = True
        return {
            "image_id": image_id,
            "category_id": category_id,
            "bbox": list(box),
            "segmentation": encode_mask(mask),
        }


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


@pytest.fixture
def make_scene(tmp_path):
    """Return a function that makes a scene of several pictures."""
    return lambda num_images: Scene(tmp_path, num_images)
