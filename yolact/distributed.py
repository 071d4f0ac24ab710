"""A program on several ranks, one for each GPU, as torchrun starts them; without torchrun there is one.

with joined_world() as world:
    ...
"""

import inspect
import os
import re
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from yolact.device import pick_device
from yolact.errors import GaveUpError, LostProcessError, UserError

# How long a rank waits for another one. The longest wait is for the main process to compute COCO's metrics, a minute on
# COCO. A rank that ends is noticed at once, so this is for those that hang.
TIMEOUT = timedelta(minutes=30)
T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The ranks of a program. All call the same methods in the same order; one rank alone waits for nobody."""

    rank: int = 0
    size: int = 1

    @property
    def is_main_process(self) -> bool:
        """Tell whether this is the rank that writes files and talks to the user."""
        return self.rank == 0

    def share(self, batch_size: int) -> int:
        """Return how many images of a batch belong to each rank; `batch_size` is a multiple of `size`."""
        assert batch_size % self.size == 0, (batch_size, self.size)
        return batch_size // self.size

    def all_reduce(self, values: Tensor) -> Tensor:
        """Return the sum over all ranks of `values`, which need no gradient and may lie on any device."""
        if self.size > 1:
            values = values.detach().clone()
            dist.all_reduce(values)
        return values

    def maximum(self, value: int) -> int:
        """Return the largest of all ranks' values."""
        if self.size == 1:
            return value
        values = torch.tensor([value])
        dist.all_reduce(values, dist.ReduceOp.MAX)
        return int(values)

    def gather(self, value: T) -> list[T]:
        """Return what each rank gives, in the order of their ranks; the main process alone gets it."""
        if self.size == 1:
            return [value]
        received: list[Any] | None = [None] * self.size if self.is_main_process else None
        dist.gather_object(value, received, dst=0)
        return received or []

    def all_gather(self, value: T) -> list[T]:
        """Return what each rank gives, in the order of their ranks."""
        received: list[Any] = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(received, value)
        return received

    def broadcast(self, make: Callable[[], T]) -> T:
        """Return what `make` gives in the main process, where alone it is called; GaveUpError if it failed there."""
        if self.size == 1:
            return make()
        value: list[Any] = [None]
        with self.raising_on_all():
            if self.is_main_process:
                value = [make()]
        dist.broadcast_object_list(value, src=0)
        result: T = value[0]
        return result

    @contextmanager
    def raising_on_all(self) -> Iterator[None]:
        """Leave the block on all ranks at once: an exception on one rank is a GaveUpError on the others.

        Inside, the ranks do not exchange anything.
        """
        try:
            yield
        except BaseException:
            with suppress(RuntimeError):
                self.maximum(1)
            raise
        if self.maximum(0):
            raise GaveUpError

    def require_equal(self, facts: dict[str, Any]) -> None:
        """Raise UserError where another rank found something else of named facts."""
        expected = self.all_gather(facts)[0]
        for name, value in facts.items():
            if expected.get(name) != value:
                raise UserError(
                    f"Rank {self.rank} ({socket.gethostname()}) and rank 0 must read the same {name}, but got {value} "
                    f"and {expected.get(name)}: give all machines the same files."
                )

    def broadcast_weights(self, module: nn.Module) -> None:
        """Give the parameters and buffers of `module` the values that they have in the main process."""
        if self.size > 1:
            for value in module.state_dict().values():
                dist.broadcast(value, src=0)

    def replicate(self, module: nn.Module, leaves_some_out: bool = False) -> nn.Module:
        """Return a module that averages the gradients of `module` over all ranks.

        Those that get none are looked for in each step where it may leave parameters out of its losses.
        """
        if self.size == 1:
            return module
        replicated = nn.parallel.DistributedDataParallel
        # Buffers are left alone: of batch norms those of the main process count, and no others change. PyTorch 2.15
        # has another name for it.
        names = {"broadcast_buffers", "forward_sync_buffers"} & set(inspect.signature(replicated).parameters)
        options = {max(names): False, "gradient_as_bucket_view": True, "find_unused_parameters": leaves_some_out}
        warnings.filterwarnings("ignore", "find_unused_parameters=True was specified")  # which costs little
        return replicated(module, **options)  # type: ignore[arg-type]

    def averaging(self, replica: nn.Module, now: bool) -> AbstractContextManager[None]:
        """Let the backward pass of this block average the gradients with those of all before it, or leave them be."""
        if now or not isinstance(replica, nn.parallel.DistributedDataParallel):
            return nullcontext()
        return replica.no_sync()


SINGLE = World()


def local_device(name: str | None = None) -> torch.device:
    """Return the device of this rank: what `pick_device` returns, but of several ranks each has a GPU to itself.

    Raises:
        UserError: there is no such device, or there are fewer GPUs than ranks on this machine.
    """
    device = pick_device(name)
    local_world_size = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if launched() else 1
    if local_world_size == 1 or device.type == "cpu":
        return device
    if device.type != "cuda" or device.index is not None:
        raise UserError(
            f"Device '{device}' cannot be that of all {local_world_size} ranks: use cpu, or cuda without a number and "
            "choose GPUs by CUDA_VISIBLE_DEVICES."
        )
    available = torch.cuda.device_count()
    if local_world_size > available:
        raise UserError(
            f"{local_world_size} ranks were started on this machine, one for each GPU, but it has {available}: give "
            f"torchrun --nproc-per-node {available}, or --device cpu."
        )
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device


def launched() -> bool:
    """Tell whether torchrun started this process."""
    return dist.is_available() and dist.is_torchelastic_launched()


@contextmanager
def joined_world() -> Iterator[World]:
    """Join the other ranks that torchrun started, if it did, until the end of the block.

    Of equal mistakes that several ranks find, one tells the user; the others leave with code 2 and without a word.

    Raises:
        LostProcessError: another rank ended, or cannot be reached.
    """
    size = int(os.environ["WORLD_SIZE"]) if launched() else 1
    if size == 1:
        yield SINGLE
        return
    try:
        # What the host decides by is exchanged in its memory, so that no GPU is waited for.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        dist.init_process_group(backend, timeout=TIMEOUT)
        yield World(dist.get_rank(), size)
        dist.destroy_process_group()
    except RuntimeError as error:
        lost = how_lost(error)
        if lost is None:
            raise
        _leave_if_said(lost)
        raise LostProcessError(f"{lost}.") from error
    except GaveUpError:
        sys.exit(2)
    except UserError as error:
        _leave_if_said(str(error))
        raise


def how_lost(error: Exception) -> str | None:
    """Return a sentence, without its full stop, if `error` comes from a connection to another rank."""
    if not ((launched() and isinstance(error, dist.DistError)) or re.search("gloo|NCCL", str(error))):
        return None
    # The library's first sentence, without places in its source and addresses.
    reason = re.sub(r"\[[^]]*\](:\d+:?)?", "", str(error).splitlines()[0]).partition(". ")[0]
    return (
        f"Another rank of this program ended or cannot be reached ({' '.join(reason.split()).rstrip('.')}), so this "
        "one ends too; it has said why, unless it was killed"
    )


def _leave_if_said(sentence: str) -> None:
    """End this process with code 2 where another rank has said this before, as far as torchrun's store can tell."""
    try:
        store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), timeout=timedelta(seconds=5))
        number = store.add(f"yolact/{os.environ['TORCHELASTIC_RESTART_COUNT']}/{sentence}", 1)
    except (RuntimeError, KeyError):
        return
    if number > 1:
        sys.exit(2)
