import numpy as np
import pytest

from yolact.evaluation.coco import compute_metrics
from yolact.evaluation.curves import RECALLS, curves_of

CAT, DOG = 2, 5


def test_curves_are_the_table_at_two_thresholds_and_its_mean() -> None:
    table = np.full((10, 101, 2, 4, 3), -1.0)
    table[:, :, 0, 0, 2] = 0.5
    table[0, :51, 0, 0, 2], table[5, :, 0, 0, 2] = 1, 0.2
    table[:, :, 0, 1, 2] = 0.3
    table[..., 0] = table[..., 1] = 0.9  # of fewer detections
    curves = curves_of(table)
    assert curves.precision[:, [0, 100], 0] == pytest.approx(np.array([[1, 0.5], [0.2, 0.2], [0.52, 0.47]]))
    assert np.isnan(curves.precision[:, :, 1]).all()
    assert curves.by_size == pytest.approx(np.array([[0.3, np.nan, np.nan], [np.nan] * 3]), nan_ok=True)
    assert curves.per_class()[0] == pytest.approx([(51 + 25) / 101, 0.2, curves.precision[2, :, 0].mean()])
    assert curves.average() == pytest.approx(curves.precision[:, :, 0])
    assert np.isnan(curves_of(np.full((10, 101, 3, 4, 3), -1.0)).average()).all()  # no objects


def test_a_curve_by_hand(scene) -> None:
    scene.object(CAT, (0, 0, 10, 10))
    scene.object(CAT, (40, 40, 10, 10))
    scene.detection(CAT, (80, 80, 10, 10), 0.9)
    scene.detection(CAT, (0, 0, 10, 6), 0.8)
    metrics = compute_metrics(scene.write(), scene.detections, "bbox")
    curves = metrics.curves
    assert curves.average().mean(1) == pytest.approx([metrics.summary[key] for key in ("AP50", "AP75", "AP")])
    # Wrong, right: at IoU 0.5 a precision of 1/2 up to a recall of 1/2, at 0.75 none.
    assert curves.precision[0, :, 0].tolist() == pytest.approx([0.5 if recall <= 0.5 else 0 for recall in RECALLS])
    assert not curves.precision[1, :, 0].any()
