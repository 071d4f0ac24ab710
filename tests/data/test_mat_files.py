import io
import multiprocessing
import os
import random
import signal
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolact.data import mat_files
from yolact.data.mat_files import MatReader
from yolact.errors import DatasetError

scipy_io = pytest.importorskip("scipy.io", reason="SciPy is not installed (pip install scipy)")

HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x100) + b"IM"
NUMBERS = np.arange(200, dtype=np.uint8).reshape(10, 20)


@pytest.fixture(scope="module")
def reader() -> Iterator[MatReader]:
    with MatReader(scipy_io.loadmat) as reader:
        yield reader


@pytest.fixture
def read(reader: MatReader, tmp_path: Path) -> Callable[[bytes], dict[str, Any]]:
    """Return a function that reads bytes as the file x.mat."""

    def read(data: bytes) -> dict[str, Any]:
        (tmp_path / "x.mat").write_bytes(data)
        return reader.read_struct(tmp_path / "x.mat", "S", ("a", "b"))

    return read


def mat(value: object, name: str = "S", compressed: bool = True) -> bytes:
    file = io.BytesIO()
    scipy_io.savemat(file, {"before": 1, name: value, "after": "text"}, do_compression=compressed)
    return file.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
def test_fields_come_as_they_are(read, compressed: bool) -> None:
    found = read(mat({"a": NUMBERS, "b": [[1], [2]], "c": "more"}, compressed=compressed))
    assert sorted(found) == ["a", "b"]
    np.testing.assert_array_equal(found["a"], NUMBERS)
    assert found["a"].dtype == np.uint8
    assert found["b"].tolist() == [[1], [2]]


@pytest.mark.parametrize(
    "value",
    [
        5,
        "text",
        {"a": NUMBERS},
        np.array([(1, 2), (3, 4)], [("a", object), ("b", object)]),
        {"a": NUMBERS, "b": np.array([[1, "cell"]], object)},
        {"a": NUMBERS, "b": {"c": 1}},
    ],
    ids=["a number", "text", "a field is missing", "two structs", "a cell", "a struct within"],
)
def test_another_variable(read, value: object) -> None:
    with pytest.raises(DatasetError, match=r"x\.mat has no struct S with arrays a and b; unpack the data set again"):
        read(mat(value))


def test_a_variable_of_another_name(read) -> None:
    with pytest.raises(DatasetError, match="has no struct S"):
        read(mat({"a": 1, "b": 1}, name="T"))


@pytest.mark.parametrize("data", [b"", b"\x80\x04\x95pickle", b"\x89HDF\r\n\x1a\n" + bytes(600), bytes(200)])
def test_a_file_of_another_kind(read, data: bytes) -> None:
    with pytest.raises(DatasetError, match=r"Cannot read .*x\.mat \(not a file of MATLAB 5 to 7\)"):
        read(data)


def test_a_missing_file(reader: MatReader, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"Cannot read .*none\.mat: No such file"):
        reader.read_struct(tmp_path / "none.mat", "S", ("a",))


def test_a_bomb_is_not_unpacked(read) -> None:
    packed = zlib.compress(bytes(mat_files.MAX_BYTES), 9)
    data = HEADER + 2 * (struct.pack("<II", 15, len(packed)) + packed)
    assert len(data) < 200_000
    with pytest.raises(DatasetError, match="more than 32,000,000 bytes when unpacked"):
        read(data)


def test_a_large_file_is_not_read(reader: MatReader, tmp_path: Path) -> None:
    with open(tmp_path / "x.mat", "wb") as file:
        file.write(HEADER)
        file.truncate(10 * 2**40)  # of which the disk holds nothing
    with pytest.raises(DatasetError, match="more than 32,000,000 bytes"):
        reader.read_struct(tmp_path / "x.mat", "S", ("a", "b"))


def test_any_damage_of_compressed_content_is_found(read) -> None:
    file = io.BytesIO()
    scipy_io.savemat(file, {"S": {"a": NUMBERS, "b": 1}}, do_compression=True)
    good = file.getvalue()
    # Before its checksum of four bytes, the compressed stream ends with a few bits that mean nothing.
    for place in random.Random(0).sample([*range(128 + 8, len(good) - 10), *range(len(good) - 4, len(good))], 40):
        data = bytearray(good)
        data[place] ^= 16
        with pytest.raises(DatasetError, match=r"Cannot read .*x\.mat \("):
            read(bytes(data))
    with pytest.raises(DatasetError, match="it ends too early"):
        read(good[:-3])


def test_a_crash_of_scipy_is_one_sentence_and_reading_goes_on(read) -> None:
    cell = struct.pack("<II IIII IIii", 14, 1 << 24, 6, 8, 1, 0, 5, 8, 1, 1)
    deep = cell + struct.pack("<HH4s", 1, 1, b"S") + (cell + struct.pack("<II", 1, 0)) * 200_000
    with pytest.raises(DatasetError, match=r"Cannot read .*x\.mat \(SciPy crashed on it\); unpack the data set again"):
        read(HEADER + deep)
    assert read(mat({"a": 5, "b": 6}))["a"] == 5


@pytest.mark.skipif(sys.platform != "linux", reason="only there the memory of a process can be limited")
def test_a_number_that_asks_for_all_memory(read) -> None:
    cell = struct.pack("<II IIII IIii HH4s", 14, 1 << 24, 6, 8, 1, 0, 5, 8, 1 << 14, 1 << 14, 1, 1, b"S")
    with pytest.raises(DatasetError, match=r"Unable to allocate 2\.00 GiB"):
        read(HEADER + cell + bytes(1000))


def wait_for_ever(*_: object, **__: object) -> dict[str, Any]:
    time.sleep(1000)
    return {}


def test_a_hang_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mat_files, "TIMEOUT", 0.05)
    (tmp_path / "x.mat").write_bytes(mat(1))
    before = multiprocessing.active_children()
    with MatReader(wait_for_ever) as reader, pytest.raises(DatasetError, match=r"not done with it after 0\.05 seconds"):
        reader.read_struct(tmp_path / "x.mat", "S", ("a",))
    assert multiprocessing.active_children() == before


def read_and_wait(path: Path) -> None:
    with MatReader(scipy_io.loadmat) as reader:
        reader.read_struct(path, "S", ("a",))
        path.with_suffix(".pid").write_text(str(multiprocessing.active_children()[0].pid))
        time.sleep(1000)


def test_no_process_outlives_a_killed_one(tmp_path: Path) -> None:
    (tmp_path / "x.mat").write_bytes(mat({"a": 1}))
    process = multiprocessing.get_context("fork").Process(target=read_and_wait, args=(tmp_path / "x.mat",))
    process.start()
    while not ((tmp_path / "x.pid").exists() and (tmp_path / "x.pid").read_text()):
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    end = time.monotonic() + 10
    while is_running(int((tmp_path / "x.pid").read_text())):
        assert time.monotonic() < end
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"  # waited for by nobody


def test_damage_anywhere_is_one_sentence_or_harmless(read) -> None:
    rng, messages = random.Random(0), []
    cells = np.empty((2, 1), object)
    cells[0, 0], cells[1, 0] = NUMBERS, "text"
    for number in range(200):
        data = bytearray(mat({"a": NUMBERS, "cells": cells, "b": [[1], [2]]}, compressed=number % 4 == 0))
        if number % 3 == 0:
            del data[rng.randrange(len(data)) :]
        for _ in range(number % 3 * 2):
            data[rng.randrange(124, len(data))] = rng.randrange(256)
        try:
            read(bytes(data))
        except DatasetError as error:
            messages.append(str(error))
    assert len(messages) > 75
    assert not any("\n" in message for message in messages)
