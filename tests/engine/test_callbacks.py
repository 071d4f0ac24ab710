"""Callbacks, the files that are some, and the log."""

import json
import logging
import resource
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from yolact.engine.callbacks import Callback, MetricsFile, TensorBoard
from yolact.engine.checkpoint import load_checkpoint
from yolact.engine.folder import set_up_logging
from yolact.engine.trainer import Parts
from yolact.errors import UserError


class Notes(Callback):
    """Writes down how it is called, and stops the training after some step."""

    def __init__(self, last=None):
        self.calls, self.last = [], last

    def on_step(self, trainer):
        self.calls.append(("step", trainer.step))
        assert trainer.record["losses"].keys() == {"box", "class", "mask", "semantic"}
        if trainer.step == self.last:
            trainer.stop()

    def on_evaluate(self, trainer):
        self.calls.append(("evaluate", trainer.step, trainer.metrics["images"]))

    def on_end(self, trainer):
        self.calls.append(("end", trainer.step))


def test_callbacks_are_called(make_trainer):
    notes = Notes()
    trainer = make_trainer(parts=Parts(callbacks=[notes, Callback()]), max_steps=3, eval_every=2)
    assert trainer.fit() is None
    steps = [("step", 1), ("step", 2), ("evaluate", 2, 6), ("step", 3), ("evaluate", 3, 6)]
    assert notes.calls == [*steps, ("end", 3)]


def test_a_callback_that_stops_ends_the_training_and_it_is_saved(make_trainer):
    notes = Notes(last=2)
    trainer = make_trainer(parts=Parts(callbacks=[notes]), max_steps=9)
    assert trainer.fit() is None
    assert notes.calls == [("step", 1), ("step", 2), ("end", 2)]
    assert load_checkpoint(trainer.folder / "last.pth")["step"] == 2
    assert steps(trainer.folder) == [1, 2]


def test_where_nothing_is_to_be_found_there_is_no_best(make_trainer, caplog):
    trainer = make_trainer(max_steps=2, eval_every=1, patience=1)
    everything = trainer.val_data.annotation_file
    content = json.loads(everything.read_text())
    trainer.val_data.annotation_file = trainer.folder / "empty.json"
    trainer.val_data.annotation_file.write_text(json.dumps({**content, "annotations": []}))
    with caplog.at_level(logging.INFO):
        assert trainer.fit() is None
    assert (trainer.step, trainer.best) == (2, None)
    assert not (trainer.folder / "best.pth").exists()
    assert f"step 1: mask AP not defined, box AP not defined: {trainer.config.data.val_annotations} has" in caplog.text


def test_a_training_that_no_longer_improves_ends(make_trainer, caplog):
    trainer = make_trainer(max_steps=30, eval_every=1, patience=3)
    with caplog.at_level(logging.INFO):
        assert trainer.fit() is None
    best = load_checkpoint(trainer.folder / "best.pth")["step"]
    assert (trainer.step, trainer.stale_evaluations) == (best + 3, 3)
    assert "no better mask AP in 3 evaluations" in caplog.text
    saved = load_checkpoint(trainer.folder / "last.pth")
    assert (saved["step"], saved["stale_evaluations"]) == (best + 3, 3)


def test_a_training_that_grows_goes_on_to_its_last_size(make_trainer):
    grows = {"image_sizes": (48, 64), "image_size_order": "progressive"}
    trainer = make_trainer(max_steps=8, eval_every=1, patience=1, lr=1e-9, **grows)
    assert trainer.fit() is None
    assert trainer.step >= 5  # an evaluation after a step at the last size


def steps(folder):
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def write(folder, step, *new, evaluated=True):
    """Open the file as a run that goes on from `step` does, and write lines of new steps."""
    file = MetricsFile(folder, step, evaluated)
    for number in new:
        file.write({"step": number})
    file.on_end(None)


def test_a_resumed_run_leaves_no_gap_and_repeats_nothing(tmp_path):
    write(tmp_path, 0, 1, 2, 3)
    write(tmp_path, 2, 3, 4)  # the checkpoint was saved before step 3
    assert steps(tmp_path) == [1, 2, 3, 4]
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2, "lo')  # cut short by a kill
    write(tmp_path, 5, 6)
    assert steps(tmp_path) == [1, 6]


@pytest.mark.parametrize(("evaluated", "left"), [(True, [4, 4, 5]), (False, [4, 5])])
def test_an_evaluation_that_is_to_be_done_again_is_dropped(tmp_path, evaluated, left):
    """A kill can come after its line and before the checkpoint that knows of it."""
    (tmp_path / "metrics.jsonl").write_text('{"step": 4}\n{"step": 4, "evaluation": {}}\n')
    write(tmp_path, 4, 5, evaluated=evaluated)
    assert steps(tmp_path) == left


def test_a_full_disk_is_one_sentence_and_leaves_half_a_line_at_most(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    file = MetricsFile(tmp_path, step=0)
    file.write({"step": 1})
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))
    try:
        with pytest.raises(UserError, match=r"could not be written \(File too large\): make room and go on with"):
            file.write({"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n{"step":'
    write(tmp_path, 2, 2)
    assert steps(tmp_path) == [1, 2]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_log_that_cannot_be_written_says_so_once(tmp_path, capsys):
    (tmp_path / "log.txt").symlink_to("/dev/full")
    set_up_logging(tmp_path)
    logger = logging.getLogger("yolact")
    for _ in range(3):
        logger.info("a line")
    assert capsys.readouterr().err.count("cannot be written any more: [Errno 28] No space left on device") == 1
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        with suppress(OSError):
            handler.close()


def test_the_losses_also_go_to_tensorboard(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = TensorBoard(tmp_path, step=0)
    board.on_step(SimpleNamespace(step=5, record={"step": 5, "lr": 0.5, "losses": {"box": 2.0}}))
    board.on_end(None)
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("losses/box")] == [(5, 2.0)]
