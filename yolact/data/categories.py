"""The classes of a data set: the only place, beside evaluation, where category ids exist."""

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Categories:
    """Classes in ascending order of category id; the place in the list is the label, 0..C-1."""

    names: list[str]
    ids: list[int]

    def __len__(self) -> int:
        return len(self.ids)

    def label(self, category_id: int) -> int:
        """Return the label of a category id.

        Raises:
            KeyError: no category has this id.
        """
        return self._labels[category_id]

    @cached_property
    def _labels(self) -> dict[int, int]:
        return {category_id: label for label, category_id in enumerate(self.ids)}
