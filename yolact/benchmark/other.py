"""Another implementation to measure beside this one: a Python file of the user's that builds the same stages.

The file has a function for each stage that it wants compared, by the names and with the arguments that the functions
of `yolact.benchmark` say; what it leaves out is measured for this project alone. Its stages turn gradients off by
themselves where they need none.
"""

import importlib.util
import multiprocessing
import pickle
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from yolact.benchmark.timing import TakenElsewhere
from yolact.device import DTYPES
from yolact.errors import UserError

COMPARED = ", compared"  # what the names of the other implementation's stages end with


def base_name(stage: str) -> str:
    """Return the name of a stage without its precision, or without the mark of the other implementation."""
    name = stage.removesuffix(COMPARED)
    ending = next((f" {precision}" for precision in DTYPES if name.endswith(f" {precision}")), "")
    return name.removesuffix(ending)


def load_builder(path: Path, stage: str) -> Callable[..., Any] | None:
    """Return the function of this name in a user's file, or None if it has none.

    Raises:
        UserError: the file is missing or cannot be imported.
    """
    specification = importlib.util.spec_from_file_location("compared_implementation", path)
    if specification is None or specification.loader is None or not path.is_file():
        raise UserError(f"'{path}' is no Python file; --compare expects one that builds stages to compare with.")
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        raise UserError(
            f"'{path}' cannot be imported ({type(error).__name__}: {error}); --compare expects a Python file that "
            "builds stages to compare with."
        ) from error
    builder: Callable[..., Any] | None = getattr(module, stage, None)
    return builder


@contextmanager
def other_process(path: Path, stage: str) -> Iterator[Callable[..., Any] | None]:
    """Give the function of this name in a user's file, or None if it has none; it works in a process of its own.

    So neither implementation gets what the other does to its process, such as how freed memory is kept, and both can
    still take turns. The function's arguments and the inputs of the stages that it returns, one or a dictionary, are
    sent there; each input is sent once and must not change. A call of a stage returns how long it took there.

    Raises:
        UserError: the file is missing or cannot be imported; also from the function and its stages, where they fail.
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

    def build(self, *arguments: object) -> "OtherStage | dict[str, OtherStage]":
        number, names = self.ask("build", arguments)
        if names is None:
            return OtherStage(self, number, None)
        return {name: OtherStage(self, number, name) for name in names}

    def ask(self, *question: object) -> Any:
        try:
            self.connection.send_bytes(pickle.dumps(question))
            answer = pickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError) as error:
            raise UserError(f"The process that ran '{self.path}' for --compare has died.") from error
        if isinstance(answer, UserError):
            raise answer
        return answer


class OtherStage:
    """A stage of the other process."""

    def __init__(self, other: _Other, number: int, name: str | None) -> None:
        self.other, self.number, self.name = other, number, name

    def __call__(self, *inputs: object) -> TakenElsewhere:
        return TakenElsewhere(self._ask("time", inputs))

    def result(self, *inputs: object) -> Any:
        """Return what the stage makes of the inputs."""
        return self._ask("result", inputs)

    def _ask(self, what: str, inputs: tuple[object, ...]) -> Any:
        new = {id(given): given for given in inputs if id(given) not in self.other.sent}
        self.other.sent |= new
        return self.other.ask(what, self.number, self.name, new, [id(given) for given in inputs])


def _serve(connection: Connection, path: Path, stage: str) -> None:
    """Answer until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the asking process ends, and then this one
    answers = _Answers(path, stage)
    with suppress(EOFError, BrokenPipeError):
        while True:
            what, *details = pickle.loads(connection.recv_bytes())
            try:
                answer = getattr(answers, what)(*details)
            except UserError as error:
                answer = error
            except Exception as error:
                traceback.print_exc()  # the one thing that tells where the fault is
                answer = UserError(f"'{path}' failed in its '{stage}': {type(error).__name__}: {error}.")
            connection.send_bytes(pickle.dumps(answer))


class _Answers:
    """The other end of the connection: has the user's file, the stages it built and their inputs."""

    def __init__(self, path: Path, stage: str) -> None:
        self.path, self.stage = path, stage
        self.builder: Callable[..., Any] | None = None
        self.built: list[Any] = []
        self.kept: dict[int, object] = {}

    def exists(self) -> bool:
        self.builder = load_builder(self.path, self.stage)
        return self.builder is not None

    def build(self, arguments: tuple[object, ...]) -> tuple[int, list[str] | None]:
        assert self.builder is not None
        built = self.builder(*arguments)
        self.built.append(built)
        return len(self.built) - 1, list(built) if isinstance(built, dict) else None

    def time(self, *call: Any) -> float:
        """Return the milliseconds of a call."""
        work, inputs = self._find(*call)
        start = time.perf_counter()
        work(*inputs)
        return (time.perf_counter() - start) * 1000

    def result(self, *call: Any) -> Any:
        work, inputs = self._find(*call)
        return work(*inputs)

    def _find(
        self, number: int, name: str | None, new: dict[int, object], inputs: list[int]
    ) -> tuple[Callable[..., Any], list[object]]:
        self.kept |= new
        built = self.built[number]
        return built if name is None else built[name], [self.kept[key] for key in inputs]
