"""The report as one HTML page, with images on which the objects of the annotations are drawn."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from yolact.data.windows import open_image
from yolact.draw import encode_jpeg
from yolact.errors import UserError
from yolact.tools.inspect.inspection import Report, fit_lines, verdict
from yolact.tools.inspect.reading import InspectedSet
from yolact.tools.pages import draw_objects, render
from yolact.tools.report.charts import bar_chart
from yolact.tools.report.odd_labels import KINDS as ODD_KINDS
from yolact.tools.report.odd_labels import DrawnLabel

SAMPLED = 12  # images of each set that are drawn at random
MARKED = 4  # images of each finding that are drawn
SIDE = 440  # pixels of the longer side of a thumbnail
MAX_DRAWN = 500  # objects of an image; more cannot be told apart at this size
RED = (0, 0, 255)  # BGR


def render_page(report: Report, odd_labels: Mapping[str, Sequence[DrawnLabel]] | None = None) -> str:
    """Return the page, with the drawn odd labels of some sets; images are read and drawn on the way."""
    content, sheets, marked = report.content, {}, []
    bars: list[tuple[Sequence[str], Mapping[str, Sequence[float | None]], str]] = []  # names, series, axis
    if fit := content["anchors"]:
        names, objects, *shares = zip(*map(dict.values, fit["by_size"]), strict=True)
        keys = ["now", "suggested"] if fit["suggestion"] else ["now"]
        percents = {
            key: [None if share is None else 100 * share for share in values]
            for key, values in zip(keys, shares, strict=False)
        }
        bars.append((names, percents, "percent that meet an anchor, by object size in pixels of the input"))
        bars.append((names, {"objects": objects}, "objects, by size in pixels of the input"))
    for name, one in content["sets"].items():
        counts = one["objects_per_picture"]
        bars.append(([*counts], {"images": [*counts.values()]}, f"{name}: images, by their number of objects"))
    for inspected in report.sets:
        indices = np.random.default_rng(0).permutation(len(inspected.images))[:SAMPLED]
        sheets[inspected.source.name] = [(inspected.images[i], draw_thumbnail(inspected, i)) for i in sorted(indices)]
    for finding in tqdm(report.findings, "drawing", unit="kind", disable=not report.findings):
        chosen = {one.image: one.box for one in reversed(finding.examples[:MARKED]) if one.image is not None}
        inspected = next(one for one in report.sets if one.source.name == finding.set)
        marked.append([(inspected.images[i], draw_thumbnail(inspected, i, box)) for i, box in chosen.items()])
    charts = [bar_chart(*one, lambda value: "" if value is None else f"{value:,.0f}") for one in bars]
    texts: dict[str, Any] = {"verdict": verdict(content), "fit_lines": fit_lines(content), "odd_kinds": ODD_KINDS}
    return render(
        "inspect.html", odd_sets=odd_labels or {}, charts=charts, sheets=sheets, marked=marked, **texts, **content
    )


def draw_thumbnail(inspected: InspectedSet, index: int, mark: Sequence[float] | None = None) -> bytes | None:
    """Return a JPEG of an image of a set with its objects, crowd regions left out, and a box (xyxy) in red.

    Returns None where the image cannot be read or has another size than the annotations say.
    """
    record = inspected.images[index]
    size = record.height, record.width
    try:
        path = inspected.source.image_folder / record.file_name
        image = open_image(path, size, inspected.source.colours).overview(SIDE)
    except (UserError, ValueError):
        return None
    objects = sorted(inspected.objects[index][:MAX_DRAWN], key=lambda item: item.area)  # the small above the large
    canvas = draw_objects(image, objects, inspected.categories, SIDE / max(image.shape[:2]), (0, 0, *size[::-1]))
    if mark is not None:
        corners = (np.reshape(mark, (2, 2)) * SIDE / max(size)).round().clip(0, canvas.shape[1::-1])
        low, high = corners.astype(int).tolist()
        cv2.rectangle(canvas, low, high, RED, 2)
    return encode_jpeg(canvas, SIDE)
