"""Bar charts as SVG text for the page; all their texts are escaped."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 560, 230  # of the drawing in its own units; the page scales it
LEFT, RIGHT, TOP, BOTTOM = 8, 8, 34, 40
FILL = 0.78  # share of a bar's place that the bars take


class Series(NamedTuple):
    """One set of bars."""

    name: str
    values: Sequence[float]
    colour: str
    labels: Sequence[str]  # written above the bars


def bar_chart(names: Sequence[str], series: Sequence[Series], axis: str, most: float | None = None) -> str:
    """Draw bars side by side for each name.

    Args:
        names: below the bars.
        series: one or more, of one length.
        axis: what the names are.
        most: the value of a bar of full height; default: the largest value.
    """
    top = most or max((value for one in series for value in one.values), default=0) or 1
    place = (WIDTH - LEFT - RIGHT) / max(len(names), 1)
    width, full, base = place * FILL / len(series), HEIGHT - TOP - BOTTOM, HEIGHT - BOTTOM
    parts = []
    for number, one in enumerate(series):
        for position, (value, label) in enumerate(zip(one.values, one.labels, strict=True)):
            x = LEFT + place * (position + (1 - FILL) / 2) + number * width
            height = full * value / top
            parts.append(
                f'<rect x="{x:.1f}" y="{base - height:.1f}" width="{width - 1:.1f}" height="{height:.1f}" '
                f'fill="{one.colour}"/>'
            )
            parts.append(_text(x + width / 2, base - height - 4, label, "value"))
    for position, name in enumerate(names):
        parts.append(_text(LEFT + place * (position + 0.5), base + 14, name, "tick"))
    parts.append(f'<line x1="{LEFT}" y1="{base}" x2="{WIDTH - RIGHT}" y2="{base}" stroke="#888"/>')
    parts.append(_text(WIDTH / 2, HEIGHT - 6, axis, "axis"))
    parts += _legend(series) if len(series) > 1 else []
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(axis)}">{"".join(parts)}</svg>'


def _legend(series: Sequence[Series]) -> list[str]:
    parts, x = [], float(LEFT)
    for one in series:
        parts.append(f'<rect x="{x}" y="6" width="11" height="11" fill="{one.colour}"/>')
        parts.append(f'<text x="{x + 16}" y="16" class="legend">{escape(one.name)}</text>')
        x += 34 + 6.6 * len(one.name)
    return parts


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" class="{kind}">{escape(text)}</text>'
