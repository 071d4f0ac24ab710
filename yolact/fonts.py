"""Fonts for text of any script: the one that matplotlib brings, and those of the computer for letters that it lacks."""

import logging
import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import chain
from pathlib import Path

import matplotlib
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from PIL import ImageFont, features

from yolact.text import printable

logger = logging.getLogger(__name__)

USUAL = f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf"
# Fonts whose letters are all boxes, so that nothing seems to be missing.
BOXES = re.compile(r"last ?resort|fallback|blank", re.IGNORECASE)
PLAIN = re.compile(r"(?!.*(bold|italic|oblique|black|thin|light|condensed|mono|serif)).*", re.IGNORECASE)  # names


@lru_cache(maxsize=256)
def font(size: int, path: str = USUAL) -> ImageFont.FreeTypeFont:
    """Return a font at a size in pixels, by default the sans-serif one of matplotlib."""
    return ImageFont.truetype(path, size)


def is_drawable(text: str) -> bool:
    """Tell whether there are fonts for all letters, and for scripts whose letters depend on one another the layout.

    What is missing is logged, once for all texts.
    """
    if not all(map(_font_of, map(frozenset, "".join(text.split())))):
        _warn(text, "its letters are in no font of this computer", "install one, such as fonts-noto-core or -cjk")
        return False
    if any(map(_needs_layout, unicodedata.normalize("NFC", text))) and not features.check("raqm"):
        _warn(text, "Pillow lays out such letters by raqm only, which is missing", "install libfribidi0 or fribidi")
        return False
    return True


def runs(text: str) -> list[tuple[str, str]]:
    """Part a line where its font changes, between words where possible: (text, file of a font), ..."""
    parts: list[tuple[str, str]] = []
    for word in chain.from_iterable(map(_pieces, re.findall(r"\s*\S+\s*|\s+", text))):
        path = _font_of(frozenset(word.strip())) or USUAL
        if parts and parts[-1][1] == path:
            parts[-1] = parts[-1][0] + word, path
        else:
            parts.append((word, path))
    return parts


def _pieces(word: str) -> Iterator[str]:
    """Yield a word, or if no font has all of it parts that are as long as one has."""
    start = 0
    for end in range(1, len(word)):
        if not _font_of(frozenset(word[start : end + 1].strip())):
            yield word[start:end]
            start = end
    yield word[start:]


def families(text: str) -> list[str]:
    """Return the names by which matplotlib draws a text with the fonts of `runs`."""
    paths = [path for _, path in runs(text) if path != USUAL]
    for path in paths:
        font_manager.fontManager.addfont(path)
    return [FT2Font(path).family_name for path in dict.fromkeys([USUAL, *paths])]


def text_width(text: str, size: int) -> float:
    """Return the width of a line in pixels."""
    return sum(font(size, path).getlength(part) for part, path in runs(text))


def _needs_layout(letter: str) -> bool:
    """Tell whether a letter is written from right to left, or goes above, below or before another one."""
    return unicodedata.bidirectional(letter) in ("R", "AL") or unicodedata.category(letter) in ("Mn", "Mc")


@cache
def _warn_once(sentence: str) -> None:
    logger.warning("%s", sentence)


def _warn(text: str, why: str, remedy: str) -> None:
    # The first text stands for all.
    if not _warn_once.cache_info().currsize:
        _warn_once(f"'{printable(text)}' cannot be drawn ({why}), so that images show numbers of classes; {remedy}.")


@lru_cache(maxsize=4096)
def _font_of(letters: frozenset[str]) -> str | None:
    """Return the file of a font that has all letters, the usual one if it does."""
    codes = {ord(letter) for letter in letters}
    if codes <= FT2Font(USUAL).get_charmap().keys():
        return USUAL
    pages = {code >> 8 for code in codes}
    for path, its_pages in _system_fonts():
        if pages <= its_pages and codes <= FT2Font(path).get_charmap().keys():
            return path
    return None


@cache
def _system_fonts() -> list[tuple[str, frozenset[int]]]:
    """Return the computer's fonts, plain ones first, each with the 256-letter pages of Unicode of which it has some."""
    found = []
    paths = [path for path in font_manager.findSystemFonts() if not BOXES.search(Path(path).stem)]
    for path in sorted(paths, key=lambda path: (not PLAIN.match(Path(path).stem), path)):
        try:
            face = FT2Font(path)
            if face.scalable:  # others have one size only
                found.append((path, frozenset(code >> 8 for code in face.get_charmap())))
        except (OSError, RuntimeError):  # a file that is broken, or of a kind that FreeType does not know
            continue
    return found
