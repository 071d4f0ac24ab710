"""A whole inspection: both sets of a configuration, or one set alone, to a `Report`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from yolact.config import Config
from yolact.inspection.entries import InspectedSet, read_set
from yolact.inspection.files import find_shared, inspect_files
from yolact.inspection.findings import Example, Finding, ordered
from yolact.inspection.fit import AnchorFit, fit_anchors
from yolact.inspection.kinds import RARE
from yolact.inspection.statistics import Vanishing, count_vanishing, summarise
from yolact.text import counted, printable

FORMAT = 1  # of check.json


class Source(NamedTuple):
    """One set to inspect."""

    name: str  # "train", "val", or another for a set alone
    annotation_file: Path
    image_folder: Path
    max_images: int | None = None


@dataclass
class Report:
    """What was found; the anchors and masks are those of the first set."""

    config: Config
    sets: list[InspectedSet]
    findings: list[Finding]
    summaries: list[dict[str, Any]]  # of the sets; see `statistics.summarise`
    anchors: AnchorFit | None  # None without objects
    vanishing: Vanishing

    @property
    def num_errors(self) -> int:
        """Return how many kinds of errors were found, counted for each set."""
        return sum(finding.level == "error" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return the content of check.json.

        Its keys: "format"; "config", its name; "errors" and "warnings", numbers of findings; "findings", each with
        kind, level, set, count, title, advice and examples (picture, annotation, note); "sets", counts by set;
        "anchors", see `AnchorFit`, or null; "masks", how many vanish at the resolution of the prototypes.
        """
        sets = {inspected.name: summary for inspected, summary in zip(self.sets, self.summaries, strict=True)}
        masks = {"objects": self.vanishing.objects, "vanished": self.vanishing.vanished, "side": self.vanishing.side}
        return {
            "format": FORMAT,
            "config": self.config.name,
            "errors": self.num_errors,
            "warnings": len(self.findings) - self.num_errors,
            "findings": [finding.to_json() for finding in self.findings],
            "sets": sets,
            "anchors": None if self.anchors is None else self.anchors.to_json(),
            "masks": masks,
        }


def sources_of(config: Config) -> list[Source]:
    """Return the training and the validation set of a configuration."""
    data = config.data
    return [
        Source("train", Path(data.train_annotations), Path(data.train_images), data.max_train_images),
        Source("val", Path(data.val_annotations), Path(data.val_images), config.eval.max_images),
    ]


def inspect(sources: Sequence[Source], config: Config) -> Report:
    """Inspect one set, or the training and the validation set together.

    Raises:
        DatasetError: an annotation file is missing or is not COCO's at all, or a picture folder does not exist.
    """
    sets = []
    for source in sources:
        skips = source.name == "train" and config.data.unreadable == "skip"
        sets.append(read_set(*source, skips_unreadable=skips))
    facts = [inspect_files(inspected) for inspected in sets]
    for inspected in sets:
        _check_classes(inspected, config, rare=inspected is sets[0])
        _check_counts(inspected, config.eval.max_detections)
    if len(sets) == 2:
        find_shared(sets[0], sets[1], (facts[0], facts[1]))
        _compare_categories(sets[0], sets[1])
    return Report(
        config=config,
        sets=sets,
        findings=ordered(inspected.findings for inspected in sets),
        summaries=[summarise(inspected) for inspected in sets],
        anchors=fit_anchors(sets[0], config),
        vanishing=count_vanishing(sets[0], config.model.image_size),
    )


def _check_classes(inspected: InspectedSet, config: Config, rare: bool) -> None:
    """Find classes that are unused or, where the set is trained on, rare or of another number than configured."""
    categories, expected = inspected.categories, config.model.num_classes
    pairs = zip(categories.ids, categories.names, inspected.objects_per_class(), strict=True)
    for category_id, name, count in pairs:
        if count == 0:
            inspected.findings.add("unused-category", Example(f"'{name}' (id {category_id})"))
        elif count < RARE and rare:
            inspected.findings.add("rare-category", Example(f"'{name}' (id {category_id}): {counted(count, 'object')}"))
    if rare and inspected.name == "train" and categories.ids and expected not in (None, len(categories)):
        note = f"model.num_classes is {expected}, but the file declares {len(categories)}"
        inspected.findings.add("class-count-differs", Example(note))


def _check_counts(inspected: InspectedSet, max_detections: int) -> None:
    """Find pictures with more objects than can be detected, and a set without any."""
    counts = [sum(not item.iscrowd for item in items) for items in inspected.objects]
    if inspected.pictures and not any(counts):
        inspected.findings.add(
            "no-objects", Example(f"{len(counts)} pictures, {inspected.num_annotations} annotations")
        )
    for place, count in enumerate(counts):
        if count > max_detections:
            note = f"{count} objects, eval.max_detections is {max_detections}"
            name = inspected.pictures[place].file_name
            inspected.findings.add("too-many-objects", Example(note, picture=name, place=place))


def _compare_categories(train: InspectedSet, val: InspectedSet) -> None:
    """Find classes (id and name) that only one of the two sets declares well."""
    pairs = [dict(zip(one.categories.ids, one.categories.names, strict=True)) for one in (train, val)]
    for category_id, name in sorted(pairs[0].items() ^ pairs[1].items()):
        where = "training" if pairs[0].get(category_id) == name else "validation"
        val.findings.add("categories-differ", Example(f"'{printable(name)}' (id {category_id}) only in {where}"))
