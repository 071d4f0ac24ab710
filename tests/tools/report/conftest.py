"""Evaluations of the small images of `sample_data`, made of their own objects."""

import html.parser
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from yolact.config import Config, dump_config
from yolact.data.dataset import CocoDataset
from yolact.device import versions
from yolact.evaluation.coco import compute_metrics
from yolact.evaluation.run import Evaluation
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
def write_evaluation(dataset: CocoDataset, sample_config: Config, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a folder as `yolact eval` does; `changes` are those of metrics.json."""

    def write(name: str, found: Found = everything, dataset: CocoDataset = dataset, **changes: Any) -> Path:
        records = records_of(dataset, found)
        scored = {kind: compute_metrics(dataset, one, kind) for kind, one in records.items()}
        curves = {kind: one.curves for kind, one in scored.items()}
        analysis = Analysis.of(dataset, Evaluation({}, records["segm"], records["bbox"]))
        metrics = {
            **{kind: one.summary for kind, one in scored.items()},
            "per_class": {kind: one.per_class for kind, one in scored.items()},
            "milliseconds": {"load": 1.0, "network": 20.0, "detect": 3.0, "masks": 2.0},
            "errors": analysis.errors, "fps": 40.0, "annotations": "annotations.json", "annotations_sha256": "abc",
            "images": len(dataset.images), "batch_size": 1, "nms": "fast", "max_detections": 100,
            "device": "cpu (test)", "dtype": "float32", "versions": versions(), **changes,
        }  # fmt: skip
        folder = tmp_path / name
        folder.mkdir(parents=True)
        weights, command = Path("a <b>.pth"), "yolact eval --x '<y>'"
        write_report(folder, metrics, curves, analysis, dataset, sample_config, weights, command)
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


class PageChecker(html.parser.HTMLParser):
    """Collects tags, addresses and texts of a page with SVG in it.

    It sees that every tag is closed, no attribute is a script, and nothing is asked of other hosts.
    """

    VOID = ("meta", "br", "img")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []
        assert all(source.startswith(("data:image/jpeg;base64,", "#")) for source in self.sources)
        assert "script" not in self.tags
        assert "default-src 'none'" in page
        page.encode()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in self.VOID or self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
