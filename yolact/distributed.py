"""A program shared out to several processes, one for each GPU, as torchrun starts them; without torchrun there is one.

    with joined_processes() as processes:
        ...

What processes tell each other is numbers and JSON, never pickled objects, which could be code.
"""

import inspect
import json
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from yolact.device import pick_device
from yolact.errors import GaveUpError, LostProcessError, UserError

# How long a process waits for another one. The longest wait is for the first process to compute the figures of an
# evaluation, a minute on COCO. A process that ends is noticed at once, so this is for those that hang.
TIMEOUT = timedelta(minutes=30)
# torchrun kills 30 seconds after a signal that it passes on; this is earlier, with a word. SIGUSR1 it does not know:
# who sends that gives as much time as a step and a checkpoint need.
SECONDS_TO_LEAVE = 20.0
PASSED_ON = (signal.SIGINT, signal.SIGTERM)
T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The processes that share out a program: which of them this is, and what they do together.

    All of them call the same methods in the same order. One process alone waits for nobody.

    Attributes:
        rank: of this process, from 0.
        count: of processes, on all machines.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Tell whether this is the process that writes files and talks to the user."""
        return self.rank == 0

    def share(self, size: int) -> int:
        """Return how many of `size` pictures belong to each process; `size` is a multiple of `count`."""
        assert size % self.count == 0, (size, self.count)
        return size // self.count

    def own(self, place: int, size: int) -> bool:
        """Tell whether the picture at `place` of a batch of `size` belongs to this process: they take equal runs."""
        return place // self.share(size) == self.rank

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over all processes of `values`, which need no gradient and may lie on any device."""
        if self.count > 1:
            values = values.detach().clone()
            dist.all_reduce(values)
        return values

    def largest(self, value: int) -> int:
        """Return the largest of all processes' values."""
        if self.count == 1:
            return value
        values = torch.tensor([value])
        dist.all_reduce(values, dist.ReduceOp.MAX)
        return int(values)

    def collect(self, value: Any) -> list[Any]:
        """Return what each process gives, JSON data, in the order of their ranks; the first process alone gets it."""
        if self.count == 1:
            return [value]
        content = _encoded(value)
        sizes = [torch.zeros_like(content[:1], dtype=torch.int64) for _ in range(self.count)]
        dist.all_gather(sizes, torch.tensor([len(content)]))
        longest = int(max(sizes))
        padded = nn.functional.pad(content, (0, longest - len(content)))
        received = [torch.empty_like(padded) for _ in range(self.count)] if self.first else None
        dist.gather(padded, received, dst=0)
        return [_decoded(part[: int(size)]) for part, size in zip(received or [], sizes, strict=False)]

    def all_of(self, value: Any) -> list[Any]:
        """Return what each process gives, JSON data, in the order of their ranks."""
        values = self.collect(value)
        return self.from_first(lambda: values)

    def from_first(self, make: Callable[[], T]) -> T:
        """Return the JSON data that `make` gives in the first process, where alone it is called.

        Raises:
            GaveUpError: `make` failed there.
        """
        if self.count == 1:
            return make()
        content = torch.empty(0, dtype=torch.uint8)
        with self.together():
            if self.first:
                content = _encoded(make())
        size = torch.tensor([len(content)])
        dist.broadcast(size, src=0)
        if not self.first:
            content = torch.empty(int(size), dtype=torch.uint8)
        dist.broadcast(content, src=0)
        value: T = _decoded(content)
        return value

    @contextmanager
    def together(self) -> Iterator[None]:
        """Leave the block together: where an exception ends it in one process, it ends in all.

        Inside, the processes do not exchange anything.

        Raises:
            GaveUpError: in the other processes.
        """
        try:
            yield
        except BaseException:
            with suppress(RuntimeError):
                self.largest(1)
            raise
        if self.largest(0):
            raise GaveUpError

    def require_equal(self, facts: dict[str, Any]) -> None:
        """Refuse to work where processes disagree on named facts, JSON data.

        Raises:
            UserError: another process found something else.
        """
        theirs = self.from_first(lambda: facts)
        own = json.loads(json.dumps(facts))
        different = [name for name, value in own.items() if theirs.get(name) != value]
        if different:
            raise UserError(
                f"Process {self.rank} ({socket.gethostname()}) and process 0 must read the same {different[0]}, but "
                f"got {own[different[0]]} and {theirs.get(different[0])}: give all machines the same files."
            )

    def copy_from_first(self, module: nn.Module) -> None:
        """Give the parameters and buffers of `module` the values that they have in the first process."""
        if self.count > 1:
            for value in module.state_dict().values():
                dist.broadcast(value, src=0)

    def replicate(self, module: nn.Module) -> nn.Module:
        """Return a module that averages the gradients of `module` over all processes."""
        if self.count == 1:
            return module
        replicated = nn.parallel.DistributedDataParallel
        # Buffers are left alone: of batch norms those of the first process count, and no others change. PyTorch 2.15
        # has another name for it.
        names = {"broadcast_buffers", "forward_sync_buffers"} & set(inspect.signature(replicated).parameters)
        options = {max(names): False, "gradient_as_bucket_view": True}
        return replicated(module, **options)  # type: ignore[arg-type]

    @contextmanager
    def averaging(self, replica: nn.Module, now: bool) -> Iterator[None]:
        """Let the backward pass of this block average the gradients with those of all before it, or leave them be."""
        if now or self.count == 1:
            yield
            return
        assert isinstance(replica, nn.parallel.DistributedDataParallel)
        with replica.no_sync():
            yield


ALONE = Processes()


def _encoded(value: Any) -> Tensor:
    return torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)


def _decoded(content: Tensor) -> Any:
    return json.loads(content.numpy().tobytes())


def own_device(name: str | None = None) -> torch.device:
    """Return the device of this process: what `pick_device` returns, but of several processes each has its own GPU.

    Raises:
        UserError: there is no such device, or there are fewer GPUs than processes on this machine.
    """
    device = pick_device(name)
    count = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if launched() else 1
    if count == 1 or device.type == "cpu":
        return device
    if device.type != "cuda":
        raise UserError(f"Device '{device}' cannot be shared by {count} processes: use cpu or cuda, or one process.")
    if device.index is not None:
        raise UserError(
            f"Device '{device}' would be that of all {count} processes: leave the number out, and choose GPUs by "
            "CUDA_VISIBLE_DEVICES."
        )
    available = torch.cuda.device_count()
    if count > available:
        raise UserError(
            f"{count} processes were started on this machine, one for each GPU, but it has {available}: give torchrun "
            f"--nproc-per-node {available}, or --device cpu."
        )
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device


def launched() -> bool:
    """Tell whether torchrun started this process."""
    return dist.is_available() and dist.is_torchelastic_launched()


@contextmanager
def joined_processes() -> Iterator[Processes]:
    """Join the other processes that torchrun started, if it did, until the end of the block.

    Of equal mistakes that several processes find, one tells the user; the others leave with code 2 and without a word.

    Raises:
        LostProcessError: another process ended, or cannot be reached.
    """
    count = int(os.environ["WORLD_SIZE"]) if launched() else 1
    if count == 1:
        yield ALONE
        return
    try:
        with lost_processes(), _leaving_in_time():
            # Numbers and JSON are exchanged in the host's memory, so that no GPU is waited for.
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
            dist.init_process_group(backend, timeout=TIMEOUT)
            yield Processes(dist.get_rank(), count)
            dist.destroy_process_group()
    except UserError as error:
        if isinstance(error, GaveUpError) or not _first_to_say(str(error)):
            sys.exit(2)
        raise


@contextmanager
def lost_processes() -> Iterator[None]:
    """Turn the errors of a connection to another process into a LostProcessError."""
    try:
        yield
    except RuntimeError as error:
        sentence = how_lost(error)
        if sentence is None:
            raise
        raise LostProcessError(f"{sentence}.") from error


def how_lost(error: Exception) -> str | None:
    """Return a sentence, without its full stop, if `error` comes from a connection to another process."""
    if not ((launched() and isinstance(error, dist.DistError)) or re.search("gloo|NCCL", str(error))):
        return None
    # The library's first sentence, without places in its source and addresses.
    reason = re.sub(r"\[[^]]*\](:\d+:?)?", "", str(error).splitlines()[0]).partition(". ")[0]
    return (
        f"Another process of this program ended or cannot be reached ({' '.join(reason.split()).rstrip('.')}), so this "
        "one ends too; it has said why, unless it was killed"
    )


def _first_to_say(sentence: str) -> bool:
    """Tell whether no process has said this before, as far as torchrun's store can still tell."""
    try:
        store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), timeout=timedelta(seconds=5))
        return store.add(f"yolact/{os.environ['TORCHELASTIC_RESTART_COUNT']}/{sentence}", 1) == 1
    except (RuntimeError, KeyError):
        return True


@contextmanager
def _leaving_in_time() -> Iterator[None]:
    """End this process `SECONDS_TO_LEAVE` after a signal that torchrun passes on, if the block has not ended by itself.

    While a library waits for another process that hangs, Python's own handlers of signals do not run.
    """
    waker, woken = socket.socketpair()
    waker.setblocking(False)
    done = threading.Event()

    def watch() -> None:
        with woken:
            while number := woken.recv(1):
                if number[0] in PASSED_ON and not done.wait(SECONDS_TO_LEAVE):
                    name = signal.Signals(number[0]).name
                    reason = "a step waits for another process, or takes very long"
                    print(f"error: {name} came {SECONDS_TO_LEAVE:g} seconds ago, and {reason}: left without saving.",
                          file=sys.stderr, flush=True)  # fmt: skip
                    os._exit(128 + number[0])

    threading.Thread(target=watch, daemon=True).start()
    previous = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        done.set()
        signal.set_wakeup_fd(previous)
        waker.close()
