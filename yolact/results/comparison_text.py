"""The comparison of several evaluations for a terminal."""

from collections.abc import Sequence
from itertools import chain

from yolact.results.comparison import Cell, Section, compare, data_verdict
from yolact.results.reading import Run
from yolact.text import printable

MOST_ROWS = 30  # of a table of classes
LONGEST = 44  # letters of a value


def comparison_text(runs: Sequence[Run]) -> str:
    """Return the tables as lines."""
    lines = [f"{run.letter}  {printable(str(run.path))}  (figures: {run.source})" for run in runs]
    lines += ["", printable(data_verdict(runs)[1])]
    for section in chain.from_iterable(compare(runs)):
        lines += ["", *_section(section)]
    return "\n".join(lines)


def _section(section: Section) -> list[str]:
    lines = [section.title, *(f"  {printable(note)}" for note in section.notes)]
    if not section.rows:
        return lines
    rows = [[Cell(head) for head in section.heads], *section.rows[:MOST_ROWS]]
    texts = [[_cut(printable(cell.text)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        cells = [
            text.ljust(width) if place == 0 or not section.numbers else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(("  " + "   ".join(cells)).rstrip())
    omitted = len(section.rows) - MOST_ROWS
    return [*lines, f"  and {omitted:,} more: see the page that --output writes"] if omitted > 0 else lines


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"
