"""The report as one HTML file that needs nothing else: no scripts, no outside requests, every text escaped."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from yolact.inspection.check import Report
from yolact.inspection.entries import InspectedSet
from yolact.inspection.findings import Finding
from yolact.inspection.geometry import Box
from yolact.inspection.page_anchors import anchor_section
from yolact.inspection.sheets import draw_thumbnail
from yolact.inspection.style import STYLE
from yolact.pages.charts import Series, bar_chart
from yolact.pages.markup import code, document, picture, table, text
from yolact.pages.style import BLUE
from yolact.text import counted, percent

SHOWN_EXAMPLES = 8  # of a finding; check.json has more
OPEN_EXAMPLES = 3  # so many are shown without a click
SAMPLED = 12  # pictures of each set that are drawn at random
MARKED = 24  # pictures with findings that are drawn
MARKED_OF_KIND = 4
SHOWN_CLASSES = 300
ONE_COLUMN = 12  # classes


def render(report: Report) -> str:
    """Return the page; pictures are read and drawn on the way."""
    title = f"Data check: {report.config.name}"
    body = [
        f"<header><h1>{text(title)}</h1>{_verdict(report)}</header>",
        _overview(report),
        _findings(report.findings),
        anchor_section(report),
        _pictures_by_count(report),
        _classes(report),
        _marked_sheet(report),
        *(_random_sheet(inspected) for inspected in report.sets),
    ]
    return document(title, body, STYLE)


def _verdict(report: Report) -> str:
    errors, warnings = report.num_errors, len(report.findings) - report.num_errors
    if errors:
        kinds = counted(errors, "kind of error", "kinds of errors")
        return f'<p class="verdict error">{kinds}: training refuses this data or stops on it.</p>'
    if warnings:
        kinds = counted(warnings, "kind of warning", "kinds of warnings")
        return f'<p class="verdict warning">No errors, {kinds}: training runs; look at them.</p>'
    if report.anchors is not None and report.anchors.suggestion is not None:
        share = percent(report.anchors.now.recall)
        return f'<p class="verdict warning">No faults were found, but only {share} of the objects meet an anchor.</p>'
    return '<p class="verdict good">No faults were found.</p>'


def _overview(report: Report) -> str:
    counts = {
        "pictures": "pictures",
        "pictures without objects": "pictures_without_objects",
        "objects": "objects",
        "crowd regions": "crowd_regions",
        "annotations left out": "left_out",
        "classes": "classes",
        "most objects in a picture": "most_objects",
    }
    rows = [
        ["annotations", *(code(summary["annotation_file"]) for summary in report.summaries)],
        ["pictures in", *(code(summary["image_folder"]) for summary in report.summaries)],
        ["median width &times; height", *(_picture_sizes(summary) for summary in report.summaries)],
        *([name, *(f"{summary[key]:,}" for summary in report.summaries)] for name, key in counts.items()),
    ]
    return f"<section>{table(['', *(inspected.name for inspected in report.sets)], rows)}</section>"


def _picture_sizes(summary: dict[str, Any]) -> str:
    parts = []
    for side in ("width", "height"):
        low, middle, high = summary[side]
        parts.append(f"{middle}" if low == high else f"{middle} ({low} to {high})")
    return " &times; ".join(parts)


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return ""
    return f"<section><h2>Findings</h2>{''.join(map(_finding, findings))}</section>"


def _finding(finding: Finding) -> str:
    shown = finding.examples[:SHOWN_EXAMPLES]
    rest = finding.count - len(shown)
    more = f'<p class="more">and {rest:,} more: see check.json</p>' if rest else ""
    is_open = " open" if finding.level == "error" or finding.count <= OPEN_EXAMPLES else ""
    columns = {
        "picture": [text(example.picture or "") for example in shown],
        "annotation id": ["" if example.annotation is None else str(example.annotation) for example in shown],
        "what": [text(example.note) for example in shown],
    }
    columns = {name: cells for name, cells in columns.items() if any(cells)}
    return (
        f'<details class="finding {finding.level}"{is_open}><summary><span class="level">{finding.level}</span> '
        f"{text(finding.kind.title[0].upper() + finding.kind.title[1:])}: <b>{finding.count:,}</b> "
        f'<span class="set">{text(finding.set_name)}</span> <code>{finding.kind.name}</code></summary>'
        f"<p>{text(finding.kind.advice)}</p>{table(columns, zip(*columns.values(), strict=True))}{more}</details>"
    )


def _pictures_by_count(report: Report) -> str:
    charts = []
    for inspected, summary in zip(report.sets, report.summaries, strict=True):
        counts = summary["objects_per_picture"]
        labels = [f"{value:,}" if value else "" for value in counts.values()]
        bars = [Series("pictures", list(counts.values()), BLUE, labels)]
        chart = bar_chart(list(counts), bars, f"{inspected.name}: pictures, by their number of objects")
        charts.append(f"<figure>{chart}</figure>")
    return f'<section><h2>Objects in a picture</h2><div class="columns">{"".join(charts)}</div></section>'


def _classes(report: Report) -> str:
    """Return the classes with their objects as bars, the most frequent first, as the first set declares them."""
    first = sorted(report.summaries[0]["objects_per_class"], key=lambda one: -one["objects"])
    most = max((one["objects"] for one in first), default=0) or 1
    omitted = len(first) - SHOWN_CLASSES
    if omitted > 0:
        first = first[: SHOWN_CLASSES // 2] + first[-SHOWN_CLASSES // 2 :]
    others: dict[int, int] = {}
    if len(report.sets) == 2:
        others = {one["id"]: one["objects"] for one in report.summaries[1]["objects_per_class"]}
    rows = []
    for one in first:
        count = f"{one['objects']:,}" + (f" / {others.get(one['id'], 0):,}" if len(report.sets) == 2 else "")
        rows.append(
            f'<div class="class"><span class="name" title="id {one["id"]}">{text(one["name"])}</span>'
            f'<span class="track"><span class="bar" style="width:{100 * one["objects"] / most:.1f}%"></span></span>'
            f'<span class="count">{count}</span></div>'
        )
    head = "Objects of each class" + (", to train / to validate." if len(report.sets) == 2 else ".")
    note = f" {omitted:,} in the middle are left out; check.json has all." if omitted > 0 else ""
    few = "" if len(rows) > ONE_COLUMN else " few"
    return f'<section><h2>Classes</h2><p>{head}{note}</p><div class="classes{few}">{"".join(rows)}</div></section>'


def _marked_sheet(report: Report) -> str:
    """Return pictures in which something was found, a few of each kind, with the boxes in question in red."""
    notes: dict[tuple[int, int], list[str]] = {}
    marks: dict[tuple[int, int], list[Box]] = {}
    numbers = {inspected.name: number for number, inspected in enumerate(report.sets)}
    for finding in report.findings:
        new = 0
        for example in finding.examples:
            if example.place is None:
                continue
            key = (numbers[finding.set_name], example.place)
            if key not in notes:
                if new == MARKED_OF_KIND or len(notes) == MARKED:
                    continue
                new += 1
            about = "" if example.annotation is None else f", annotation {example.annotation}"
            notes.setdefault(key, []).append(finding.kind.name + about)
            marks.setdefault(key, []).extend([] if example.box is None else [example.box])
    if not notes:
        return ""
    bar = tqdm(notes.items(), desc="drawing findings", unit="picture")
    cells = [_cell(report.sets[number], place, marks[number, place], lines) for (number, place), lines in bar]
    return (
        f"<section><h2>Pictures with findings</h2><p>Up to {MARKED_OF_KIND} for each kind; the boxes in question are "
        f'red.</p><div class="sheet">{"".join(cells)}</div></section>'
    )


def _random_sheet(inspected: InspectedSet) -> str:
    count = min(SAMPLED, len(inspected.pictures))
    if count == 0:
        return ""
    places = np.random.default_rng(0).choice(len(inspected.pictures), count, replace=False).tolist()
    bar = tqdm(sorted(places), desc=f"drawing {inspected.name}", unit="picture")
    cells = [_cell(inspected, place, [], []) for place in bar]
    return (
        f"<section><h2>Pictures of {text(inspected.name)}</h2><p>{count} at random, with their masks: do these lie on "
        f'the objects?</p><div class="sheet">{"".join(cells)}</div></section>'
    )


def _cell(inspected: InspectedSet, place: int, marks: list[Box], notes: list[str]) -> str:
    """Return one picture of a contact sheet with what there is to say about it; nothing if it cannot be read."""
    data = draw_thumbnail(inspected, place, marks)
    if data is None:
        return ""
    name, objects = inspected.pictures[place].file_name, inspected.objects[place]
    crowds = sum(item.iscrowd for item in objects)
    count = counted(len(objects) - crowds, "object")
    if crowds:
        count += f", {counted(crowds, 'crowd region')} not drawn"
    lines = [text(note) for note in notes[:SHOWN_EXAMPLES]]
    if len(notes) > SHOWN_EXAMPLES:
        lines.append(f"and {len(notes) - SHOWN_EXAMPLES:,} more")
    items = "".join(f"<li>{line}</li>" for line in lines)
    return (
        f'<figure class="picture">{picture(data, name)}'
        f"<figcaption><b>{text(name)}</b><br>{text(inspected.name)}, {count}<ul>{items}</ul></figcaption></figure>"
    )
