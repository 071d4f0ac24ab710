"""The report as one HTML page, with images on which the objects of the annotations are drawn."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch
from markupsafe import Markup
from matplotlib.figure import Figure
from tqdm import tqdm

from yolact.data.images import read_image
from yolact.data.masks import draw_masks
from yolact.data.transforms import boxes_of
from yolact.draw import draw_instances, encode_jpeg
from yolact.errors import DatasetError
from yolact.instances import Instances
from yolact.ops.regions import regions_of
from yolact.text import printable
from yolact.tools.inspect.inspection import Report, fit_lines, verdict
from yolact.tools.inspect.reading import InspectedSet
from yolact.tools.pages import COLOURS, data_uri, render, svg

SAMPLED = 12  # images of each set that are drawn at random
MARKED = 4  # images of each finding that are drawn
SIDE = 440  # pixels of the longer side of a thumbnail
MAX_DRAWN = 500  # objects of an image; more cannot be told apart at this size
RED = (0, 0, 255)  # BGR


def render_page(report: Report) -> str:
    """Return the page; images are read and drawn on the way."""
    content, charts, sheets, marked = report.content, list[Markup](), {}, []
    if fit := content["anchors"]:
        names, objects, now, then = zip(*map(dict.values, fit["by_size"]), strict=True)
        shares = {"now": now, "suggested": then} if fit["suggestion"] else {"now": now}
        percents = {name: [100 * (share or 0) for share in values] for name, values in shares.items()}
        charts.append(_bars(names, percents, "percent that meet an anchor, by object size in pixels of the input"))
        charts.append(_bars(names, {"objects": objects}, "objects, by size in pixels of the input"))
    for name, one in content["sets"].items():
        counts = one["objects_per_picture"]
        charts.append(_bars([*counts], {"images": [*counts.values()]}, f"{name}: images, by their number of objects"))
    for inspected in report.sets:
        indices = np.random.default_rng(0).permutation(len(inspected.images))[:SAMPLED]
        sheets[inspected.source.name] = [(inspected.images[i], draw_thumbnail(inspected, i)) for i in sorted(indices)]
    for finding in tqdm(report.findings, "drawing", unit="kind"):
        chosen = {one.image: one.box for one in reversed(finding.examples[:MARKED]) if one.image is not None}
        inspected = next(one for one in report.sets if one.source.name == finding.set)
        marked.append([(inspected.images[i], draw_thumbnail(inspected, i, box)) for i, box in chosen.items()])
    images = {"sheets": sheets, "marked": marked, "data_uri": data_uri}
    texts = {"verdict": verdict(content), "fit_lines": fit_lines(content)}
    return render("inspect.html", charts=charts, **images, **texts, **content)


def draw_thumbnail(inspected: InspectedSet, index: int, mark: Sequence[float] | None = None) -> bytes | None:
    """Return a JPEG of an image of a set with its objects, crowd regions left out, and a box (xyxy) in red.

    Returns None where the image cannot be read or has another size than the annotations say.
    """
    record = inspected.images[index]
    try:
        image = read_image(inspected.source.image_folder / record.file_name, (record.height, record.width))
    except (DatasetError, ValueError):
        return None
    scale = SIDE / max(image.shape[:2])
    width, height = (max(1, round(side * scale)) for side in image.shape[1::-1])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    scales = np.array([width / record.width, height / record.height])
    objects = [item for item in inspected.objects[index] if not item.iscrowd][:MAX_DRAWN]
    objects.sort(key=lambda item: item.area)  # the small ones above the large ones
    matrix, scores = np.column_stack((np.diag(scales), [0, 0])), torch.ones(len(objects))
    regions = regions_of(draw_masks([item.segmentation for item in objects], matrix, (height, width)))
    boxes = torch.from_numpy(boxes_of(objects) * np.tile(scales, 2)).float()
    labels = torch.tensor([item.label for item in objects], dtype=torch.int64)
    names, ids = [printable(name) for name in inspected.categories.names], inspected.categories.ids
    instances = Instances(boxes, scores, labels, regions, scores, (height, width), names, ids)
    canvas = draw_instances(np.asarray(small, np.uint8), instances, scores=False)
    if mark is not None:
        low, high = (np.reshape(mark, (2, 2)) * scales).round().clip(0, (width, height)).astype(int).tolist()
        cv2.rectangle(canvas, low, high, RED, 2)
    return encode_jpeg(canvas, SIDE)


def _bars(names: Sequence[str], series: Mapping[str, Sequence[float]], axis: str) -> Markup:
    """Draw one bar for each name and series, with its value above."""
    figure = Figure(figsize=(6.2, 2.6))
    axes, width = figure.subplots(), 0.8 / len(series)
    for number, (label, values) in enumerate(series.items()):
        left = np.arange(len(names)) + number * width - 0.4
        bars = axes.bar(left, values, 0.95 * width, align="edge", label=label, color=COLOURS[-number])
        axes.bar_label(bars, [f"{value:,.0f}" if value else "" for value in values], fontsize=8)
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.set(xlabel=axis, yticks=[])
    axes.spines[["top", "right", "left"]].set_visible(False)
    if len(series) > 1:
        axes.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    return svg(figure)
