import re

import numpy as np
import pytest

from yolact.pages.grid import count_grid
from yolact.pages.style import BLUE, ORANGE

WORDS = "{row} / {column}: {count}, {share}"


def test_cells_say_what_they_count_and_are_the_darker_the_larger_their_share(parse_page) -> None:
    chart = count_grid(np.array([[3, 1], [0, 2000]]), ["a", "b"], ["c", "d"], WORDS)
    cells = re.findall(rf'fill="({BLUE}|{ORANGE})" fill-opacity="([\d.]+)"><title>([^<]*)</title>', chart)
    assert cells == [
        (BLUE, "0.77", "a / c: 3, 75.0 %"),
        (ORANGE, "0.31", "a / d: 1, 25.0 %"),
        (BLUE, "1.00", "b / d: 2,000, 100.0 %"),
    ]
    assert {"a", "b", "c", "d", "3", "1", "2000"} <= set(parse_page(chart).texts)


def test_names_are_escaped_and_cut(parse_page) -> None:
    chart = count_grid(np.array([[1]]), ["<b>&{column}"], ["x" * 50], WORDS)
    texts = parse_page(chart).texts
    assert "<b>&{column}" in texts
    assert "x" * 19 + "\N{HORIZONTAL ELLIPSIS}" in texts


@pytest.mark.parametrize("size", [1, 30, 101])
def test_everything_lies_within_the_drawing(size, parse_page) -> None:
    names = [f"class {number}" for number in range(size)]
    chart = count_grid(np.eye(size, dtype=int) * 12345, names, names, WORDS)
    width, height = map(float, re.search(r'viewBox="0 0 (\d+) (\d+)"', chart).groups())
    assert width < 1250
    for x, y, w, h in re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', chart):
        assert float(x) + float(w) <= width
        assert float(y) + float(h) <= height
    # Numbers are written where there is room for them.
    assert parse_page(chart).texts.count("12345") == (size if size <= 30 else 0)
