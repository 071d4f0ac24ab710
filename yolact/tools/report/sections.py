"""Tables with what must be known to read them, for a page and for a terminal, and what the metrics in them mean."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup

from yolact.text import printable

LONGEST = 52  # letters of a cell on a terminal
KINDS = {"segm": "masks", "bbox": "boxes"}
METRICS = {
    "AP": "mean over IoU 0.50, 0.55, ... 0.95",
    "AP50": "IoU 0.50",
    "AP75": "IoU 0.75",
    "APs": "small objects, below 32 x 32 pixels",
    "APm": "medium objects",
    "APl": "large objects, from 96 x 96 pixels",
    "AR1": "recall with 1 detection of an image",
    "AR10": "recall with 10 detections",
    "AR100": "recall with 100 detections",
    "ARs": "recall of small objects",
    "ARm": "recall of medium objects",
    "ARl": "recall of large objects",
}
ERRORS = {
    "class": "IoU 0.5 or more with an object of another class",
    "localisation": "IoU 0.1 to 0.5 with an object of the right class",
    "both": "IoU 0.1 to 0.5 with an object of another class",
    "duplicate": "on an object that a better detection has found",
    "background": "IoU below 0.1 with every object",
    "missed": "objects that no corrected detection would find",
}


class Cell(NamedTuple):
    """One cell of a table; `trend` is 1 where it says that something is better, -1 where worse."""

    text: str
    trend: int = 0


@dataclass(frozen=True)
class Section:
    """A table, charts, or both."""

    title: str
    heads: Sequence[str] = ()  # of the columns
    rows: Sequence[Sequence[Cell]] = ()
    notes: Sequence[str] = ()  # sentences above
    words: Sequence[int] = (0,)  # the columns that hold words; the others hold numbers
    charts: Sequence[Markup] = ()  # SVG elements, which a terminal does not show


def cells(*texts: str) -> list[Cell]:
    """Return the cells of a row without trends."""
    return [Cell(text) for text in texts]


def decimals(value: float | None, digits: int = 3) -> str:
    """Return a number, "-" where it is not defined."""
    return "-" if value is None else f"{value:.{digits}f}"


def text_of(sections: Iterable[Section], most_rows: int, page: str) -> str:
    """Return the sections as lines, of each table at most `most_rows`; `page` names where all of it stands."""
    texts = []
    for section in sections:
        rows = [cells(*section.heads), *section.rows[:most_rows]] if section.rows else []
        columns = []
        for number, column in enumerate(zip(*rows, strict=True)):
            shown = [printable(cell.text, LONGEST) for cell in column]
            width, side = max(map(len, shown)), "<" if number in section.words else ">"
            columns.append([f"{text:{side}{width}}" for text in shown])
        lines = [section.title, *(f"  {printable(note)}" for note in section.notes)]
        lines += [f"  {'   '.join(row)}".rstrip() for row in zip(*columns, strict=True)]
        if len(section.rows) > most_rows:
            lines.append(f"  and {len(section.rows) - most_rows:,} more: see {page}")
        texts.append("\n".join(lines))
    return "\n\n".join(texts)
