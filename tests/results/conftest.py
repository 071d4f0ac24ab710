"""An evaluation of the small pictures of `sample_data`, made of their own objects."""

import json
import shutil

import pytest

from yolact.config import dump_config
from yolact.data import CocoDataset
from yolact.evaluation.analysis import analyse
from yolact.evaluation.coco import compute_figures
from yolact.evaluation.run import Evaluation, versions
from yolact.evaluation.truth import encode_annotation
from yolact.gallery import write_gallery
from yolact.results.page import EvaluationReport

EVIL = "<script>alert('\"&')</script>"


def records(dataset, found):
    """Return mask and box records of the objects that `found` accepts, with the labels that it gives."""
    masks, boxes = [], []
    for index, picture in enumerate(dataset.images):
        size = (picture.height, picture.width)
        for place, item in enumerate(dataset.objects(index)):
            label = found(index, place, item.label)
            if label is None:
                continue
            x1, y1, x2, y2 = item.bbox
            rle = encode_annotation({"size": list(size), "counts": item.segmentation.runs.tolist()}, size)
            record = {
                "image_id": picture.id,
                "category_id": dataset.categories.ids[label],
                "score": 0.9 - 0.1 * index,
            }
            masks.append({**record, "segmentation": {"size": list(size), "counts": rle["counts"].decode()}})
            boxes.append({**record, "bbox": [x1, y1, x2 - x1, y2 - y1]})
    return masks, boxes


@pytest.fixture
def make_report(sample_data, sample_config, tmp_path):
    """Return a function that makes a report; `found` is as in `records`."""

    def make(found, annotations=None, pictures=None, drawn=2):
        file = annotations or sample_data / "annotations.json"
        dataset = CocoDataset(file, pictures or sample_data / "pictures")
        masks, boxes = records(dataset, found)
        figures = {kind: compute_figures(file, found, kind) for kind, found in (("segm", masks), ("bbox", boxes))}
        metrics = {
            **{kind: one.summary for kind, one in figures.items()},
            "per_class": {kind: one.per_class for kind, one in figures.items()},
            "fps": 40.0,
            "milliseconds": {"load": 1.0, "network": 20.0, "detect": 3.0, "masks": 2.0},
            "annotations": file.name,
            "images": len(dataset.images),
            "batch_size": 1,
            "nms": "fast",
            "max_detections": 100,
            "device": "cpu (test)",
            "dtype": "float32",
            "versions": versions(),
        }
        curves = {kind: one.curves for kind, one in figures.items()}
        evaluation = Evaluation(metrics, masks, boxes, curves)
        analysis = analyse(dataset, evaluation)
        gallery = write_gallery(tmp_path / "gallery", dataset, evaluation, count=drawn)
        return EvaluationReport(
            evaluation, analysis, dataset.categories, gallery, sample_config, "a <b>.pth", "python eval.py --x '<y>'"
        )

    (tmp_path / "gallery").mkdir()
    return make


@pytest.fixture
def evil_data(sample_data, tmp_path):
    """Return the annotations and the pictures of `sample_data` under hostile names."""
    shutil.copytree(sample_data / "pictures", tmp_path / "pictures")
    content = json.loads((sample_data / "annotations.json").read_text())
    content["categories"] = [{"id": 3, "name": EVIL}, {"id": 7, "name": "</script>\ud800\n" + "x" * 5000}]
    for number, image in enumerate(content["images"]):
        name = f"<img src=x onerror=alert({number})>.png"
        (tmp_path / "pictures" / image["file_name"]).rename(tmp_path / "pictures" / name)
        image["file_name"] = name
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    return tmp_path / "annotations.json", tmp_path / "pictures"


@pytest.fixture
def write_evaluation(make_report, tmp_path):
    """Return a function that writes a folder as eval.py does, as far as a comparison reads it."""

    def write(name, found=lambda index, place, label: label, **changes):
        report = make_report(found, drawn=0)
        folder = tmp_path / name
        folder.mkdir(parents=True)
        errors = {kind: one.as_json() for kind, one in report.analysis.errors.items()}
        metrics = {**report.evaluation.metrics, "errors": errors, "annotations_sha256": "abc", **changes}
        (folder / "metrics.json").write_text(json.dumps(metrics))
        (folder / "config.yaml").write_text(dump_config(report.config))
        return folder

    return write
