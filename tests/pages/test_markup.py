import base64
import hashlib
import re

import pytest

from yolact.pages.markup import block, code, document, picture, table, text

EVIL = "<script>alert('\"&')</script>"


def test_a_page_runs_its_own_script_only(parse_page) -> None:
    script = "document.title = 'a < b';"
    page = document("A <title>", ["<p>body</p>"], "p { color: red; }", script)
    checker = parse_page(page)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in page
    assert checker.tags.count("script") == 1
    assert script in checker.texts
    assert "A <title>" in checker.texts
    assert "p { color: red; }" in page


def test_a_page_without_a_script_allows_none(parse_page) -> None:
    page = document("title", ["<p>body</p>"])
    assert "script" not in page
    assert "default-src 'none'" in page
    assert not re.search(r"https?:|url\(|@import", page)
    parse_page(page)


@pytest.mark.parametrize("value", [EVIL, "\ud800", "a\nb", "\x00"])
def test_any_text_becomes_harmless(value, parse_page) -> None:
    parts = [text(value), code(value), block(value), picture(b"\xff\xd8", value)]
    page = document(value, parts)
    assert "script" not in parse_page(page).tags
    page.encode()
    assert value != EVIL or sum(EVIL in shown for shown in parse_page(page).texts) == 4


def test_long_names_are_cut_and_blocks_are_not(parse_page) -> None:
    assert len(text("x" * 5000)) < 400
    long = "\n".join(("first <line>", "x" * 5000))
    assert "".join(parse_page(block(long)).texts) == long


def test_cells_of_a_table_are_html_and_its_heads_text(parse_page) -> None:
    checker = parse_page(table(["a<b"], [["<b>1</b>"], [text("<i>")]]))
    assert checker.texts == ["a<b", "1", "<i>"]
    assert checker.tags.count("b") == 1


def test_a_picture_stands_in_the_page_itself(parse_page) -> None:
    assert parse_page(picture(b"\xff\xd8bytes", "name")).sources == [
        "data:image/jpeg;base64," + base64.b64encode(b"\xff\xd8bytes").decode()
    ]
