"""Text in scripts that the usual font has, that another one has, and that none has."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import features

from tests.made import make_instances
from yolact import fonts
from yolact.draw import draw_instances

OTHER = str(Path(fonts.USUAL).with_name("STIXGeneral.ttf"))
CIRCLED = "\u20dd\u20e4"  # in the other font, not in the usual one
CHINESE = "\u7ec6\u80de"


@pytest.fixture(autouse=True)
def _one_other_font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the computer have one font, and files that are none or have boxes for all letters."""
    (tmp_path / "broken.ttf").write_text("no font")
    boxes = str(tmp_path / "LastResort.ttf")
    Path(boxes).write_bytes(Path(fonts.USUAL).read_bytes())
    paths = [str(tmp_path / "broken.ttf"), boxes, OTHER]
    monkeypatch.setattr(fonts.font_manager, "findSystemFonts", lambda: paths)
    made = (fonts._system_fonts, fonts._font_of, fonts._warn_once)
    for function in made:
        function.cache_clear()
    yield
    for function in made:
        function.cache_clear()


def drawn(*class_names: str) -> np.ndarray:
    masks = np.zeros((1, 60, 200), bool)
    masks[0, 30:50, 10:190] = True
    return draw_instances(np.zeros((60, 200, 3), np.uint8), make_instances(masks, (*class_names, "other")))


def test_each_word_has_a_font_that_has_its_letters() -> None:
    assert fonts.runs(f"caf\u00e9 1 {CIRCLED}  0.93") == [
        ("caf\u00e9 1 ", fonts.USUAL), (f"{CIRCLED}  ", OTHER), ("0.93", fonts.USUAL)
    ]  # fmt: skip
    assert fonts.runs(f"{CIRCLED}/cell{CIRCLED}") == [(f"{CIRCLED}/cell{CIRCLED}", OTHER)]
    both = "\u0531" + CIRCLED  # an Armenian letter, which the other font lacks
    assert fonts.runs(both) == [("\u0531", fonts.USUAL), (CIRCLED, OTHER)]
    assert fonts.is_drawable(both) == features.check("raqm")  # they go around other letters
    assert fonts.runs("") == []
    assert fonts.runs(CHINESE) == [(CHINESE, fonts.USUAL)]  # boxes
    assert {path for path, _ in fonts._system_fonts()} == {OTHER}
    width = fonts.font(20).getlength("a ") + fonts.font(20, OTHER).getlength(CIRCLED)
    assert fonts.text_width(f"a {CIRCLED}", 20) == width > 0


def test_matplotlib_draws_a_text_with_the_same_fonts(recwarn: pytest.WarningsRecorder) -> None:
    assert fonts.families("cell") == ["DejaVu Sans"]
    text = f"cell {CIRCLED}"
    assert fonts.families(text) == ["DejaVu Sans", "STIXGeneral"]
    Figure().text(0, 0, text, fontfamily=fonts.families(text)).figure.savefig(io.BytesIO(), format="png")
    assert not recwarn.list  # of glyphs that are missing


def test_a_class_whose_name_has_no_font_shows_its_number_and_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert (drawn(CHINESE) == drawn("class 0")).all()
        drawn("\u0e40\u0e0b")
    assert [record.message for record in caplog.records] == [
        f"'{CHINESE}' cannot be drawn (its letters are in no font of this computer), so that images show numbers of "
        "classes; install one, such as fonts-noto-core or -cjk."
    ]


def test_arabic_needs_its_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    arabic = "\u062e\u0644\u064a\u0629"
    if features.check("raqm"):
        assert fonts.is_drawable(arabic)
        alone = sum(fonts.font(40).getlength(letter) for letter in arabic)
        assert fonts.text_width(arabic, 40) < alone  # joined
    monkeypatch.setattr(features, "check", lambda name: False)
    logged: list[str] = []
    monkeypatch.setattr(fonts.logger, "warning", lambda form, *values: logged.append(form % values))
    assert (drawn(arabic) == drawn("class 0")).all()
    assert "raqm" in logged[0]
    assert fonts.is_drawable("e\u0301 caf\u00e9")  # which has letters of its own for them
