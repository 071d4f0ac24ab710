"""Tables with what must be known to read them, for a page and for a terminal."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup

from yolact.text import printable

LONGEST = 52  # letters of a cell on a terminal


class Cell(NamedTuple):
    """One cell of a table; `trend` is 1 where it says that something is better, -1 where worse."""

    text: str
    trend: int = 0


@dataclass(frozen=True)
class Section:
    """A table, or charts, or both.

    Attributes:
        notes: sentences above.
        heads: of the columns.
        words: the columns that hold words; the others hold numbers.
        charts: as SVG; not on a terminal.
    """

    title: str
    heads: Sequence[str] = ()
    rows: Sequence[Sequence[Cell]] = ()
    notes: Sequence[str] = ()
    words: Sequence[int] = (0,)
    charts: Sequence[Markup] = ()


def cells(*texts: str) -> list[Cell]:
    """Return the cells of a row without trends."""
    return [Cell(text) for text in texts]


def text_of(sections: Iterable[Section], most_rows: int, page: str) -> str:
    """Return the sections as lines, of each table at most `most_rows`; `page` names where all of it stands."""
    return "\n\n".join("\n".join(_lines(section, most_rows, page)) for section in sections)


def _lines(section: Section, most_rows: int, page: str) -> list[str]:
    lines = [section.title, *(f"  {printable(note)}" for note in section.notes)]
    if not section.rows:
        return lines
    rows = [cells(*section.heads), *section.rows[:most_rows]]
    texts = [[printable(cell.text, LONGEST) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        columns = enumerate(zip(row, widths, strict=True))
        shown = [text.ljust(width) if i in section.words else text.rjust(width) for i, (text, width) in columns]
        lines.append(("  " + "   ".join(shown)).rstrip())
    omitted = len(section.rows) - most_rows
    return [*lines, f"  and {omitted:,} more: see {page}"] if omitted > 0 else lines
