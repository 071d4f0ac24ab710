import json

import pytest

from yolact.errors import UserError
from yolact.results.reading import read_runs
from yolact.results.wording import EXPLAINED

FIGURES = dict.fromkeys(EXPLAINED, 0.25)


def line(step, ap):
    return json.dumps({"step": step, "evaluation": {"segm": {**FIGURES, "AP": ap}, "bbox": FIGURES}})


def training_run(folder, *lines):
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("\n".join((json.dumps({"step": 5, "losses": {"box": 2.0}}), *lines)))
    (folder / "config.yaml").write_text("name: x\ntrain:\n  lr: 0.1\n  steps: [1, 2]\n")
    return folder


def test_an_evaluation_is_read_as_a_folder_or_a_file(write_evaluation) -> None:
    folder = write_evaluation("a")
    first, second = read_runs([folder, folder / "metrics.json"])
    assert (first.letter, second.letter) == ("A", "B")
    assert first.metrics == second.metrics == json.loads((folder / "metrics.json").read_text())
    assert first.config == second.config
    assert first.config["model.backbone.name"] == "resnet18"
    assert first.history is None
    assert first.gains("segm")["missed"] == 0


def test_a_training_run_gives_its_evaluation_or_else_the_best_found_in_training(write_evaluation, tmp_path) -> None:
    runs = [training_run(tmp_path / name, line(10, 0.3), line(20, 0.5), line(30, 0.4)) for name in ("one", "two")]
    evaluated = write_evaluation("two/eval")
    first, second = read_runs(runs)
    assert first.source == "the best of 3 evaluations in training, step 20"
    assert first.metrics["segm"]["AP"] == 0.5
    assert first.config == {"name": "x", "train.lr": 0.1, "train.steps": [1, 2]}
    assert sorted(first.history.evaluations) == [10, 20, 30]
    assert first.gains("segm") is None
    assert second.source == "eval/metrics.json"
    assert second.metrics == json.loads((evaluated / "metrics.json").read_text())
    assert second.config["train.lr"] == 0.1


def test_a_model_that_finds_nothing_has_figures_all_the_same(tmp_path) -> None:
    run = training_run(tmp_path / "run", line(10, None), line(20, 0.0))
    assert read_runs([run, run])[0].source == "the best of 2 evaluations in training, step 20"


@pytest.mark.parametrize("count", [0, 1, 27])
def test_two_or_more_are_compared(count, tmp_path) -> None:
    with pytest.raises(UserError, match=f"Two to 26 runs can be compared, got {count}"):
        read_runs([tmp_path] * count)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "it is not an object with figures"),
        ("{}", "it has no 'segm'"),
        ({"segm": FIGURES}, "it has no 'bbox'"),
        ({"segm": {**FIGURES, "AP": "0.3"}, "bbox": FIGURES}, "'segm' has no figure 'AP'"),
        ({"segm": {"AP": 0.3}, "bbox": FIGURES}, "'segm' has no figure 'AP50'"),
        ({"segm": FIGURES, "bbox": FIGURES, "per_class": {"segm": {}}}, "'per_class.bbox' does not hold numbers"),
        ({"segm": FIGURES, "bbox": FIGURES, "errors": 3}, "'errors.segm' does not hold numbers"),
        ({"segm": FIGURES, "bbox": FIGURES, "errors": {"segm": 3, "bbox": 4}}, "'errors.segm' does not hold numbers"),
        ({"segm": FIGURES, "bbox": FIGURES, "milliseconds": {"load": "1"}}, "'milliseconds' does not hold numbers"),
        ({"segm": FIGURES, "bbox": FIGURES, "fps": True}, "'fps' does not hold numbers"),
        ({"segm": FIGURES, "bbox": FIGURES, "images": "many"}, "'images' does not hold numbers"),
    ],
)
def test_a_file_that_is_no_evaluation_is_refused(content, message, tmp_path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UserError, match=message) as caught:
        read_runs([path, path])
    assert str(path) in str(caught.value)


def test_folders_that_hold_nothing_to_compare_are_refused(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    for path, message in (
        (tmp_path / "empty", "has neither metrics.json nor metrics.jsonl"),
        (tmp_path / "absent", "does not exist"),
        (training_run(tmp_path / "new"), "has not been evaluated yet"),
        (training_run(tmp_path / "odd", '{"step": 3, "evaluation": {"segm": {}}}'), "is not a metrics.jsonl"),
        (training_run(tmp_path / "list", "[1]"), "is not a metrics.jsonl"),
    ):
        with pytest.raises(UserError, match=message):
            read_runs([path, path])
