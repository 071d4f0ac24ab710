import json
import logging
import resource
from contextlib import suppress
from pathlib import Path

import pytest

from yolact.engine.log import MetricsFile, set_up_logging
from yolact.errors import UserError


def steps(folder):
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_resumed_run_leaves_no_gap_and_repeats_nothing(tmp_path):
    with MetricsFile(tmp_path, step=0) as log:
        for step in (1, 2, 3):
            log.write({"step": step})
    with MetricsFile(tmp_path, step=2) as log:  # the checkpoint was saved before step 3
        log.write({"step": 3})
        log.write({"step": 4})
    assert steps(tmp_path) == [1, 2, 3, 4]


def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2, "lo')
    with MetricsFile(tmp_path, step=5) as log:
        log.write({"step": 6})
    assert steps(tmp_path) == [1, 6]


def test_an_evaluation_that_is_to_be_done_again_is_dropped(tmp_path):
    """A kill can come after its line and before the checkpoint that knows of it."""
    for evaluated in (True, False):
        (tmp_path / "metrics.jsonl").write_text('{"step": 4}\n{"step": 4, "evaluation": {}}\n')
        with MetricsFile(tmp_path, 4, evaluated) as log:
            log.write({"step": 5})
        assert steps(tmp_path) == ([4, 4, 5] if evaluated else [4, 5])


def test_a_broken_line_before_good_ones_costs_none_of_them(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\nnonsense\n{"step": 2}\n{"step": 3}\n')
    with MetricsFile(tmp_path, step=2):
        pass
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\nnonsense\n{"step": 2}\n'


def test_a_full_disk_is_one_sentence_and_leaves_half_a_line_at_most(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with MetricsFile(tmp_path, step=0) as log:
        log.write({"step": 1})
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))
        try:
            with pytest.raises(UserError, match=r"could not be written \(File too large\): make room and go on with"):
                log.write({"step": 2})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n{"step":'
    with MetricsFile(tmp_path, step=2) as log:
        log.write({"step": 2})
    assert steps(tmp_path) == [1, 2]


def test_a_folder_instead_of_the_file_is_one_sentence(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        MetricsFile(tmp_path, step=0)


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


def test_figures_also_go_to_tensorboard(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with MetricsFile(tmp_path, step=0, tensorboard=True) as log:
        log.write({"step": 5, "lr": 0.5, "losses": {"box": 2.0}})
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("losses/box")] == [(5, 2.0)]
