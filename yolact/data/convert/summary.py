"""What a conversion found, in lines for the command line."""

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator

from yolact.data.convert.common import Conversion, FoundPicture
from yolact.data.convert.writing import WrittenSplit

MOST = 5  # examples of one kind that are shown


def count_lines(written: list[WrittenSplit]) -> list[str]:
    """Return the pictures, the objects, and the objects of each class, for each annotation file."""
    lines = []
    for item in written:
        counts = _count(item.pictures)
        lines.append(f"{item.annotations}: {len(item.pictures)} pictures, {counts.total()} objects")
        lines += [f"  {count:6} {name}" for name, count in counts.most_common()]
    return lines


def warning_lines(conversion: Conversion) -> list[str]:
    """Return what was left aside, and what of the result may not be meant so."""
    notes = conversion.notes
    lines = list(notes.remarks)
    if notes.left_out:
        lines.append(f"{len(notes.left_out)} pictures were left out:")
        lines += [f"  {sentence}" for sentence in notes.left_out[:MOST]]
        if len(notes.left_out) > MOST:
            lines.append(f"  and {len(notes.left_out) - MOST} more")
    lines += [f"{count} {kind}; the first: {notes.examples[kind]}" for kind, count in notes.counts.most_common()]
    return [*lines, *_doubts(conversion)]


def setting_lines(written: list[WrittenSplit]) -> list[str]:
    """Return the command that trains on the result."""
    parts = {item.split or "train": item for item in written}
    lines = ["python train.py --config configs/custom.yaml --set"]
    for split in ("train", "val"):
        if split in parts:
            settings = {"images": parts[split].images, "annotations": parts[split].annotations}
            lines.append("  " + " ".join(_setting(f"data.{split}_{key}", str(path)) for key, path in settings.items()))
    return [line + " \\" for line in lines[:-1]] + lines[-1:]


def _setting(key: str, path: str) -> str:
    """Return `key=path` for a shell; the value is YAML, so that a path with odd characters needs quotes of its own."""
    plain = re.fullmatch(r"[\w./-]*/[\w./-]*", path)
    return shlex.quote(f"{key}={path if plain else json.dumps(path, ensure_ascii=False)}")


def _count(pictures: list[FoundPicture]) -> Counter[str]:
    return Counter(item.class_name for picture in pictures for item in picture.objects)


def _doubts(conversion: Conversion) -> Iterator[str]:
    counts = {split: _count(pictures) for split, pictures in conversion.splits.items()}
    total = sum(counts.values(), Counter())
    pictures = [picture for split in conversion.splits.values() for picture in split]
    empty = [picture.name for picture in pictures if not picture.objects]
    if empty:
        yield f"{len(empty)} of {len(pictures)} pictures have no objects; the first: {empty[0]}"
    yield from _named("without an object", [name for name in conversion.class_names.values() if not total[name]])
    yield from _named("with a single object", [name for name, count in total.items() if count == 1])
    if "train" in counts:
        yield from _named(
            "without an object to train on", [n for n in total if total[n] > 1 and not counts["train"][n]]
        )


def _named(kind: str, names: list[str]) -> Iterator[str]:
    if names:
        rest = f" and {len(names) - MOST} more" if len(names) > MOST else ""
        yield f"{len(names)} classes {kind}: {', '.join(names[:MOST])}{rest}"
