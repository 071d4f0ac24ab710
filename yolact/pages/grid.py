"""A table of counts as a grid of coloured cells, as SVG text for the pages; all its texts are escaped."""

from collections.abc import Iterator, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from yolact.pages.style import BLUE, ORANGE

LARGEST_CELL, SMALLEST_CELL = 46.0, 9.5
WIDTH = 900.0  # of all cells together, where the limits allow it
LETTER = 0.58  # mean width of a letter, in font sizes
LONGEST = 20  # letters of a name
NUMBERS_FROM = 24.0  # a smaller cell has no room for its number


def count_grid(counts: NDArray[np.int64], rows: Sequence[str], columns: Sequence[str], words: str) -> str:
    """Draw counts [R, C], each cell the darker the larger its share of its row; the diagonal has its own colour.

    Args:
        counts: not negative.
        rows, columns: their names.
        words: what a cell says when pointed at, with {row}, {column}, {count} and {share}.
    """
    cell = min(LARGEST_CELL, max(SMALLEST_CELL, WIDTH / len(columns)))
    size = min(12.0, max(7.5, 0.85 * cell))
    left, longest = 10 + _width(rows, size), _width(columns, size)
    flat = longest <= cell
    top = 1.6 * size if flat else 10 + longest
    width, height = len(columns) * cell, len(rows) * cell
    stripes = (
        f'<rect x="{left:.1f}" y="{top + row * cell:.1f}" width="{width:.1f}" height="{cell:.1f}" fill="#f5f7fa"/>'
        for row in range(0, len(rows), 2)
    )
    parts = [
        *stripes,
        *_row_names(rows, left, top, cell, size),
        *_column_names(columns, left, top, cell, size, flat),
        *_cells(counts, rows, columns, left, top, cell, size, words),
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" fill="none" stroke="#cbd3dc"/>',
    ]
    full = (left + width + 2, top + height + 2)
    return (
        f'<svg class="grid" viewBox="0 0 {full[0]:.0f} {full[1]:.0f}" style="max-width:{full[0]:.0f}px" role="img">'
        f"{''.join(parts)}</svg>"
    )


def _row_names(names: Sequence[str], left: float, top: float, cell: float, size: float) -> list[str]:
    return [_text(left - 5, top + (i + 0.5) * cell + 0.35 * size, name, size, "end") for i, name in enumerate(names)]


def _column_names(names: Sequence[str], left: float, top: float, cell: float, size: float, flat: bool) -> Iterator[str]:
    for place, name in enumerate(names):
        x = left + (place + 0.5) * cell
        if flat:
            yield _text(x, top - 5, name, size, "middle")
        else:
            turned = _text(0, 0.35 * size, name, size, "start")
            yield f'<g transform="translate({x:.1f} {top - 5:.1f}) rotate(-90)">{turned}</g>'


def _cells(
    counts: NDArray[np.int64],
    rows: Sequence[str],
    columns: Sequence[str],
    left: float,
    top: float,
    cell: float,
    size: float,
    words: str,
) -> Iterator[str]:
    """Yield the cells that are not empty, with their numbers where these fit."""
    totals = counts.sum(1)
    for row, column in np.argwhere(counts).tolist():
        count, share = int(counts[row, column]), float(counts[row, column] / totals[row])
        said = words.format(row=rows[row], column=columns[column], count=f"{count:,}", share=f"{100 * share:.1f} %")
        x, y = left + column * cell, top + row * cell
        yield (
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{cell:.1f}" height="{cell:.1f}" '
            f'fill="{BLUE if row == column else ORANGE}" fill-opacity="{0.08 + 0.92 * share:.2f}">'
            f"<title>{escape(said)}</title></rect>"
        )
        if cell >= NUMBERS_FROM:
            fits = min(size, cell / (LETTER * len(str(count)) + 0.6))
            ink = "#fff" if share > 0.55 else "#1c2530"
            yield _text(x + cell / 2, y + cell / 2 + 0.35 * fits, str(count), fits, "middle", ink)


def _width(names: Sequence[str], size: float) -> float:
    """Return about how wide the longest name is."""
    return size * LETTER * max(len(_cut(name)) for name in names)


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _text(x: float, y: float, value: str, size: float, anchor: str, ink: str = "#1c2530") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="font-size:{size:.1f}px;fill:{ink}">'
        f"{escape(_cut(value))}</text>"
    )
