import pytest

from yolact.text import counted, did_you_mean, percent, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zellkern \u00e4", "Zellkern \u00e4"),
        ("\x1b[31mred\n", "\ufffd[31mred\ufffd"),
        ("\ud800", "\ufffd"),
        ("\u202egnp.exe", "\ufffdgnp.exe"),
        ("n" * 400, "n" * 300 + "\u2026"),
    ],
)
def test_foreign_text_is_harmless(text, shown) -> None:
    assert printable(text) == shown
    shown.encode()


def test_numbers_and_their_words() -> None:
    assert counted(1, "class", "classes") == "1 class"
    assert counted(2000, "class", "classes") == "2,000 classes"
    assert counted(0, "object") == "0 objects"
    assert percent(0.1234) == "12.3 %"


def test_the_length_can_be_chosen() -> None:
    assert printable("abc", 2) == "ab\u2026"
    assert printable("x" * 500, 500) == "x" * 500


def test_an_unknown_name_gets_a_hint() -> None:
    assert did_you_mean("dors", ["doors", "name"], "car.") == "; did you mean 'car.doors'?"
    assert did_you_mean("x", ["doors", "name"]) == "; known are doors, name."
    assert did_you_mean("x", []) == "."
    assert did_you_mean("x", ["a\n"] * 43).endswith(", a\ufffd and 3 more.")
