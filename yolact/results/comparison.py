"""Several evaluations side by side, the first being what the others are measured against."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from yolact.evaluation.speed import conditions
from yolact.results.reading import Run
from yolact.results.wording import ERRORS_EXPLAINED, EXPLAINED, KINDS, figure
from yolact.text import counted


class Cell(NamedTuple):
    """One cell of a table; `trend` is 1 where it says that something is better, -1 where worse."""

    text: str
    trend: int = 0


@dataclass(frozen=True)
class Section:
    """A table with its title and what must be known to read it.

    Attributes:
        heads: of the columns; the first holds words.
        numbers: whether the others hold numbers, or words too.
    """

    title: str
    heads: list[str]
    rows: list[list[Cell]]
    notes: tuple[str, ...] = ()
    numbers: bool = True


def compare(runs: Sequence[Run]) -> list[list[Section]]:
    """Return the tables, those of masks and boxes together, without those that have nothing to say."""
    groups = [
        *([table(runs, kind) for kind in KINDS] for table in (_figures, _errors, _classes)),
        [_speed(runs)],
        [_config(runs)],
    ]
    told = ([section for section in group if section.rows or section.notes] for group in groups)
    return [group for group in told if group]


def data_verdict(runs: Sequence[Run]) -> tuple[bool | None, str]:
    """Say whether all were evaluated on the same pictures: True, False, or None where that cannot be known."""
    data = [_Data.of(run) for run in runs]
    each = "; ".join(f"{run.letter} on {one}" for run, one in zip(runs, data, strict=True))
    digests, files, pictures = (_known(values) for values in zip(*data, strict=True))
    certain = all(one.digest and one.pictures for one in data)
    if certain and len(digests) == len(pictures) == 1:
        return True, f"All were evaluated on the same data: {data[0]}."
    if len(digests) > 1 and len(files) == len(pictures) == 1:
        return False, f"Different data: the files are all named {data[0].file}, but differ. The figures do not compare."
    if certain or len(digests) > 1 or len(pictures) > 1 or len(files) > 1:
        return False, f"Different data: {each}. The figures do not compare."
    return None, f"Whether all were evaluated on the same pictures is not known: {each}."


def _known(values: Sequence[Any]) -> set[Any]:
    return {value for value in values if value is not None}


class _Data(NamedTuple):
    """What a run was evaluated on, as far as it is written down."""

    digest: str | None  # of the annotation file
    file: str | None  # its name
    pictures: int | None

    @classmethod
    def of(cls, run: Run) -> "_Data":
        metrics = run.metrics
        if "annotations" in metrics:
            return cls(metrics.get("annotations_sha256"), str(metrics["annotations"]), metrics.get("images"))
        configured = (run.config or {}).get("data.val_annotations")
        return cls(None, None if configured is None else Path(str(configured)).name, None)

    def __str__(self) -> str:
        if self.file is None:
            return "unknown data"
        return self.file if self.pictures is None else f"{self.pictures:,} pictures of {self.file}"


def _figures(runs: Sequence[Run], kind: str) -> Section:
    values = {key: [run.metrics[kind][key] for run in runs] for key in EXPLAINED}
    return Section(KINDS[kind], _heads("", runs), _number_rows(values))


def _errors(runs: Sequence[Run], kind: str) -> Section:
    """Compare what each kind of error costs, where all evaluations say so."""
    title = f"AP50 that errors cost, {KINDS[kind]}"
    gains = [found for run in runs if (found := run.gains(kind)) is not None]
    if len(gains) < len(runs):
        return Section(title, [], [])
    values = {name: [one.get(name) for one in gains] for name in ERRORS_EXPLAINED}
    return Section(title, _heads("", runs), _number_rows(values, less_is_better=True))


def _classes(runs: Sequence[Run], kind: str) -> Section:
    """Compare the AP of each class, the largest differences first."""
    title = f"AP per class, {KINDS[kind]}, largest differences first"
    if not all("per_class" in run.metrics for run in runs):
        return Section(title, [], [])
    classes = [run.metrics["per_class"][kind] for run in runs]
    common = [name for name in classes[0] if all(name in one for one in classes)]
    notes = []
    for run, one in zip(runs, classes, strict=True):
        extra = [name for name in one if name not in common]
        if extra:
            shown = ", ".join(f"'{name}'" for name in extra[:5]) + (", ..." if len(extra) > 5 else "")
            notes.append(f"{run.letter} has {counted(len(extra), 'class', 'classes')} that not all have: {shown}.")
    values = {name: [one[name] for one in classes] for name in common}
    if len(values) < 2:
        values = {}  # the figures above say it all
    ordered = dict(sorted(values.items(), key=lambda item: -_largest_difference(item[1])))
    return Section(title, _heads("class", runs), _number_rows(ordered), tuple(notes))


def _largest_difference(values: Sequence[float | None]) -> float:
    first = values[0]
    known = [abs(value - first) for value in values[1:] if value is not None and first is not None]
    return max(known, default=-1.0)


def _speed(runs: Sequence[Run]) -> Section:
    """Compare frames per second and the milliseconds of each stage, as ratios."""
    timed = [run.metrics.get("milliseconds") for run in runs]
    if not all(timed):
        return Section("Speed", [], [])
    rows = [_ratio_row("frames per second", [run.metrics.get("fps") for run in runs], more_is_better=True)]
    stages = dict.fromkeys(name for one in timed if one for name in one)
    rows += [_ratio_row(f"{name}, ms", [one.get(name) if one else None for one in timed]) for name in stages]
    places = [conditions(_Unknown(run.metrics)) for run in runs]
    notes: tuple[str, ...] = (f"All on {places[0]}.",)
    if len(set(places)) > 1:
        each = "; ".join(f"{run.letter} on {place}" for run, place in zip(runs, places, strict=True))
        notes = (f"Measured in different ways: {each}. The times cannot be compared.",)
    return Section("Speed", _heads("", runs, " / "), rows, notes)


class _Unknown(dict[str, Any]):
    """Values for a text, "unknown" where one is absent."""

    def __missing__(self, key: str) -> str:
        return f"unknown {key}"


def _config(runs: Sequence[Run]) -> Section:
    """Return the configuration keys that do not have one value in all runs."""
    lacking = [run.letter for run in runs if run.config is None]
    if lacking:
        return Section("Configuration", [], [], (f"There is no config.yaml beside {' and '.join(lacking)}.",))
    configs = [run.config or {} for run in runs]
    keys = dict.fromkeys(key for config in configs for key in config)
    rows = []
    for key in keys:
        values = [_shown(config[key]) if key in config else "(absent)" for config in configs]
        if len(set(values)) > 1:
            rows.append([Cell(key), *map(Cell, values)])
    notes = () if rows else ("No key differs.",)
    return Section("Configuration", ["", *(run.letter for run in runs)] if rows else [], rows, notes, numbers=False)


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _heads(first: str, runs: Sequence[Run], sign: str = " - ") -> list[str]:
    letters = [run.letter for run in runs]
    return [first, *letters, *(f"{letter}{sign}{letters[0]}" for letter in letters[1:])]


def _number_rows(values: Mapping[str, Sequence[float | None]], less_is_better: bool = False) -> list[list[Cell]]:
    """Return a row for each name: its value in each run, and the differences to the first."""
    rows = []
    for name, numbers in values.items():
        differences = [_difference(numbers[0], number, less_is_better) for number in numbers[1:]]
        rows.append([Cell(name), *(Cell(figure(number)) for number in numbers), *differences])
    return rows


def _difference(first: float | None, other: float | None, less_is_better: bool) -> Cell:
    if first is None or other is None:
        return Cell("-")
    # What is written decides, so that a difference of +0.000 is neither better nor worse.
    difference = round(other - first, 3)
    trend = (difference > 0) - (difference < 0)
    return Cell(f"{difference:+.3f}" if difference else "0.000", -trend if less_is_better else trend)


def _ratio_row(name: str, numbers: Sequence[float | None], more_is_better: bool = False) -> list[Cell]:
    first, write = numbers[0], _one_digit
    ratios = [
        Cell("-") if not first or number is None else _ratio(number / first, more_is_better) for number in numbers[1:]
    ]
    return [Cell(name), *(Cell(write(number)) for number in numbers), *ratios]


def _ratio(ratio: float, more_is_better: bool) -> Cell:
    shown = f"{ratio:.2f}"
    trend = (float(shown) > 1) - (float(shown) < 1)
    return Cell(f"x {shown}", trend if more_is_better else -trend)


def _one_digit(number: float | None) -> str:
    return "-" if number is None else f"{number:.1f}"
