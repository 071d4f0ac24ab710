"""Small scenes of rectangles, of which everything can be computed by hand."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from yolact.data import CocoDataset
from yolact.evaluation.matching import match_images
from yolact.ops.regions import MaskRegion
from yolact.ops.rle import encode_region

SIDE = 100

CAT, DOG = 2, 5  # category ids; the labels are 0 and 1
HERE, THERE, AWAY = (0, 0, 10, 10), (40, 40, 10, 10), (80, 80, 10, 10)


def scores_of_pycocotools(annotation_file, records, kind):
    """Return the numbers that pycocotools gives detections, a list of records or the path of a file of them."""
    coco = COCO(str(annotation_file))
    oracle = COCOeval(coco, coco.loadRes(records), kind)
    oracle.evaluate()
    oracle.accumulate()
    oracle.summarize()
    return oracle.stats.tolist()


def rectangle(x, y, width, height):
    """Return box and mask of an annotation or a detection in an image of 100 x 100 pixels."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y : y + height, x : x + width] = True
    return {"bbox": [x, y, width, height], "segmentation": encode_region(MaskRegion.of(mask), (SIDE, SIDE))}


class Scene:
    """Objects and detections, which are rectangles (x, y, width, height) of images of 100 x 100 pixels."""

    def __init__(self, folder) -> None:
        self.folder, self.num_images = folder, 1
        self.objects, self.detections = [], []

    def object(self, category_id, box, image_id=1, crowd=False) -> None:
        common = {"id": len(self.objects) + 1, "image_id": image_id, "category_id": category_id}
        self.objects.append({**common, "iscrowd": int(crowd), "area": box[2] * box[3], **rectangle(*box)})

    def detection(self, category_id, box, score, image_id=1) -> None:
        common = {"image_id": image_id, "category_id": category_id, "score": score}
        self.detections.append({**common, **rectangle(*box)})

    def add(self, objects, detections) -> "Scene":
        for item in objects:
            self.object(*item)
        for item in detections:
            self.detection(*item)
        return self

    def dataset(self, max_images=None):
        """Write the annotation file and images that nobody opens."""
        names = {number: f"{number}.png" for number in range(1, self.num_images + 1)}
        images = [{"id": number, "file_name": name, "height": SIDE, "width": SIDE} for number, name in names.items()]
        categories = [{"id": DOG, "name": "dog"}, {"id": CAT, "name": "cat"}]
        for name in names.values():
            (self.folder / name).touch()
        file, content = self.folder / "annotations.json", {"images": images, "categories": categories}
        file.write_text(json.dumps({**content, "annotations": self.objects}))
        return CocoDataset(file, self.folder, max_images=max_images)

    def matchings(self, kind="bbox"):
        return list(match_images(self.dataset(), self.detections, kind))


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)
