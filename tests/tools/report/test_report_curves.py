import gc
import json

import cv2
import pytest
from matplotlib.figure import Figure

from yolact.tools.report.curves import draw_accuracy, draw_losses, read_history, smooth, write_curves


def write(folder, entries, tail=""):
    path = folder / "metrics.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries) + tail)
    return path


def losses(step, box, lr=1e-3):
    return {"step": step, "lr": lr, "losses": {"box": box, "mask": 2.0}, "total": 3.0}


def evaluation(step, ap):
    metrics = {"AP": ap, "AP50": None if ap is None else ap + 0.1}
    return {"step": step, "evaluation": {"segm": metrics, "bbox": metrics}}


def test_history_is_by_step_and_the_last_line_of_a_step_counts(tmp_path):
    history = read_history(
        write(tmp_path, [losses(10, 1.0), evaluation(10, 0.2), losses(10, 0.5), losses(20, 0.25, lr=1e-4)])
    )
    assert history.losses == {10: {"box": 0.5, "mask": 2.0}, 20: {"box": 0.25, "mask": 2.0}}
    assert history.lr == {10: 1e-3, 20: 1e-4}
    assert history.metric("segm", "AP") == {10: 0.2}
    assert history.metric("segm", "AP75") == {}
    assert history.total_loss() == {10: 2.5, 20: 2.25}


def test_cut_lines_and_losses_that_are_not_finite_are_passed_over(tmp_path):
    path = write(tmp_path, [losses(10, None), losses(20, float("nan")), losses(25, 1.0)], tail='{"step": 30, "los')
    history = read_history(path)
    assert history.losses == {10: {"mask": 2.0}, 20: {"mask": 2.0}, 25: {"box": 1.0, "mask": 2.0}}
    assert history.total_loss() == {25: 3.0}


def test_curves_are_images(tmp_path):
    write(tmp_path, [losses(step, 1 / step) for step in range(1, 120)] + [evaluation(50, 0.1), evaluation(100, None)])
    assert write_curves(tmp_path) == [tmp_path / "losses.png", tmp_path / "map.png"]
    for name in ("losses.png", "map.png"):
        assert cv2.imread(str(tmp_path / name)).shape[0] > 300
    write(tmp_path, [evaluation(5, 0.3)])
    assert write_curves(tmp_path) == [tmp_path / "map.png"]  # only what was logged


def test_figures_do_not_stay_in_memory(tmp_path):
    write(tmp_path, [losses(10, 1.0), evaluation(10, 0.1)])
    gc.collect()
    before = sum(isinstance(item, Figure) for item in gc.get_objects())
    gc.disable()
    try:
        write_curves(tmp_path)
        assert sum(isinstance(item, Figure) for item in gc.get_objects()) == before
    finally:
        gc.enable()


def test_every_loss_and_their_sum_has_a_curve(tmp_path):
    path = write(tmp_path, [losses(step, 1.0) for step in (20, 10, 30)])
    upper, lower = draw_losses(read_history(path)).axes
    assert [text.get_text() for text in upper.get_legend().get_texts()] == ["box", "mask", "total"]
    total = upper.get_lines()[-1]
    assert list(total.get_xdata()) == [10, 20, 30]
    assert list(total.get_ydata()) == pytest.approx([3.0] * 3)
    assert upper.get_yscale() == "log"
    assert list(lower.get_lines()[0].get_ydata()) == [1e-3] * 3


def test_the_best_mask_ap_is_named(tmp_path):
    path = write(tmp_path, [evaluation(1000, 0.2), evaluation(2000, 0.45), evaluation(3000, 0.4)])
    (axis,) = draw_accuracy(read_history(path), "a $b$").axes
    assert [text.get_text() for text in axis.texts] == ["best 0.450\nat step 2,000"]


def test_smoothing_keeps_length_and_constants():
    assert smooth(dict.fromkeys(range(130), 2.0)) == pytest.approx([2.0] * 130)
    assert smooth({1: 1.0, 2: 5.0}) == pytest.approx([1.0, 5.0])
    assert len(smooth({})) == 0
    jagged = smooth({step: float(step % 2) for step in range(200)})
    assert len(jagged) == 200
    assert jagged[50:150].max() - jagged[50:150].min() < 0.2
