"""Collecting faults, and how foreign texts come out."""

import ast
from pathlib import Path

from yolact.inspection.findings import MAX_EXAMPLES, Example, Findings, ordered
from yolact.inspection.kinds import KINDS, SKIPPABLE

DATA = Path(__file__).resolve().parents[2] / "yolact/data"


def test_everything_is_counted_and_the_first_ones_kept() -> None:
    findings = Findings("train")
    for number in range(MAX_EXAMPLES + 5):
        findings.add("empty-mask", Example(annotation=number))
    finding = findings.by_kind["empty-mask"]
    assert finding.count == MAX_EXAMPLES + 5
    assert [example.annotation for example in finding.examples] == list(range(MAX_EXAMPLES))


def test_errors_come_first() -> None:
    train, val = Findings("train"), Findings("val", skips_unreadable=True)
    train.add("empty-mask", Example())
    train.add("invalid-rle", Example())
    val.add("missing-picture", Example())
    val.add("truncated-picture", Example())
    names = [(finding.level, finding.kind.name) for finding in ordered([train, val])]
    assert names == [
        ("error", "missing-picture"),
        ("error", "invalid-rle"),
        ("warning", "truncated-picture"),
        ("warning", "empty-mask"),
    ]


def test_every_fault_that_the_loader_names_is_a_kind() -> None:
    """The second argument of a DatasetError, or of a function that makes one, is a kind."""
    names = set()
    for file in ("annotations.py", "pictures.py"):
        for node in ast.walk(ast.parse((DATA / file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in KINDS:
                names.add(node.value)
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "DatasetError" and len(node.args) > 1:
                for text in ast.walk(node.args[1]):
                    assert not isinstance(text, ast.Constant) or text.value in KINDS, ast.unparse(node)
    assert len(names) >= 14
    assert names >= SKIPPABLE


def test_kinds_say_what_to_do() -> None:
    for kind in KINDS.values():
        assert kind.advice.endswith(".")
        assert kind.title[0].islower() or kind.title.startswith("RLE")
