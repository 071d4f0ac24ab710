"""No memory is lost in a long training.

glibc gives back at once what is freed here: as a rule it keeps some of it, and more when larger batches of objects have
come, which looks like memory that is lost.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.reliability.trainings import ENVIRONMENT, ROOT, last_step, of_session

NUM_STEPS = 3000
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
MOST_GROWTH = 0.01  # of the resident memory; what is less depends on when one looks


def resident(pid):
    """Return a process's resident memory in megabytes, 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), 0)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_memory_does_not_grow(small, runs, tell):
    """Of the main process and the largest worker, from the first tenth of the steps to the last."""
    settings = [f"train.max_steps={NUM_STEPS}", "train.save_every=25", "train.eval_every=100", "data.num_workers=2"]
    arguments = ["--config", small, "--runs", runs, "--name", "long", "--set", *settings]
    command = [sys.executable, "-m", "tests.configurations", "train", "--device", "cpu", *arguments]
    seen, environment = [], {**ENVIRONMENT, **GIVE_BACK, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(list(map(str, command)), env=environment, start_new_session=True) as process:
        while process.poll() is None:
            step = last_step(runs / "small/long")
            workers = [resident(pid) for pid in of_session(process.pid) if pid != process.pid]
            if step and workers:
                seen.append((step, resident(process.pid), max(workers)))
            time.sleep(0.5)
    assert process.returncode == 0
    for place, name in ((1, "main process"), (2, "largest worker")):
        first = statistics.median(look[place] for look in seen if look[0] <= NUM_STEPS * 0.1)
        last = statistics.median(look[place] for look in seen if NUM_STEPS * 0.9 < look[0] < NUM_STEPS)
        tell(f"{name}: {first:.0f} MB in the first tenth, {last:.0f} MB in the last")
        assert last < first * (1 + MOST_GROWTH)
