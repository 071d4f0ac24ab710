"""Evaluations of the small images of `sample_data`, made of their own objects."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from yolact.config import Config, dump_config
from yolact.data.dataset import CocoDataset
from yolact.device import versions
from yolact.evaluation.analysis import analyse
from yolact.evaluation.coco import compute_metrics
from yolact.ops.regions import MaskRegion
from yolact.ops.rle import encode_region
from yolact.tools.report.evaluation_page import Analysis, write_report

Found = Callable[[int, int, int], int | None]  # image, object and its label -> the label that is found


def everything(index: int, number: int, label: int) -> int | None:
    return label


def records_of(dataset: CocoDataset, found: Found = everything) -> dict[str, list[dict[str, Any]]]:
    """Return mask and box records of the objects that `found` accepts, with the labels that it gives."""
    masks, boxes = [], []
    for index, image in enumerate(dataset.images):
        drawn = dataset.ground_truth(index).masks.numpy()
        for number, item in enumerate(dataset.objects(index)):
            label = found(index, number, item.label)
            if label is None:
                continue
            x1, y1, x2, y2 = item.bbox
            rle = encode_region(MaskRegion.of(drawn[number]), (image.height, image.width))
            record = {"image_id": image.id, "category_id": dataset.categories.ids[label], "score": 0.9 - 0.1 * index}
            masks.append({**record, "segmentation": rle})
            boxes.append({**record, "bbox": [x1, y1, x2 - x1, y2 - y1]})
    return {"segm": masks, "bbox": boxes}


@pytest.fixture
def dataset(sample_data: Path) -> CocoDataset:
    return CocoDataset(sample_data / "annotations.json", sample_data / "pictures")


@pytest.fixture
def write_evaluation(dataset: CocoDataset, sample_config: Config, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a folder as `yolact eval` does; `changes` are those of metrics.json."""

    def write(name: str, found: Found = everything, dataset: CocoDataset = dataset, **changes: Any) -> Path:
        records = records_of(dataset, found)
        scored = {kind: compute_metrics(dataset, one, kind) for kind, one in records.items()}
        curves = {kind: one.curves for kind, one in scored.items()}
        analysis = Analysis.of(dataset)
        errors = analyse(dataset, records, analysis)
        metrics = {
            **{kind: one.summary for kind, one in scored.items()},
            "per_class": {kind: one.per_class for kind, one in scored.items()},
            "milliseconds": {"load": 1.0, "network": 20.0, "detect": 3.0, "masks": 2.0},
            "errors": errors, "fps": 40.0, "annotations": "annotations.json", "annotations_sha256": "abc",
            "images": len(dataset.images), "batch_size": 1, "nms": "fast", "max_detections": 100,
            "device": "cpu (test)", "dtype": "float32", "versions": versions(), **changes,
        }  # fmt: skip
        folder = tmp_path / name
        folder.mkdir(parents=True)
        weights, command = Path("a <b>.pth"), "yolact eval --x '<y>'"
        write_report(folder, metrics, records, curves, analysis, dataset, sample_config, weights, command)
        return folder

    return write


@pytest.fixture
def write_metrics(tmp_path: Path, sample_config: Config) -> Callable[..., Path]:
    """Return a function that writes a folder with a metrics.json of given content, and a config.yaml."""

    def write(name: str, **metrics: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps(metrics))
        (folder / "config.yaml").write_text(dump_config(sample_config))
        return folder

    return write


@pytest.fixture
def check_page(parse_page: type) -> Callable[[str], Any]:
    """Return what parses a page with SVG in it and sees that it asks nothing of other hosts and runs no script."""

    class Checker(parse_page):  # type: ignore[misc]
        def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.handle_starttag(tag, attrs)
            if tag not in self.VOID:
                self.open.pop()

    def check(page: str) -> Any:
        checker = Checker(page)
        assert all(source.startswith(("data:image/jpeg;base64,", "#")) for source in checker.sources)
        assert "script" not in checker.tags
        assert "default-src 'none'" in page
        page.encode()
        return checker

    return check
