"""Line charts as SVG text for the pages; all their texts are escaped."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 560, 330  # of the drawing in its own units; the page scales it
LEFT, RIGHT, TOP, BOTTOM = 46, 26, 30, 42
LETTER = 6.4  # mean width of a letter of the legend

Range = tuple[float, float]


class Line(NamedTuple):
    """One curve."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str


def line_chart(lines: Sequence[Line], x_axis: str, y_axis: str, x_range: Range, y_range: Range, name: str = "") -> str:
    """Draw curves over common axes.

    Each curve is a `polyline` in the units of the data, so that a script can give it other points.

    Args:
        lines: later ones on top.
        x_axis, y_axis: what the numbers are.
        x_range, y_range: lowest and highest value shown; points outside may leave the chart.
        name: by which a script finds the chart.
    """
    (low, high), (bottom, top) = _wide(x_range), _wide(y_range)
    across, up = (WIDTH - LEFT - RIGHT) / (high - low), (HEIGHT - TOP - BOTTOM) / (top - bottom)
    base = HEIGHT - BOTTOM
    parts = []
    for value in ticks(bottom, top):
        y = base - (value - bottom) * up
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#e3e8ee"/>')
        parts.append(_text(LEFT - 6, y + 4, _number(value), "tick", "end"))
    for value in ticks(low, high):
        x = LEFT + (value - low) * across
        parts.append(f'<line x1="{x:.1f}" y1="{base}" x2="{x:.1f}" y2="{base + 4}" stroke="#888"/>')
        parts.append(_text(x, base + 16, _number(value), "tick"))
    parts.append(f'<line x1="{LEFT}" y1="{base}" x2="{WIDTH - RIGHT}" y2="{base}" stroke="#888"/>')
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_axis, "axis"))
    parts.append(f'<g transform="rotate(-90)">{_text(-(TOP + base) / 2, 12, y_axis, "axis")}</g>')
    matrix = f"{across:.8g} 0 0 {-up:.8g} {LEFT - low * across:.8g} {base + bottom * up:.8g}"
    curves = "".join(map(_curve, lines))
    parts.append(f'<g transform="matrix({matrix})">{curves}</g>')
    parts += _legend(lines)
    found = f' data-chart="{escape(name)}"' if name else ""
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(y_axis)}"{found}>{"".join(parts)}</svg>'


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers from `low` to `high`, at most `most` intervals: multiples of 1, 2 or 5 times a power of 10.

    A range without width has the one number.
    """
    if not high > low:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (power * factor) <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def points_text(points: Sequence[tuple[float, float]]) -> str:
    """Return points as a polyline wants them."""
    return " ".join(f"{x:.6g},{y:.5g}" for x, y in points)


def _wide(values: Range) -> Range:
    low, high = values
    return (low, high) if high > low else (low, low + 1)


def _curve(line: Line) -> str:
    # A single point, given twice, becomes a dot.
    points, width = (line.points, 2) if len(line.points) > 1 else ([*line.points] * 2, 8)
    return (
        f'<polyline points="{points_text(points)}" fill="none" stroke="{line.colour}" stroke-width="{width}" '
        f'stroke-linecap="round" vector-effect="non-scaling-stroke"/>'
    )


def _legend(lines: Sequence[Line]) -> list[str]:
    parts, x = [], float(LEFT)
    for line in lines:
        parts.append(f'<line x1="{x:.1f}" y1="12" x2="{x + 20:.1f}" y2="12" stroke="{line.colour}" stroke-width="2"/>')
        parts.append(_text(x + 25, 16, line.name, "legend", "start"))
        x += 42 + LETTER * len(line.name)
    return parts


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def _text(x: float, y: float, value: str, kind: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(value)}</text>'
