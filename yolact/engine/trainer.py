"""The training loop: what a training consists of, and what happens between its steps."""

import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from yolact.config import Config, as_size
from yolact.data.dataset import CocoDataset
from yolact.data.loader import Batch, TrainingSet, training_loader
from yolact.data.rendering import MaskCrops
from yolact.data.transforms import Transform, make_transforms
from yolact.device import compile_options, resolve_precision
from yolact.distributed import SINGLE, World
from yolact.engine.callbacks import LAST, Callback
from yolact.engine.checkpoint import save_checkpoint
from yolact.engine.optim import (
    BatchNormStatistics,
    MovingAverage,
    Plan,
    batch_norm_size,
    keep_statistics,
    make_optimizer,
    set_training_mode,
)
from yolact.engine.state import training_state
from yolact.engine.step import StepResult, read_results, train_step
from yolact.engine.stopping import Interrupted, Stop, explained
from yolact.errors import DatasetError, GaveUpError, LoaderError, UserError
from yolact.evaluation.run import Evaluator, evaluate
from yolact.losses import LossTerm, ModelWithLoss
from yolact.losses.assigners import Assigner
from yolact.models import Yolact
from yolact.runtimes.pytorch import PyTorchRuntime
from yolact.structures import Resize, Tiles

logger = logging.getLogger(__name__)

LOADED, STOPPED, FAILED = range(3)  # what became of loading a step's batches; of several ranks the worst counts


@dataclass(frozen=True)
class Parts:
    """What a caller gives in code, in place of or beside what the configuration names; see `yolact.train`."""

    backbone: nn.Module | None = None
    assigner: Assigner | None = None
    loss_terms: Mapping[str, LossTerm] = field(default_factory=dict)
    transforms: Sequence[Transform] = ()
    evaluators: Sequence[Evaluator] = ()
    callbacks: Sequence[Callback] = ()

    @property
    def names(self) -> dict[str, list[str]]:
        """What changes the samples and the losses, as the log and checkpoints call it."""
        given = {"assigner": [self.assigner] if self.assigner else [], "transforms": self.transforms}
        names = {part: [getattr(one, "__name__", type(one).__name__) for one in ones] for part, ones in given.items()}
        return {**names, "loss_terms": sorted(self.loss_terms)}


def training_set(
    config: Config, dataset: CocoDataset, network: Yolact | None = None, transforms: Sequence[Transform] = ()
) -> TrainingSet:
    """Return the samples that a configuration makes of a data set; `transforms` come after its own.

    With `network` their targets have crops in place of whole masks where its losses need no more.
    """
    data, model, crops = config.data, config.model, None
    if network is not None and config.loss.mask_loss == "roi_align" and not model.mask_iou:
        crops = MaskCrops(config.loss.roi_size, network.map_sizes)
    return TrainingSet(
        dataset, Resize.of(model), [*make_transforms(data.augment), *transforms], config.train.seed, data.unreadable,
        data.augment.copy_paste_probability, crops, Tiles(as_size(data.tiles), 0) if data.tiles else None,
    )  # fmt: skip


class Trainer:
    """Everything that a training run consists of.

    Attributes:
        model: the network with its losses.
        step: optimizer steps done.
        position: in the endless sequence of training samples.
        metrics: of the last evaluation, as in metrics.json.
        best: highest mask AP of an evaluation so far.
        stale_evaluations: how many there have been since.
        window: sums of the losses since the last line of metrics.jsonl, and of how many "steps".
        record: the line of metrics.jsonl that is due after this step, or None.
        signal: number of the one that stopped the run, or None.
    """

    def __init__(
        self,
        config: Config,
        network: Yolact,
        folder: Path,
        train_data: CocoDataset,
        val_data: CocoDataset,
        device: torch.device,
        world: World = SINGLE,
        parts: Parts = Parts(),  # frozen
    ) -> None:
        """Bring `network` onto the device, with the main process's weights, and make optimizer, average and plan."""
        settings = config.train
        self.config, self.folder, self.device, self.world, self.parts = config, folder, device, world, parts
        self.train_data, self.val_data, self.directory = train_data, val_data, Path.cwd()
        self.plan = Plan(settings, len(training_set(config, train_data)))
        self.precision = resolve_precision(settings.precision, device)
        frozen_batch_norm = not batch_norm_size(settings, world)
        network.to(device)
        if settings.channels_last:
            network.to(memory_format=torch.channels_last)
        world.broadcast_weights(network)
        if settings.sync_batch_norm and world.size > 1 and not frozen_batch_norm:
            nn.SyncBatchNorm.convert_sync_batchnorm(network)  # names of parameters and buffers stay the same
        if settings.compile:
            network.compile(**compile_options(device))
        self.model = ModelWithLoss(network, config.loss, world, terms=parts.loss_terms, assigner=parts.assigner)
        frozen = [getattr(network, name) for name in settings.freeze]
        set_training_mode(self.model, frozen_batch_norm, [part for part in frozen if part is not None])
        self.optimizer = make_optimizer(network, settings)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "fp16")
        self.average = MovingAverage(network, settings.ema_decay) if settings.ema_decay else None
        self.statistics = BatchNormStatistics(self.model)
        # What a step calls in place of `model`. Levels between prototypes and head have an output that nobody reads.
        own = parts.backbone is not None or bool(parts.loss_terms)
        self.replica = world.replicate(self.model, own or network.num_mask_only > 1)
        self.keeping_from = math.ceil(settings.keep_statistics_from * self.plan.max_steps)  # step, of batch norms
        self.callbacks: list[Callback] = []
        self.step = self.position = 0
        self.awaits_evaluation = False  # one is due at this step and has not been done
        self.best: float | None = None
        self.stale_evaluations = 0
        self.metrics: dict[str, Any] | None = None
        self.further: dict[str, Any] = {}  # those of the last evaluation that evaluators given in code computed
        self.nonfinite_steps = self.nonfinite_in_a_row = 0  # steps left out
        self.window: Counter[str] = Counter()
        self.record: dict[str, Any] | None = None
        self.unread: list[StepResult] = []  # results that the host has not looked at
        self.saved: Path | None = None  # the last whole checkpoint of this run ...
        self.saved_step = 0  # ... and its step
        self.signal: int | None = None
        self._ends = False

    @property
    def network(self) -> Yolact:
        """The network to evaluate: the moving average where one is kept."""
        return self.model.model if self.average is None else self.average.model  # type: ignore[return-value]

    def stop(self) -> None:
        """End the training after this step; called on every rank."""
        self._ends = True

    def fit(self) -> int | None:
        """Train until the plan's last step, evaluating and saving on the way.

        Returns:
            None when the run is complete, or the number of the signal that stopped it after a step; the checkpoint is
            saved either way.

        Raises:
            UserError: too many non-finite losses in a row, an image that cannot be read, a full disk, too little
                memory, or a loader's worker that died. Where only the loading failed, the checkpoint is saved.
        """
        last, settings = self.plan.max_steps, self.config.train
        bar = tqdm(
            desc="train", unit="step", total=last, initial=self.step, dynamic_ncols=True,
            disable=not self.world.is_main_process,
        )  # fmt: skip
        with explained(self), Stop() as stop, bar, closing(self.batches()) as batches:
            if self.step > self.keeping_from:  # the checkpoint has them
                keep_statistics(self.model.model)
            if self.awaits_evaluation:
                self._evaluate(stop)
            while self.step < last and not self.awaits_evaluation and not self._ends:
                group = self._load(batches, stop)
                if group is None:
                    break
                if self.step == self.keeping_from:
                    logger.info("batch norm keeps its statistics from now on (train.keep_statistics_from): losses rise")
                    self._keep_statistics()
                train_step(self, group)
                self._note_step(bar)
                if self._is_due(settings.eval_every):
                    self.awaits_evaluation = True
                    self.save(LAST)
                    self._evaluate(stop)
                elif settings.save_every and self.step % settings.save_every == 0:
                    self.save(LAST)
            self.signal = self.world.maximum(stop.number or 0) or None
            if self.saved is None or self.saved_step < self.step:
                self.save(LAST)
            with self.world.raising_on_all():  # as the first to end makes torchrun end the others
                for callback in self.callbacks:
                    callback.on_end(self)
        return self.signal

    def batches(self) -> Any:
        """Return a generator of the batches from `position` on."""
        data, settings = self.config.data, self.config.train
        network = None if self.parts.loss_terms else self.network  # a loss term of one's own may look at whole masks
        samples = training_set(self.config, self.train_data, network, self.parts.transforms)
        loader = training_loader(
            samples, settings.batch_size, self.position, data.num_workers, [*map(as_size, settings.image_sizes)],
            data.worker_timeout,
            self.world,
            self.plan.max_steps * self.plan.images_per_step if settings.image_size_order == "progressive" else None,
        )  # fmt: skip
        return iter(loader)

    def _load(self, batches: Iterator[Batch], stop: Stop) -> list[Batch] | None:
        """Return all batches of a step before it begins, so that nothing is half done where one fails; None to stop.

        Several ranks agree on what happens.
        """
        group, failure = None, None
        try:
            with stop.interrupting():
                group = list(islice(batches, self.config.train.accumulate))
        except Interrupted:
            pass
        except (DatasetError, LoaderError) as error:
            failure = None if stop else error  # a signal to all processes ends the loader's too
        state = self.world.maximum(FAILED if failure else STOPPED if group is None else LOADED)
        if state == FAILED:
            if self.saved_step < self.step:
                self.save(LAST)
            if self.saved is not None:
                logger.info("saved at step %d; when it is mended, go on with --resume %s", self.step, self.folder)
            raise failure or GaveUpError()
        return group if state == LOADED else None

    def _keep_statistics(self) -> None:
        """Have batch norms keep what they have learned; see `train.keep_statistics_from`."""
        keep_statistics(self.model.model, None if self.average is None else self.average.model)
        self.world.broadcast_weights(self.model.model)

    def _note_step(self, bar: "tqdm[Any]") -> None:
        """Show the step on the progress bar and call the callbacks, with the mean losses where a line is due."""
        due = self._is_due(self.config.train.log_every)
        if due or self.device.type == "cpu":  # other devices compute on while the host prepares the next step
            read_results(self)
        count = self.window["steps"]
        means = {name: total / count for name, total in self.window.items() if name != "steps"}
        lr = self.plan.learning_rate(self.step - 1)
        bar.set_postfix({**{name: f"{value:.2f}" for name, value in means.items()}, "lr": f"{lr:.1e}"}, refresh=False)
        bar.update()
        self.record = None
        if due:
            self.record = {"step": self.step, "lr": lr, "losses": means}
            if means:
                self.record["total"] = sum(means.values())
            if self.nonfinite_steps:
                self.record["nonfinite_steps"] = self.nonfinite_steps
            self.window.clear()
        for callback in self.callbacks:
            callback.on_step(self)

    def _is_due(self, every: int | None) -> bool:
        """Tell whether what happens every so many steps, and after the last one, does now."""
        return self.step == self.plan.max_steps or (every is not None and self.step % every == 0)

    def _evaluate(self, stop: Stop) -> None:
        """Evaluate, call the callbacks, and save last.pth.

        A signal ends it without a result: last.pth says that the evaluation is still to be done.
        """
        self.world.broadcast_weights(self.network)  # statistics of batch norms are each rank's own
        try:
            result = evaluate(
                PyTorchRuntime(self.network, self.precision), self.val_data, self.config.eval,
                evaluators=self.parts.evaluators, world=self.world, guard=stop.interrupting,
            )  # fmt: skip
        except (Interrupted, GaveUpError):
            return
        self.metrics, self.further, self.awaits_evaluation = result.metrics, result.further, False
        found = [(name, self.metrics[kind]["AP"]) for name, kind in (("mask", "segm"), ("box", "bbox"))]
        scores = ", ".join(f"{name} AP {'not defined' if ap is None else f'{ap:.4f}'}" for name, ap in found)
        nothing = "" if found[0][1] is not None else f": {self.config.data.val_annotations} has no objects to score"
        logger.info("step %d: %s%s", self.step, scores, nothing)
        for callback in self.callbacks:  # the best checkpoint before last.pth, which says that it has been saved
            callback.on_evaluate(self)
        self.save(LAST)

    def save(self, name: str) -> None:
        """Write the checkpoint `name` into the run folder; the last.pth of before is kept as last.prev.pth.

        UserError if it cannot be written, on all ranks, or the weights are not finite any more.
        """
        read_results(self)
        state, path = training_state(self), self.folder / name
        broken = _first_not_finite(state["model"])
        if broken is not None:
            raise UserError(
                f"The weights are not finite after step {self.step} ('{broken}' is the first): lower train.lr or set "
                f"train.clip_norm; {self.last_checkpoint()}."
            )
        with self.world.raising_on_all():  # torchrun ends those that still write as soon as another one has stopped
            if self.world.is_main_process:
                save_checkpoint(state, path, previous=self.saved if name == LAST else None)
        if name == LAST:
            self.saved, self.saved_step = path, self.step

    def last_checkpoint(self) -> str:
        """Say, as the end of a sentence, where the run can go on after a failure."""
        if self.saved is None:
            return "no checkpoint had been saved yet"
        return f"go on from step {self.saved_step} with --resume {self.saved}"


def _first_not_finite(weights: dict[str, Tensor]) -> str | None:
    values = {name: value for name, value in weights.items() if value.is_floating_point()}
    finite = torch.stack([value.isfinite().all() for value in values.values()]).tolist()
    return next((name for name, is_finite in zip(values, finite, strict=True) if not is_finite), None)
