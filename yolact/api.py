"""`yolact.train` and `yolact.evaluate`: what the command lines do, with own parts given in code."""

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from yolact.config import Config, EvalConfig
from yolact.data.dataset import CocoDataset
from yolact.data.samples import PLAIN, Colours
from yolact.data.transforms import Transform
from yolact.device import Precision, pick_device
from yolact.distributed import SINGLE, World
from yolact.engine.callbacks import BEST, LAST, Callback
from yolact.engine.start import started
from yolact.engine.trainer import Parts, Trainer
from yolact.errors import UserError
from yolact.evaluation.run import Evaluation, Evaluator
from yolact.evaluation.run import evaluate as run_evaluation
from yolact.loaded import LoadedFile, LoadedModel
from yolact.losses import LossTerm
from yolact.losses.assigners import Assigner
from yolact.models import Yolact
from yolact.predictor import Predictor
from yolact.runtimes.exported import ExportedRuntime
from yolact.runtimes.pytorch import PyTorchRuntime
from yolact.tools.inspect.inspection import anchor_line, data_line
from yolact.tools.report.curves import DrawCurves

logger = logging.getLogger(__name__)


def train(
    config: Config | None = None,
    *,
    name: str | None = None,
    runs: str | Path = "runs",
    weights: str | Path | None = None,
    resume: str | Path | None = None,
    overrides: Sequence[str] = (),
    device: str | torch.device | None = None,
    world: World = SINGLE,
    backbone: nn.Module | None = None,
    assigner: Assigner | None = None,
    loss_terms: Mapping[str, LossTerm] | None = None,
    transforms: Sequence[Transform] = (),
    evaluators: Sequence[Evaluator] = (),
    callbacks: Sequence[Callback] = (),
) -> Trainer:
    """Train as `yolact train` does; docs/extending.md has an example of each part.

    Args:
        config: of a new run; leave it out to resume one.
        name, runs: the run folder is RUNS/CONFIG NAME/NAME; the name is the time where none is given.
        weights: a checkpoint to fine-tune from, as far as it fits.
        resume: a run folder or checkpoint to go on from exactly; "" takes the newest under `runs`.
        overrides: of a resumed run's configuration, such as "train.max_steps=2000".
        device: "cpu", "cuda", "cuda:1"; None takes CUDA where there is some.
        world: the ranks that share the work.
        backbone: in place of the configured one, an `nn.Module` with `channels` and `strides`.
        assigner: in place of the configured one.
        loss_terms: further terms by name, or others in place of the paper's of that name.
        transforms: after those of the configuration.
        evaluators: beside COCO's metrics.
        callbacks: beside the log, the plots and the best checkpoint.

    Returns:
        The trainer, with `step`, `metrics` of the last evaluation, `best`, `folder`, and `signal`, the number of the
        signal that stopped the training, or None.

    Raises:
        UserError: one sentence about the configuration, the data, the device or the disk.
    """
    parts = Parts(backbone, assigner, loss_terms or {}, transforms, evaluators, [DrawCurves(), *callbacks])
    with started(
        config, world, pick_device(device), runs=Path(runs), name=name, overrides=overrides, parts=parts,
        weights=None if weights is None else str(weights), resume=None if resume is None else str(resume),
    ) as trainer:  # fmt: skip
        logger.info(data_line(trainer.train_data, trainer.val_data))
        if trainer.saved is None and trainer.config.model.head == "anchors":
            logger.info(anchor_line(trainer.config, trainer.train_data))
        if trainer.fit() is None:
            best = trainer.folder / BEST
            if trainer.best is not None and best.exists():
                logger.info("done: best mask AP %.4f; %s", trainer.best, best)
            else:
                logger.info("done, without a best.pth; %s", trainer.folder / LAST)
        else:
            logger.info("stopped at step %d; go on with --resume %s", trainer.step, trainer.folder)
        return trainer


def evaluate(
    model: Predictor | LoadedModel | LoadedFile | Yolact,
    dataset: CocoDataset,
    settings: EvalConfig | None = None,
    *,
    precision: Precision = "fp32",
    evaluators: Sequence[Evaluator] = (),
    progress: bool = True,
    world: World = SINGLE,
) -> Evaluation:
    """Detect on every image of a data set and score the result.

    Args:
        model: a predictor, a loaded model or file, or a network, on its device.
        dataset: with the classes that the model was trained for; unless it has colours of its own, those of the model's
            configuration hold (data.white, data.background). The channels are always the model's.
        settings: threshold, NMS, number of detections, `max_images`; by default those of the model's configuration,
            and all images.
        precision: of a loaded model or a network; a predictor and a file have theirs.
        evaluators: beside COCO's metrics and speed; what their `compute` returns is added to the metrics.
        progress: show a progress bar.
        world: the ranks that share the images.

    Returns:
        The evaluation, whose `metrics` are what metrics.json holds.
    """
    channels = model.channels if isinstance(model, Yolact) else model.config.model.channels
    if settings is None:
        settings = EvalConfig() if isinstance(model, Yolact) else replace(model.config.eval, max_images=None)
    dataset = copy.copy(dataset)
    dataset.images = dataset.images[: settings.max_images]
    colours = dataset.colours._replace(channels=channels)
    if not isinstance(model, Yolact) and colours == PLAIN._replace(channels=channels):
        colours = Colours.of(model.config)  # as in training
    dataset.colours = colours
    if isinstance(model, Predictor | LoadedFile):
        runtime = model.runtime
    else:
        runtime = PyTorchRuntime(model if isinstance(model, Yolact) else model.model, precision)
    if isinstance(runtime, ExportedRuntime) and runtime.is_complete:
        inside = runtime.config.eval.score_threshold
        if settings.score_threshold != inside:
            raise UserError(
                f"'{runtime.path}' has eval.score_threshold={inside} inside, which an evaluation cannot change: leave "
                "it, or export the model again with another."
            )
    return run_evaluation(runtime, dataset, settings, evaluators=evaluators, progress=progress, world=world)
