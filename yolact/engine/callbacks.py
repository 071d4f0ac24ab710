"""What happens beside a training: logging, TensorBoard, the best checkpoint."""

import json
import logging
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolact.errors import UserError

if TYPE_CHECKING:
    from yolact.engine.trainer import Trainer

logger = logging.getLogger(__name__)

LAST, BEST = "last.pth", "best.pth"
METRICS_FILE = "metrics.jsonl"


class Callback:
    """Called by the trainer on every rank; the methods that a callback does not need do nothing.

    A callback reads the trainer (`step`, `metrics`, `window` with the sums of losses, `model`, `folder`, `config`) and
    may end the training by `trainer.stop()`.
    """

    def on_step(self, trainer: "Trainer") -> None:
        """After each optimizer step."""

    def on_evaluate(self, trainer: "Trainer") -> None:
        """After each evaluation, whose result is `trainer.metrics`, and before the checkpoint is saved."""

    def on_end(self, trainer: "Trainer") -> None:
        """After the last step, or when the training is stopped."""


class BestCheckpoint(Callback):
    """Save best.pth when the mask AP is the highest so far; end a training that has not improved on it for long.

    Where nothing is to be found there is no AP and no best.
    """

    def on_evaluate(self, trainer: "Trainer") -> None:
        assert trainer.metrics is not None
        mask_ap = trainer.metrics["segm"]["AP"]
        if mask_ap is None:
            return
        if trainer.best is None or mask_ap > trainer.best:
            trainer.best, trainer.stale_evaluations = mask_ap, 0
            trainer.save(BEST)
        elif trainer.plan.is_at_last_size(trainer.step - 1):  # before, more is to come than the last steps brought
            trainer.stale_evaluations += 1
            patience = trainer.config.train.patience
            if patience is not None and trainer.stale_evaluations >= patience:
                logger.info("no better mask AP in %d evaluations (train.patience): the training ends", patience)
                trainer.stop()


class Records(Callback, ABC):
    """Writes a record {"step", "lr", "losses", ...} every `log_every` steps, and {"step", "evaluation"}."""

    def on_step(self, trainer: "Trainer") -> None:
        if trainer.record is not None:
            self.write(trainer.record)

    def on_evaluate(self, trainer: "Trainer") -> None:
        assert trainer.metrics is not None
        of_coco = {kind: trainer.metrics[kind] for kind in ("segm", "bbox")}
        self.write({"step": trainer.step, "evaluation": of_coco | trainer.further})

    @abstractmethod
    def write(self, record: dict[str, Any]) -> None:
        """Write one record."""


class MetricsFile(Records):
    """metrics.jsonl: one JSON object a line.

    The file holds nothing that depends on the machine's speed, so two equal runs write equal files. Opened for a run
    that goes on at some step, it is cut after the last line that the checkpoint knows of: the rest will be written
    again. Each line is on the disk before the checkpoint that is saved next.
    """

    def __init__(self, folder: Path, step: int, evaluated: bool = True) -> None:
        """Open the file of a run that goes on from a checkpoint at `step`, `evaluated` if it knows of an evaluation."""
        self.path = folder / METRICS_FILE
        try:
            self.file = self.path.open("a+b", buffering=0)
            self.file.truncate(self._known(step, evaluated))
        except OSError as error:
            raise UserError(f"{self.path} cannot be written ({error.strerror}): see to its permissions.") from error

    def _known(self, step: int, evaluated: bool) -> int:
        """Return how many bytes there are up to the last line that a checkpoint at `step` knows of."""
        known = place = 0
        for line in self.path.read_bytes().splitlines(keepends=True):
            place += len(line)
            try:
                at = json.loads(line)["step"]
            except (ValueError, KeyError):  # a kill cut it short
                continue
            if line.endswith(b"\n") and (at < step or (at == step and (evaluated or b'"evaluation"' not in line))):
                known = place
        return known

    def on_end(self, trainer: "Trainer") -> None:
        self.file.close()

    def write(self, record: dict[str, Any]) -> None:
        """Append one line, or part of one where the disk is full, which is dropped when the run goes on."""
        rest = (json.dumps(record) + "\n").encode()
        try:
            while rest:
                rest = rest[self.file.write(rest) :]
            os.fsync(self.file.fileno())
        except OSError as error:
            raise UserError(
                f"{self.path} could not be written ({error.strerror}): make room and go on with --resume "
                f"{self.path.parent}."
            ) from error


class TensorBoard(Records):
    """The same numbers as TensorBoard events."""

    def __init__(self, folder: Path, step: int) -> None:
        """Begin at `step`; what older events say of later steps is dropped. UserError if it is not installed."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UserError(
                "train.tensorboard is true, but TensorBoard is not installed: run `pip install tensorboard`, or leave "
                "it out; metrics.jsonl and the plots are written in any case."
            ) from None
        self.writer: Any = SummaryWriter(str(folder), purge_step=step)

    def on_end(self, trainer: "Trainer") -> None:
        self.writer.close()

    def write(self, record: dict[str, Any]) -> None:
        """Write the numbers of a record, those of dicts in it as "losses/box"."""
        self._add({name: value for name, value in record.items() if name != "step"}, record["step"])

    def _add(self, values: dict[str, Any], step: int, prefix: str = "") -> None:
        for name, value in values.items():
            if isinstance(value, dict):
                self._add(value, step, f"{prefix}{name}/")
            elif isinstance(value, int | float):
                self.writer.add_scalar(prefix + name, float(value), step)
