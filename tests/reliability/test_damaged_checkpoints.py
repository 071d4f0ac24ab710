"""The checkpoint of a real run, damaged in every way: it is read as it was or refused, and what it holds never runs."""

import os
import random
import shutil
import zipfile
from collections import Counter

import pytest
import torch

from tests.reliability.trainings import equal
from yolact.engine.checkpoint import load_checkpoint, previous_of
from yolact.engine.folder import find_checkpoint
from yolact.errors import CheckpointError

HEADER = 30  # bytes of a zip entry's header before its name


@pytest.fixture(scope="module")
def run(nursery, small, tmp_path_factory):
    """Folder of a run of three steps, with last.prev.pth of step 2."""
    runs = tmp_path_factory.mktemp("damaged")
    settings = ["train.max_steps=3", "train.save_every=2", "train.ema_decay=null"]
    arguments = ["--config", small, "--runs", runs, "--name", "run", "--set", *settings]
    assert nursery.complete(runs / "said.txt", *arguments, stop=(3, 15)) == 143
    yield runs / "small/run"
    shutil.rmtree(runs)


@pytest.fixture
def copy(run, tmp_path):
    """Folder of a copy of the run, to be damaged."""
    yield shutil.copytree(run, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy")


def outcome(path, expected):
    """Load a damaged checkpoint: "refused", "same", "silently different" or what is wrong with the refusal."""
    try:
        return "same" if equal(load_checkpoint(path), expected) else "silently different"
    except CheckpointError as error:
        return "refused" if "\n" not in str(error) else "more than one line"


def require_good(folder, expected):
    """Require that --resume finds either an undamaged last.pth or, with a warning, the one before it."""
    found = find_checkpoint(str(folder), folder.parent)
    name = found.path.name
    assert equal(found.checkpoint, expected[name])
    assert bool(found.warnings) == (name == "last.prev.pth")


@pytest.fixture(scope="module")
def expected(run):
    return {path.name: load_checkpoint(path) for path in (run / "last.pth", previous_of(run / "last.pth"))}


def sensitive_places(path):
    """Return the ranges of bytes that say what the tensors' bytes mean: headers, the pickle, the list of contents."""
    with zipfile.ZipFile(path) as archive:
        ranges = [(archive.start_dir, path.stat().st_size)]
        for entry in archive.infolist():
            size = entry.file_size if entry.file_size < 100_000 and not entry.filename.count("/data/") else 0
            ranges.append((entry.header_offset, entry.header_offset + HEADER + len(entry.filename) + size))
    return ranges


@pytest.mark.parametrize("count", [50, pytest.param(500, marks=pytest.mark.long)])
def test_no_flipped_bit_changes_what_is_read(copy, expected, tell, count):
    """Half of the bits are anywhere, which is mostly in weights; half are in what says what these are."""
    rng, path = random.Random(0), copy / "last.pth"
    size, sensitive = path.stat().st_size, sensitive_places(path)
    seen = Counter({"refused": 0, "same": 0, "silently different": 0})
    with path.open("r+b", buffering=0) as file:
        for number in range(count):
            place = rng.randrange(*rng.choice(sensitive)) if number % 2 else rng.randrange(size)
            byte = os.pread(file.fileno(), 1, place)
            os.pwrite(file.fileno(), bytes([byte[0] ^ 1 << rng.randrange(8)]), place)
            seen[outcome(path, expected["last.pth"])] += 1
            if number % 25 == 0:
                require_good(copy, expected)
            os.pwrite(file.fileno(), byte, place)
    tell(f"T8: {count} flipped bits: {dict(seen)}")
    assert seen["refused"] + seen["same"] == count
    assert seen["refused"] > count / 2
    assert outcome(path, expected["last.pth"]) == "same"


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.long)])
def test_every_truncation_is_refused(copy, expected, tell, count):
    rng, path = random.Random(0), copy / "last.pth"
    size = path.stat().st_size
    lengths = {size - 1, size - 22, 30, 1, 0, *(rng.randrange(size) for _ in range(count - 5))}
    for number, length in enumerate(sorted(lengths, reverse=True)):
        os.truncate(path, length)
        assert outcome(path, expected["last.pth"]) == "refused"
        if number % 25 == 0:
            require_good(copy, expected)
    tell(f"T8: {len(lengths)} of {count} truncations refused")
    assert len(lengths) == count


class Payload:
    """What a checkpoint would make a folder with, if anything in it ran."""

    def __init__(self, sentinel):
        self.sentinel = sentinel

    def __reduce__(self):
        return os.mkdir, (str(self.sentinel),)


def test_a_payload_within_a_whole_checkpoint_is_refused(copy, expected, tmp_path):
    """All else is as in a good checkpoint, so nothing else can be what it is refused for."""
    torch.save({**expected["last.pth"], "metrics": Payload(tmp_path / "sentinel")}, copy / "last.pth")
    require_good(copy, expected)
    assert not (tmp_path / "sentinel").exists()
