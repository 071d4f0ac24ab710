"""scripts/slurm.sh with stand-ins for SLURM's commands and for torchrun, which write down how they were called."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/slurm.sh"
STAND_INS = {
    "srun": 'shift; SLURM_NODEID=1 exec "$@"',  # without --kill-on-bad-exit
    "scontrol": 'if [ "$1" = show ]; then printf "first\\nsecond\\n"; else echo "$@" >> said; fi',
    "scancel": 'echo "scancel $*" >> said; touch signalled',
    # A run that saves and ends when it is signalled; it succeeds where it resumes, and fails where it is told to.
    "torchrun": """
        echo "torchrun $*" >> said
        trap -p USR1 >> said
        case "$*" in *--resume*) exit 0 ;; *fail*) exit 1 ;; esac
        mkdir -p runs/slurm-7/tiny/one
        touch runs/slurm-7/tiny/one/last.pth started
        while [ ! -e signalled ]; do sleep 0.01; done
        exit 1
    """,
}

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a script for bash")


@pytest.fixture
def start(tmp_path):
    """Return a function that starts the script as SLURM does; what is called then stands in the file "said"."""
    (tmp_path / "bin").mkdir()
    for name, body in STAND_INS.items():
        file = tmp_path / "bin" / name
        file.write_text(f"#!/usr/bin/env bash\n{body}\n")
        file.chmod(0o755)
    job = {"SLURM_JOB_ID": "7", "SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "[first,second]"}
    environment = {**os.environ, **job, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}

    def run(*arguments):
        return subprocess.Popen(["bash", SCRIPT, *arguments], cwd=tmp_path, env=environment)

    return run


def test_a_job_whose_time_is_out_saves_queues_again_and_goes_on(start, tmp_path):
    process = start("--config", "a b.yaml", "--set", "train.batch_size=16")
    end = time.monotonic() + 60
    while not (tmp_path / "started").exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(60) == 1
    nodes = "--node-rank 1 --nnodes 2 --nproc-per-node gpu --master-addr first --master-port 20007"
    launched = f"torchrun {nodes} -m yolact.cli train"
    ignored = "trap -- '' SIGUSR1"  # torchrun would die of it
    assert (tmp_path / "said").read_text().splitlines() == [
        f"{launched} --config a b.yaml --set train.batch_size=16 --runs runs/slurm-7",
        ignored,
        "scancel --signal=USR1 7.0",
        "requeue 7",
    ]
    (tmp_path / "said").unlink()
    assert start("--config", "a b.yaml", "--set", "train.batch_size=16").wait(60) == 0
    assert (tmp_path / "said").read_text().splitlines() == [f"{launched} --resume --runs runs/slurm-7", ignored]


def test_a_job_that_fails_is_not_queued_again(start, tmp_path):
    assert start("--config", "fail.yaml").wait(60) == 1
    assert "requeue" not in (tmp_path / "said").read_text()
