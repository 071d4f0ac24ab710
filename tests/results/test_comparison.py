import json

import pytest

from yolact.results.comparison import Cell, compare, data_verdict
from yolact.results.comparison_page import comparison_page
from yolact.results.comparison_text import comparison_text
from yolact.results.reading import read_runs

EVIL = "<script>alert('\"&')</script>"


def sections(runs):
    return {section.title: section for group in compare(runs) for section in group}


def half(index, place, label):
    return None if place else label


def change(folder, **changes):
    """Change an evaluation's metrics.json."""
    path = folder / "metrics.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def rows(section):
    return {row[0].text: row[1:] for row in section.rows}


def test_figures_stand_beside_each_other_with_their_differences(write_evaluation) -> None:
    runs = read_runs([write_evaluation("a", half), write_evaluation("b")])
    a, b = (run.metrics["segm"]["AP"] for run in runs)
    assert a < b == pytest.approx(1)
    masks = sections(runs)["masks"]
    assert masks.heads == ["", "A", "B", "B - A"]
    assert rows(masks)["AP"] == [Cell(f"{a:.3f}"), Cell("1.000"), Cell(f"{b - a:+.3f}", 1)]
    assert rows(masks)["APl"] == [Cell("-"), Cell("-"), Cell("-")]
    backwards = sections(read_runs([run.path for run in runs[::-1]]))
    assert rows(backwards["masks"])["AP"][2] == Cell(f"{a - b:+.3f}", -1)
    costs = rows(backwards["AP50 that errors cost, masks"])["missed"]
    assert costs[0] == Cell("0.000")
    assert costs[2].text.startswith("+")
    assert costs[2].trend == -1  # a larger cost is worse


def test_every_run_is_measured_against_the_first(write_evaluation) -> None:
    runs = read_runs([write_evaluation("a"), write_evaluation("b", half), write_evaluation("c")])
    masks = sections(runs)["masks"]
    assert masks.heads == ["", "A", "B", "C", "B - A", "C - A"]
    assert rows(masks)["AP"][3].trend == -1
    assert rows(masks)["AP"][4] == Cell("0.000", 0)


def test_classes_with_the_largest_differences_come_first(write_evaluation) -> None:
    a, b = write_evaluation("a"), write_evaluation("b")
    change(a, per_class={kind: {"x": 0.5, "y": 0.5, "none": None, "z": 0.1} for kind in ("segm", "bbox")})
    change(b, per_class={kind: {"x": 0.6, "y": 0.1, "none": 0.3, "new": 1.0} for kind in ("segm", "bbox")})
    classes = sections(read_runs([a, b]))["AP per class, masks, largest differences first"]
    assert [row[0].text for row in classes.rows] == ["y", "x", "none"]
    assert rows(classes)["y"][2] == Cell("-0.400", -1)
    assert classes.notes == (
        "A has 1 class that not all have: 'z'.",
        "B has 1 class that not all have: 'new'.",
    )


def test_times_are_ratios_and_less_is_better(write_evaluation) -> None:
    a, b = write_evaluation("a"), write_evaluation("b", fps=80.0, milliseconds={"network": 10.0, "extra": 1.0})
    speed = sections(read_runs([a, b]))["Speed"]
    assert rows(speed)["frames per second"] == [Cell("40.0"), Cell("80.0"), Cell("x 2.00", 1)]
    assert rows(speed)["network, ms"] == [Cell("20.0"), Cell("10.0"), Cell("x 0.50", 1)]
    assert rows(speed)["extra, ms"] == [Cell("-"), Cell("1.0"), Cell("-")]
    assert speed.notes == ("All on cpu (test), float32, batch 1.",)


def test_times_of_different_devices_are_said_not_to_compare(write_evaluation) -> None:
    a, b = write_evaluation("a"), write_evaluation("b", device="cuda (X)", batch_size=8)
    (note,) = sections(read_runs([a, b]))["Speed"].notes
    assert "A on cpu (test), float32, batch 1; B on cuda (X), float32, batch 8. The times cannot be compared." in note


def test_times_of_one_of_several_processes_are_said_not_to_compare(write_evaluation) -> None:
    a, b = write_evaluation("a", processes=1), write_evaluation("b", processes=2)
    (note,) = sections(read_runs([a, b]))["Speed"].notes
    assert "A on cpu (test), float32, batch 1; B on cpu (test), float32, batch 1, one of 2 processes. The times" in note


def test_only_keys_that_differ_are_shown(write_evaluation) -> None:
    a, b = write_evaluation("a"), write_evaluation("b")
    path = b / "config.yaml"
    path.write_text(path.read_text().replace("image_size: 64", "image_size: 96") + "new: true\n")
    config = sections(read_runs([a, b]))["Configuration"]
    assert [[cell.text for cell in row] for row in config.rows] == [
        ["model.image_size", "64", "96"],
        ["new", "(absent)", "true"],
    ]
    assert sections(read_runs([a, a]))["Configuration"].notes == ("No key differs.",)
    path.unlink()
    assert sections(read_runs([a, b]))["Configuration"].notes == ("There is no config.yaml beside B.",)


@pytest.mark.parametrize(
    ("changes", "same", "message"),
    [
        ({}, True, "All were evaluated on the same data: 6 pictures of annotations.json."),
        ({"annotations": "copy.json"}, True, "the same data"),
        ({"images": 3}, False, "A on 6 pictures of annotations.json; B on 3 pictures of annotations.json. The figures"),
        ({"annotations_sha256": "def"}, False, "the files are all named annotations.json, but differ"),
        ({"annotations_sha256": "def", "annotations": "other.json"}, False, "B on 6 pictures of other.json"),
        ({"annotations_sha256": None}, None, "is not known"),
        ({"annotations_sha256": None, "annotations": "other.json"}, False, "B on 6 pictures of other.json"),
        ({"annotations_sha256": None, "images": 3}, False, "Different data"),
    ],
)
def test_different_data_is_said(write_evaluation, changes, same, message) -> None:
    verdict = data_verdict(read_runs([write_evaluation("a"), write_evaluation("b", **changes)]))
    assert verdict[0] is same
    assert message in verdict[1]


def test_a_run_that_does_not_say_its_pictures_may_have_other_ones(write_evaluation, tmp_path) -> None:
    evaluation = write_evaluation("a")
    run = tmp_path / "run"
    run.mkdir()
    figures = {kind: json.loads((evaluation / "metrics.json").read_text())[kind] for kind in ("segm", "bbox")}
    (run / "metrics.jsonl").write_text(json.dumps({"step": 1, "evaluation": figures}))
    assert data_verdict(read_runs([evaluation, run]))[1].endswith("B on unknown data.")
    (run / "config.yaml").write_text((evaluation / "config.yaml").read_text())
    same, message = data_verdict(read_runs([evaluation, run]))
    assert same is None
    assert "is not known: A on 6 pictures of annotations.json; B on annotations.json" in message
    (run / "config.yaml").write_text("data:\n  val_annotations: elsewhere/other.json\n")
    same, message = data_verdict(read_runs([evaluation, run]))
    assert same is False
    assert "B on other.json. The figures do not compare." in message


def test_the_text_has_everything_and_cuts_what_is_long(write_evaluation) -> None:
    a, b = write_evaluation("a", half), write_evaluation("b")
    many = {f"class {number:03}": number / 100 for number in range(40)}
    change(a, per_class={"segm": many, "bbox": many})
    change(b, per_class={"segm": many, "bbox": many})
    (b / "config.yaml").write_text((b / "config.yaml").read_text() + f'long: {"x" * 200}\nbad: "a\\e[31mb"\n')
    shown = comparison_text(read_runs([a, b]))
    for part in (f"A  {a}  (figures: metrics.json)", "B - A", "the same data", "and 10 more", "network, ms", "long"):
        assert part in shown
    assert "x" * 50 not in shown
    assert "\x1b" not in shown
    lines = shown.splitlines()
    table = lines[lines.index("masks") + 1 :][:13]
    assert {len(line) for line in table} == {len(table[0])}


def test_the_page_has_everything_and_asks_nothing_of_other_hosts(write_evaluation, parse_page) -> None:
    runs = read_runs([write_evaluation("a", half), write_evaluation("b")])
    page = comparison_page(runs)
    checker = parse_page(page)
    assert checker.sources == []
    assert "script" not in checker.tags
    assert "http" not in page.replace("http-equiv", "")
    for part in ("A", "B", "B - A", "Masks", "Boxes", "Errors", "Speed", "Configuration", "missed", "No key differs."):
        assert part in checker.texts
    assert '<p class="verdict good">All were evaluated on the same data' in page
    assert 'class="number better"' in page
    assert page.index('class="verdict') < page.index("Masks")


def test_the_page_draws_the_learning_of_training_runs(write_evaluation, tmp_path, parse_page) -> None:
    evaluation = write_evaluation("a")
    metrics = json.loads((evaluation / "metrics.json").read_text())
    figures = {kind: metrics[kind] for kind in ("segm", "bbox")}
    runs = []
    for name, count in (("one", 3), ("two", 1)):
        lines = [{"step": step, "losses": {"box": 3.0 / step, "mask": 2.0}} for step in range(1, 9)]
        lines += [{"step": 4 * step, "evaluation": figures} for step in range(1, count + 1)]
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
        runs.append(tmp_path / name)
    page = comparison_page(read_runs([*runs, evaluation]))
    assert parse_page(page).tags.count("polyline") == 6  # two runs; mask AP, box AP, loss
    assert {"mask AP", "box AP", "step"} <= set(parse_page(page).texts)
    assert "4,1 8,1 12,1" in page
    assert "<h2>Learning</h2>" not in comparison_page(read_runs([evaluation, evaluation]))


def test_hostile_names_stay_text(write_evaluation, parse_page) -> None:
    a = write_evaluation(f"{EVIL[:8]} a")
    b = write_evaluation("b", annotations=EVIL, device=EVIL, milliseconds={EVIL: 1.0})
    for folder in (a, b):
        change(folder, per_class={kind: {EVIL: 0.1, "\ud800": 0.2} for kind in ("segm", "bbox")})
    (b / "config.yaml").write_text(json.dumps({EVIL: EVIL}))
    runs = read_runs([a, b])
    page = comparison_page(runs)
    page.encode()
    comparison_text(runs).encode()
    assert "script" not in parse_page(page).tags
    assert EVIL in parse_page(page).texts
