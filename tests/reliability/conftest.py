"""What the tests of interruptions share: images, a configuration, and a program that starts trainings."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.configurations import write_config
from tests.reliability.trainings import NUM_IMAGES, SMALL, Nursery


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a small configuration on seven generated images."""
    return write_config(tmp_path_factory.mktemp("small"), SMALL, NUM_IMAGES)


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Return what starts trainings in new processes."""
    if sys.platform != "linux":
        pytest.skip("finds processes through /proc")
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Path]:
    """Folder for runs, removed after the test: their checkpoints are large."""
    yield tmp_path / "runs"
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Return a function that shows a number although the test passes."""

    def say(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}", flush=True)

    return say
