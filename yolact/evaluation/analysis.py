"""What lies behind the metrics of an evaluation: errors by kind for masks and boxes, and confusion between classes."""

from dataclasses import dataclass

from yolact.data.dataset import CocoDataset
from yolact.evaluation.confusion import Shown, add_image, no_images
from yolact.evaluation.errors import Errors, image_errors, total_errors
from yolact.evaluation.overlaps import image_overlaps
from yolact.evaluation.quality import SHOWN_SCORE
from yolact.evaluation.run import Evaluation
from yolact.evaluation.truth import IouType


@dataclass(frozen=True)
class Analysis:
    """Errors of both kinds of records, and what masks that score at least `SHOWN_SCORE` are taken for."""

    errors: dict[IouType, Errors]
    shown: Shown


def analyse(dataset: CocoDataset, evaluation: Evaluation) -> Analysis:
    """Compare the records of an evaluation with the objects of its data set, one image in memory at a time."""
    num_classes = len(dataset.categories)
    image_ids = [image.id for image in dataset.images]
    shown = no_images(num_classes)
    errors: dict[IouType, Errors] = {}
    records: dict[IouType, list] = {"segm": evaluation.segm, "bbox": evaluation.bbox}
    for kind, found in records.items():
        images = []
        for overlaps in image_overlaps(dataset.annotation_file, found, kind, image_ids):
            matches = overlaps.match()
            images.append(image_errors(overlaps, matches))
            if kind == "segm":
                add_image(shown, overlaps, matches, SHOWN_SCORE)
        errors[kind] = total_errors(images, num_classes)
    return Analysis(errors, shown)
