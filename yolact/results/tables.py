"""Tables of numbers for the pages of evaluations."""

from collections.abc import Iterable, Sequence
from html import escape


def number_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose first and last column are words and whose others are numbers; the cells are HTML already."""
    last = len(heads) - 1
    kinds = ["" if column in (0, last) else ' class="number"' for column in range(len(heads))]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(kinds, heads, strict=True))
    lines = (
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(lines)}</table></div>'


def sortable_table(heads: Sequence[str], rows: Iterable[tuple[str, Sequence[float | None]]]) -> str:
    """Return a table that sorts by the column whose head is clicked.

    Args:
        heads: the first is that of the names.
        rows: a name, which is HTML already, and its numbers; whole ones are written as such.
    """
    names = "".join(
        f'<th{" class=number" if column else ""} scope="col"><button type="button">{escape(name)}</button></th>'
        for column, name in enumerate(heads)
    )
    lines = (f"<tr><td>{name}</td>{''.join(_number(value) for value in values)}</tr>" for name, values in rows)
    return (
        f'<div class="scroll tall"><table class="sortable"><thead><tr>{names}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _number(value: float | None) -> str:
    if value is None:
        return '<td class="number" data-value="">-</td>'
    shown = f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
    return f'<td class="number" data-value="{value:.9g}">{shown}</td>'
