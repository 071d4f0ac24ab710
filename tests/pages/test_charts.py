import re

import pytest

from yolact.pages.charts import Series, bar_chart


def test_bars_are_as_high_as_their_values(parse_page) -> None:
    chart = bar_chart(["<a>", "b"], [Series("now", [1, 4], "#000", ["1", "4"])], "things & more")
    heights = [float(height) for height in re.findall(r'<rect[^>]* height="([\d.]+)"', chart)]
    assert heights[1] == pytest.approx(4 * heights[0])
    assert "&lt;a&gt;" in chart
    assert "things &amp; more" in chart
    parse_page(chart)


def test_a_chart_of_nothing(parse_page) -> None:
    parse_page(bar_chart([], [Series("now", [], "#000", [])], "nothing"))
    assert "nan" not in bar_chart(["a"], [Series("now", [0], "#000", ["0"])], "zero")
