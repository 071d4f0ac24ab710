"""Another implementation in a process of its own, which takes turns with this one."""

import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from yolact.benchmark.other import load_builder
from yolact.benchmark.timing import TakenElsewhere
from yolact.errors import UserError


@contextmanager
def other_process(path: Path, stage: str) -> Iterator[Callable[..., "OtherStage"] | None]:
    """Give the function of this name in a user's file, or None if it has none; it works in a process of its own.

    So neither implementation gets what the other does to its process, such as how freed memory is kept, and both can
    still take turns. Short stages are better measured in one process: for a millisecond after a call, threads of the
    one process would still look for work on a core that the other needs.

    The function's arguments and its stage's inputs are sent there; each input is sent once and must not change. A call
    of the stage returns how long it took there.

    Raises:
        UserError: the file is missing or cannot be imported; also from the function and its stage, where they fail.
    """
    context = multiprocessing.get_context("spawn")
    connection, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, path, stage), daemon=True)
    process.start()
    theirs.close()
    other = _Other(connection, path)
    try:
        yield other.build if other.ask("exists") else None
    finally:
        connection.close()
        process.join()


class _Other:
    """This end of the connection: asks one of `_Answers`' methods by its name."""

    def __init__(self, connection: Connection, path: Path) -> None:
        self.connection, self.path = connection, path
        self.sent: dict[int, object] = {}  # by their ids, which stay theirs as long as the objects are held here

    def build(self, *arguments: object) -> "OtherStage":
        return OtherStage(self, self.ask("build", arguments))

    def ask(self, *question: object) -> Any:
        try:
            self.connection.send(question)
            answer = self.connection.recv()
        except (EOFError, OSError) as error:
            raise UserError(f"The process that ran '{self.path}' for --compare has died.") from error
        if isinstance(answer, UserError):
            raise answer
        return answer


class OtherStage:
    """A stage of the other process."""

    def __init__(self, other: _Other, number: int) -> None:
        self.other, self.number = other, number

    def __call__(self, *inputs: object) -> TakenElsewhere:
        new = {id(given): given for given in inputs if id(given) not in self.other.sent}
        self.other.sent |= new
        return TakenElsewhere(self.other.ask("time", self.number, new, [id(given) for given in inputs]))


def _serve(connection: Connection, path: Path, stage: str) -> None:
    """Answer until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the asking process ends, and then this one
    answers = _Answers(path, stage)
    with suppress(EOFError, BrokenPipeError):
        while True:
            what, *details = connection.recv()
            try:
                answer = getattr(answers, what)(*details)
            except UserError as error:
                answer = error
            except Exception as error:
                traceback.print_exc()  # the one thing that tells where the fault is
                answer = UserError(f"'{path}' failed in its '{stage}': {type(error).__name__}: {error}.")
            connection.send(answer)


class _Answers:
    """The other end of the connection: has the user's function, the stages it built and their inputs."""

    def __init__(self, path: Path, stage: str) -> None:
        self.path, self.stage = path, stage
        self.builder: Callable[..., Any] | None = None
        self.built: list[Callable[..., object]] = []
        self.kept: dict[int, object] = {}

    def exists(self) -> bool:
        self.builder = load_builder(self.path, self.stage)
        return self.builder is not None

    def build(self, arguments: tuple[object, ...]) -> int:
        """Return the number of the new stage."""
        assert self.builder is not None
        self.built.append(self.builder(*arguments))
        return len(self.built) - 1

    def time(self, number: int, new: dict[int, object], inputs: list[int]) -> float:
        """Return the milliseconds of a call of a stage."""
        self.kept |= new
        given = [self.kept[key] for key in inputs]
        start = time.perf_counter()
        self.built[number](*given)
        return (time.perf_counter() - start) * 1000
