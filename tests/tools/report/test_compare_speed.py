import itertools

import cv2
import pytest
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from yolact.cli import run
from yolact.compat.published import MODELS
from yolact.errors import UserError
from yolact.tools.report.speed_plot import LONGEST_LABEL, Point, draw_speed, read_points

METRICS = {
    "segm": {"AP": 0.25},
    "fps": 12.5,
    "annotations": "instances_val.json",
    "images": 150,
    "batch_size": 1,
    "device": "cpu (some CPU, 2 threads)",
    "dtype": "float32",
}
GROUP = "150 images of instances_val.json, cpu (some CPU, 2 threads), PyTorch, float32, batch 1"


def test_a_point_is_read_in_percent_with_what_it_was_measured_on(write_metrics):
    alone, shared = (write_metrics(name, **METRICS, processes=count) for name, count in (("a", 1), ("b", 2)))
    assert read_points([f"mine={alone}/metrics.json", f"{shared}/metrics.json"]) == [
        Point("mine", 12.5, 25.0, GROUP),
        Point("b", 12.5, 25.0, f"{GROUP}, one of 2 processes"),
    ]


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["runs/shapes/quickstart/eval"], ["shapes/quickstart"]),
        (["results/half", "results/other"], ["half", "other"]),
        (["a/half", "b/half"], ["a/half", "b/half"]),
        (["x/runs/s/1/eval", "y/runs/s/1/eval"], ["x/runs/s/1", "y/runs/s/1"]),
    ],
)
def test_files_are_named_after_their_runs(write_metrics, names, labels):
    given = [str(write_metrics(name, **METRICS) / "metrics.json") for name in names]
    assert [point.label for point in read_points(given)] == labels


def test_a_file_of_another_name_is_named_after_it_also_with_an_equals_sign(write_metrics, tmp_path):
    odd = (write_metrics("x", **METRICS) / "metrics.json").rename(tmp_path / "a=b.json")
    assert [point.label for point in read_points([str(odd), f"c={odd}"])] == ["a=b", "c"]


def test_what_an_older_file_lacks_is_missing_and_not_drawn(write_metrics, tmp_path, capsys):
    whole, old = write_metrics("whole", **METRICS), write_metrics("old", segm={"AP": 0.5}, bbox={})
    zero = write_metrics("zero", **{**METRICS, "fps": 0})
    given = [str(folder / "metrics.json") for folder in (whole, old, zero)]
    run(["compare", "speed", *given, "--output", str(tmp_path / "speed.png")])
    assert cv2.imread(str(tmp_path / "speed.png")).shape[:2] > (800, 1200)
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1] == f"Written to {tmp_path / 'speed.png'}"
    assert shown[0] == f"whole: mask AP 25.0 %, 12.5 FPS ({GROUP})"
    assert shown[1].startswith("old: mask AP 50.0 %, missing FPS (unknown images of unknown data, unknown device,")
    assert shown[1].endswith("not drawn")
    assert shown[2].endswith("not drawn")
    (axis,) = draw_speed(read_points(given)).axes
    assert {"whole"} == {text.get_text() for text in axis.texts} - {model.title for model in MODELS.values()}


def points_of(axis, legend):
    (line,) = [line for line in axis.get_lines() if str(line.get_label()).startswith(legend)]
    return list(zip(line.get_xdata(), line.get_ydata(), strict=True))


def test_the_published_models_stand_with_the_measured_ones():
    measured = [Point("a", 100.0, 30.0, GROUP), Point("b", 0.5, 20.0, "other"), Point("c", 90.0, 31.0, GROUP)]
    figure = draw_speed(measured)
    (axis,) = figure.axes
    assert points_of(axis, GROUP) == [(100.0, 30.0), (90.0, 31.0)]
    assert points_of(axis, "other") == [(0.5, 20.0)]
    old, new = points_of(axis, "YOLACT: published, COCO test-dev, one Titan Xp"), points_of(axis, "YOLACT++: published")
    assert set(old + new) == {(model.fps, model.mask_ap) for model in MODELS.values()}
    assert new == [(33.5, 34.1), (27.3, 34.6)]
    shown = sorted(text.get_text() for text in axis.texts)
    assert shown == sorted(["a", "b", "c", *(model.title for model in MODELS.values())])
    assert len(figure.legends[0].get_texts()) == 4
    assert axis.get_xscale() == "log"


CASES = {
    "none": [],
    "a CPU and a GPU": [("shapes/quickstart", 34.6, 64.0, "cpu"), ("nuclei/n2", 0.8, 40.2, "cpu"), ("x", 300, 30, "g")],
    "on a published point": [(name, 33.5, 29.8, "gpu") for name in ("yolact_base/x", "$1 and $2")],
    "a crowd with long names": [(f"{n} " + "long name " * 3, 30.0 + n / 10, 29.0, "gpu") for n in range(40)],
}


@pytest.mark.parametrize("case", CASES)
def test_no_label_covers_another_or_is_cut_off(case):
    figure = draw_speed([Point(*one) for one in CASES[case]])
    figure.draw_without_rendering()
    (axis,) = figure.axes
    labels = axis.texts
    assert not any(text.get_parse_math() for text in labels)
    boxes = [Text.get_window_extent(text) for text in labels]  # without the lines to the markers
    for left, right in itertools.combinations(boxes, 2):
        assert Bbox.intersection(left, right) is None
    others = (axis._left_title, axis.xaxis.label, axis.yaxis.label, *figure.legends[0].get_texts())
    for box in (*boxes, *(text.get_window_extent() for text in others)):
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1


def test_mistakes_are_named_and_leave_nothing_behind(write_metrics, tmp_path):
    good = str(write_metrics("good", **METRICS) / "metrics.json")
    nothing = str(write_metrics("nothing", segm={"AP": None}) / "metrics.json")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "file").touch()
    output = ["--output", str(tmp_path / "out" / "speed.png")]
    long = str(write_metrics("n" * 60, **METRICS) / "metrics.json")
    assert len(read_points([long])[0].label) == LONGEST_LABEL
    before = sorted(path.name for path in tmp_path.iterdir())
    for arguments, message in (
        ([str(tmp_path / "none.json"), *output], r"none\.json' cannot be read \(No such file"),
        ([str(tmp_path), *output], "Is a directory"),
        ([str(tmp_path / "list.json"), *output], r"list\.json' is not a metrics\.json"),
        ([nothing, *output], "nothing to plot"),
        ([good, good, *output], "given twice"),
        ([good, "--output", str(tmp_path / "speed.pdf")], r"ends with \.png.*speed\.pdf"),
        ([good, "--output", str(tmp_path / "file" / "speed.png")], "cannot be written"),
    ):
        with pytest.raises(UserError, match=message):
            run(["compare", "speed", *arguments])
    assert sorted(path.name for path in tmp_path.iterdir()) == before
