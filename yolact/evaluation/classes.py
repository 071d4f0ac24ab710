"""Do a model's classes and a data set's agree? Figures of a model on other classes would mean nothing."""

from pathlib import Path

from yolact.data.categories import Categories
from yolact.data.dataset import CocoDataset
from yolact.errors import CheckpointError


def check_classes(own: Categories, names_known: bool, dataset: CocoDataset, weights: Path) -> None:
    """Require that a checkpoint's classes are the annotation file's, name by name and id by id.

    Args:
        own: the classes of the checkpoint, in the order of its labels.
        names_known: False where the checkpoint holds no names, so that the ids alone must agree.
        dataset: what the checkpoint shall be evaluated on.
        weights: the checkpoint, for the message.

    Raises:
        CheckpointError: they are not; the message says in what they differ.
    """
    if own == dataset.categories or (not names_known and own.ids == dataset.categories.ids):
        return
    mine, theirs = (dict(zip(classes.names, classes.ids, strict=True)) for classes in (own, dataset.categories))
    if mine.keys() == theirs.keys():
        name = next(name for name in mine if mine[name] != theirs[name])
        difference = (
            f"the names are the same but the category ids differ: '{name}' is {mine[name]} in the checkpoint "
            f"and {theirs[name]} in the file"
        )
    else:
        difference = (
            f"the checkpoint has {len(mine)} classes{_only(mine, theirs)}, the file has {len(theirs)}"
            f"{_only(theirs, mine)}"
        )
    raise CheckpointError(
        f"The classes of '{weights}' are not those of '{dataset.annotation_file}': {difference}; evaluate on the data "
        "it was trained for (--set data.val_annotations=... data.val_images=...), or fine-tune it on these classes."
    )


def _only(here: dict[str, int], there: dict[str, int]) -> str:
    """Return in brackets the names that only one side has."""
    extra = [name for name in here if name not in there]
    shown = ", ".join(f"'{name}'" for name in extra[:3]) + (", ..." if len(extra) > 3 else "")
    return f" (only there: {shown})" if extra else ""
