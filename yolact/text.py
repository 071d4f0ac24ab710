"""How numbers and foreign texts are written for people."""

import difflib
from collections.abc import Iterable

MAX_TEXT = 300  # characters of a name or note
MOST_NAMES = 40  # that a sentence lists


def printable(text: str, most: int = MAX_TEXT) -> str:
    """Return foreign text that a terminal and a file can take: no control characters, and at most `most` others."""
    cleaned = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[:most])
    return cleaned + ("\N{HORIZONTAL ELLIPSIS}" if len(text) > most else "")


def counted(count: int, one: str, several: str | None = None) -> str:
    """Return "1 image" or "2,000 images"."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def size_text(size: tuple[int, int]) -> str:
    """Return "480 x 640" of (H, W)."""
    return f"{size[0]} x {size[1]}"


def percent(share: float) -> str:
    """Return a share as percent with one digit."""
    return f"{100 * share:.1f} %"


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return the end of a sentence about an unknown name: one of those `known` that is near, else a list of them."""
    known = list(known)
    near = difflib.get_close_matches(name, known, 1)
    if near:
        return f"; did you mean '{prefix}{printable(near[0])}'?"
    others = f" and {len(known) - MOST_NAMES:,} more" if len(known) > MOST_NAMES else ""
    return f"; known are {', '.join(map(printable, known[:MOST_NAMES]))}{others}." if known else "."
