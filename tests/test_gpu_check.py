"""scripts/gpu_check.sh, rehearsed on a CPU: a GPU is at hand too rarely to find out there that it does not run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def rehearse(*parts: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable, "TEST_PROCESSES": "2", "OMP_NUM_THREADS": "2"}
    command = ["bash", "scripts/gpu_check.sh", "--rehearse", *parts]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_a_part_writes_its_rows_and_a_wrong_one_is_named():
    found = rehearse("ceilings")
    assert found.returncode == 0, found.stderr
    table = Path(found.stdout.split()[-1]).read_text().splitlines()
    assert [line.split(" | ")[1] for line in table[2:]] == [
        "device", "bf16 matrix product of 256", "float32 matrix product of 256", "copy",
    ]  # fmt: skip
    wrong = rehearse("everything")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "no part 'everything'; there are" in wrong.stderr


@pytest.mark.long
def test_every_part_runs():
    if not (ROOT / "data/nuclei").is_dir():
        pytest.skip("the part 'nuclei' needs data/nuclei")
    found = rehearse()
    assert found.returncode == 0, found.stdout[-3000:]
    table = Path(found.stdout.split()[-1]).read_text()
    for part in ("inference", "training", "nuclei", "profile", "compiled", "evaluation"):
        assert f"| {part} | " in table
