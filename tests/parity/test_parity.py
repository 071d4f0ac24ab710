"""Every number of the authors' code, of all their configurations; `python tests/parity/compare.py` prints them."""

import compare
import pytest


@pytest.mark.parametrize("name", compare.STATE_DICTS)
def test_every_number_of_the_authors_is_met(name):
    checks = list(compare.compare(name))
    assert [check for check in checks if not check.passed] == []
    compared = {check.what.partition(":")[0] for check in checks}
    assert {"input", "anchors", "loc", "conf", "mask", "prototypes", "fast", "cross_class", "loss"} <= compared
    assert sum(check.what.startswith("gradient: ") for check in checks) > 10


def test_the_program_fails_where_a_number_is_missed(monkeypatch, capsys):
    checks = [compare.Check("first", 1e-5, 1e-4), compare.Check("second", 1e-3, 1e-4)]
    monkeypatch.setattr(compare, "compare", lambda name: checks[: len(name)])
    assert compare.main(["x"]) == 0
    assert "every number met" in capsys.readouterr().out
    assert compare.main(["xy"]) == 1
    assert "MISS second" in capsys.readouterr().out
