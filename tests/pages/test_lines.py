import re

import pytest

from yolact.pages.lines import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Line, line_chart, points_text, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 2000, [0, 500, 1000, 1500, 2000]),
        (0.31, 0.42, [0.32, 0.34, 0.36, 0.38, 0.4, 0.42]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
        (3, 3, [3]),
    ],
)
def test_ticks_are_round_numbers_within_the_range(low, high, expected) -> None:
    assert ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize("high", [1e-9, 0.07, 1, 37, 123456, 8e12])
def test_there_are_a_few_ticks_whatever_the_range_is(high) -> None:
    assert 3 <= len(ticks(0, high)) <= 7


def drawn(chart, point):
    """Return where a point of the data lies in the drawing."""
    a, b, c, d, e, f = map(float, re.search(r"matrix\(([^)]*)\)", chart)[1].split())
    return a * point[0] + c * point[1] + e, b * point[0] + d * point[1] + f


def test_points_lie_where_the_axes_say(parse_page) -> None:
    chart = line_chart([Line("one", [(10, 0.1), (30, 0.5)], "#123")], "step", "AP", (10, 30), (0.1, 0.5))
    assert drawn(chart, (10, 0.1)) == pytest.approx((LEFT, HEIGHT - BOTTOM), abs=0.01)
    assert drawn(chart, (30, 0.5)) == pytest.approx((WIDTH - RIGHT, TOP), abs=0.01)
    assert 'points="10,0.1 30,0.5"' in chart
    # The tick of 20 stands below the middle.
    x = re.search(r'<text x="([\d.]+)"[^>]*>20<', chart)[1]
    assert float(x) == pytest.approx((LEFT + WIDTH - RIGHT) / 2, abs=0.06)
    parse_page(chart)


def test_each_curve_has_its_colour_and_stands_in_the_legend(parse_page) -> None:
    chart = line_chart(
        [Line("a<b", [(0, 0), (1, 1)], "#aaa"), Line("c", [(0, 1), (1, 0)], "#bbb")], "x&y", "z", (0, 1), (0, 1), "n<1"
    )
    for colour in ("#aaa", "#bbb"):
        assert chart.count(f'stroke="{colour}"') == 2
    assert {"a<b", "c", "x&y", "z"} <= set(parse_page(chart).texts)
    assert 'data-chart="n&lt;1"' in chart


def test_a_single_point_is_a_dot() -> None:
    chart = line_chart([Line("one", [(5, 0.3)], "#aaa")], "x", "y", (5, 5), (0, 1))
    assert 'points="5,0.3 5,0.3"' in chart
    assert "nan" not in chart
    assert "inf" not in chart


def test_no_points_are_no_curve(parse_page) -> None:
    parse_page(line_chart([Line("one", [], "#aaa")], "x", "y", (0, 1), (0, 1)))
    assert points_text([]) == ""
