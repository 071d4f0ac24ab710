"""Collecting faults: all of them are counted, and the first ones kept as examples."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from yolact.inspection.kinds import KINDS, SKIPPABLE, Kind, Level
from yolact.text import printable

MAX_EXAMPLES = 1000  # of a kind in check.json, enough to mend a set by program; the page shows a few of them


class Example(NamedTuple):
    """One place where a fault is."""

    note: str = ""
    picture: str | None = None  # its file name
    place: int | None = None  # of the picture in its `InspectedSet`
    annotation: int | None = None  # its id
    box: tuple[float, float, float, float] | None = None  # xyxy in pixels of the picture, where it can be drawn


@dataclass
class Finding:
    """One kind of fault in one set."""

    kind: Kind
    level: Level
    set_name: str
    count: int = 0
    examples: list[Example] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        examples = [
            {"picture": example.picture, "annotation": example.annotation, "note": example.note}
            for example in self.examples
        ]
        return {
            "kind": self.kind.name,
            "level": self.level,
            "set": self.set_name,
            "count": self.count,
            "title": self.kind.title,
            "advice": self.kind.advice,
            "examples": examples,
        }


class Findings:
    """The faults of one set."""

    def __init__(self, set_name: str, skips_unreadable: bool = False) -> None:
        """Begin without any.

        Args:
            set_name: such as "train".
            skips_unreadable: data.unreadable=skip holds for the set, so that faults of its files are warnings.
        """
        self.set_name, self.skips_unreadable = set_name, skips_unreadable
        self.by_kind: dict[str, Finding] = {}

    def add(self, kind: str, example: Example) -> None:
        """Count one fault of `kind`, a name in `KINDS`."""
        if kind not in self.by_kind:
            level = "warning" if self.skips_unreadable and kind in SKIPPABLE else KINDS[kind].level
            self.by_kind[kind] = Finding(KINDS[kind], level, self.set_name)
        finding = self.by_kind[kind]
        finding.count += 1
        if len(finding.examples) < MAX_EXAMPLES:
            picture = None if example.picture is None else printable(example.picture)
            finding.examples.append(example._replace(note=printable(example.note), picture=picture))


def ordered(groups: Iterable[Findings]) -> list[Finding]:
    """Return the findings of several sets: errors first, then as `KINDS` has them."""
    names = list(KINDS)
    found = [finding for group in groups for finding in group.by_kind.values()]
    return sorted(found, key=lambda finding: (finding.level != "error", names.index(finding.kind.name)))
