"""The training loop: what happens between steps."""

import logging
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import islice
from typing import Any, cast

from tqdm import tqdm

from yolact.data.loader import Batch, TrainingSet, training_loader
from yolact.engine.failures import explained
from yolact.engine.log import MetricsFile, NoMetricsFile
from yolact.engine.optim import batch_norm_is_frozen, learning_rate, set_training_mode
from yolact.engine.run import BEST, LAST, Run
from yolact.engine.signals import Interrupted, Stop, stop_signals
from yolact.engine.step import settle, train_step
from yolact.errors import DatasetError, GaveUpError, LoaderError
from yolact.evaluation.run import evaluate
from yolact.report import write_curves

logger = logging.getLogger(__name__)

LOADED, STOPPED, FAILED = range(3)  # what became of loading a step's batches; of several processes the worst counts


def fit(run: Run) -> int | None:
    """Train until the plan's last step, evaluating and saving on the way.

    Returns:
        None when the run is complete, or the number of the signal that stopped it after a step; the checkpoint is
        saved either way.

    Raises:
        UserError: too many non-finite losses in a row, a picture that cannot be read, a full disk, too little memory,
            or a loader's process that died. Where only the loading failed, the checkpoint is saved.
    """
    settings = run.config.train
    set_training_mode(run.model, batch_norm_is_frozen(settings, run.processes))
    with (
        explained(run),
        _metrics_file(run) as log,
        stop_signals() as stop,
        _bar(run) as bar,
        closing(_batches(run)) as batches,
    ):
        if run.awaits_evaluation:
            _evaluate(run, log, stop)
        while run.step < run.plan.max_steps and not run.awaits_evaluation:
            group = _load(run, batches, log, stop)
            if group is None:
                break
            train_step(run, group)
            _record(run, log, bar)
            if _due(settings.eval_every, run) or run.step == run.plan.max_steps:
                run.awaits_evaluation = True
                _save(run, log)
                _evaluate(run, log, stop)
            elif _due(settings.save_every, run):
                _save(run, log)
        number = run.processes.largest(stop.number or 0)
        if number:
            if run.saved is None or run.saved_step < run.step:
                _save(run, log)
            with run.processes.together():  # as the first to end makes torchrun end the others
                _draw_curves(run)
    return number or None


def _metrics_file(run: Run) -> MetricsFile:
    if not run.processes.first:
        return NoMetricsFile()
    return MetricsFile(run.folder, run.step, not run.awaits_evaluation, run.config.train.tensorboard)


def _load(run: Run, batches: Iterator[Batch], log: MetricsFile, stop: Stop) -> list[Batch] | None:
    """Return all batches of a step before it begins, so that nothing is half done where one fails or a signal comes.

    Several processes agree on what happens.

    Returns:
        The batches, or None after a signal.
    """
    group, failure = None, None
    try:
        with stop.interrupting():
            group = list(islice(batches, run.config.train.accumulate))
    except Interrupted:
        pass
    except (DatasetError, LoaderError) as error:
        failure = error
    state = run.processes.largest(FAILED if failure else STOPPED if group is None else LOADED)
    if state == FAILED:
        if run.saved_step < run.step:
            _save(run, log)
            logger.info("saved at step %d; when it is mended: python train.py --resume %s", run.step, run.folder)
        raise failure or GaveUpError()
    return group if state == LOADED else None


def _batches(run: Run) -> Generator[Batch, None, None]:
    data, settings = run.config.data, run.config.train
    training_set = TrainingSet(
        run.train_data,
        run.config.model.image_size,
        data.augment,
        settings.seed,
        data.unreadable,
    )
    loader = training_loader(
        training_set,
        settings.batch_size,
        settings.seed,
        run.position,
        data.num_workers,
        settings.image_sizes,
        data.worker_timeout,
        run.processes,
    )
    return cast(Generator[Batch, None, None], iter(loader))  # so that it can be closed


def _record(run: Run, log: MetricsFile, bar: "tqdm[Any]") -> None:
    """Show the step on the progress bar and, when it is due, write the mean losses since the last line."""
    bar.update()
    due = run.step % run.config.train.log_every == 0 or run.step == run.plan.max_steps
    if due or run.device.type == "cpu":  # other devices compute on while the host prepares the next step
        settle(run)
    count = run.window["steps"]
    means = {name: total / count for name, total in run.window.items() if name != "steps"}
    rate = learning_rate(run.step - 1, run.config.train, run.plan)
    bar.set_postfix({**{name: f"{value:.2f}" for name, value in means.items()}, "lr": f"{rate:.1e}"}, refresh=False)
    if due:
        record: dict[str, Any] = {"step": run.step, "lr": rate, "losses": means}
        if means:
            record["total"] = sum(means.values())
        if run.nonfinite_steps:
            record["nonfinite_steps"] = run.nonfinite_steps
        log.write(record)
        run.window.clear()


def _due(every: int | None, run: Run) -> bool:
    return every is not None and run.step % every == 0


def _save(run: Run, log: MetricsFile) -> None:
    """Save last.pth, after everything that it says has happened stands in metrics.jsonl."""
    settle(run)
    log.sync()
    run.save(LAST)


def _evaluate(run: Run, log: MetricsFile, stop: Stop) -> None:
    """Evaluate, note the figures, and save best.pth if the mask AP is the highest so far, and last.pth.

    A signal ends it without a result: last.pth says that the evaluation is still to be done.
    """
    run.processes.copy_from_first(run.network)  # statistics of batch norms are each process's own
    device, precision, processes = run.device, run.precision, run.processes
    try:
        result = evaluate(
            run.network, run.val_data, run.config.eval, device, precision, True, processes, stop.interrupting
        )
    except (Interrupted, GaveUpError):
        return
    run.metrics = result.metrics
    run.awaits_evaluation = False
    log.write({"step": run.step, "evaluation": {kind: result.metrics[kind] for kind in ("segm", "bbox")}})
    mask_ap, box_ap = (result.metrics[kind]["AP"] or 0.0 for kind in ("segm", "bbox"))
    logger.info("step %d: mask AP %.4f, box AP %.4f", run.step, mask_ap, box_ap)
    if run.best is None or mask_ap > run.best:
        run.best = mask_ap
        run.save(BEST)  # before last.pth, which says that it has been saved
    _save(run, log)
    _draw_curves(run)


def _draw_curves(run: Run) -> None:
    if not run.processes.first:
        return
    try:
        write_curves(run.folder)
    except OSError as error:
        logger.warning("the curves could not be drawn: %s", error)


def _bar(run: Run) -> "tqdm[Any]":
    hidden = not run.processes.first
    return tqdm(
        total=run.plan.max_steps, initial=run.step, desc="train", unit="step", disable=hidden, dynamic_ncols=True
    )
