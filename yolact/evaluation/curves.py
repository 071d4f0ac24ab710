"""Precision over recall and AP by object size, of each class, from the table that COCOeval makes."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RECALLS = np.linspace(0, 1, 101)  # COCO's
CURVES = ("IoU 0.50", "IoU 0.75", "mean of 0.50 to 0.95")
SIZES = ("small", "medium", "large")


class Curves(NamedTuple):
    """COCO's precision for each of C classes, in ascending order of category id; NaN where nothing is to be found."""

    precision: NDArray[np.float64]  # [3, 101, C] at each of `RECALLS`, for the thresholds of `CURVES`
    by_size: NDArray[np.float64]  # [C, 3], the AP of each of `SIZES`

    def average(self) -> NDArray[np.float64]:
        """Return the precision [3, 101] averaged over the classes, whose mean over recall is COCO's AP."""
        present = ~np.isnan(self.precision).any((0, 1))
        return self.precision[:, :, present].mean(2) if present.any() else np.full((len(CURVES), len(RECALLS)), np.nan)

    def per_class(self) -> NDArray[np.float64]:
        """Return [C, 3], each class's AP50, AP75 and AP."""
        return self.precision.mean(1).T


def curves_of(table: NDArray[np.float64]) -> Curves:
    """Take the curves from COCOeval's precision.

    Args:
        table: [10 IoU thresholds, 101 recall points, C, 4 areas, detections allowed], -1 where nothing is to be found.
    """
    defined = np.where(table[..., -1] > -1, table[..., -1], np.nan)
    everything = defined[..., 0]
    precision = np.stack([everything[0], everything[5], everything.mean(0)])
    return Curves(precision, defined[..., 1:].mean((0, 1)))
