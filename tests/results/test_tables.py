import re

from yolact.results.tables import number_table, sortable_table


def test_numbers_stand_right_and_words_left(parse_page) -> None:
    page = number_table(["", "masks", "what"], [["AP", "0.5", "a &lt; b"]])
    assert parse_page(page).texts == ["masks", "what", "AP", "0.5", "a < b"]
    assert page.count('<td class="number">') == page.count('<th class="number">') == 1


def test_a_sortable_table_holds_the_numbers_behind_the_text(parse_page) -> None:
    page = sortable_table(["class", "objects", "AP"], [("a&amp;b", [1200, 0.123456]), ("c", [0, None])])
    parse_page(page)
    assert re.findall(r'data-value="([^"]*)">([^<]*)<', page) == [
        ("1200", "1,200"),
        ("0.123456", "0.123"),
        ("0", "0"),
        ("", "-"),
    ]
    assert page.count("<button") == 3
