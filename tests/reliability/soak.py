"""A long training under fire: interrupted at random times for as long as it takes, and compared with one in peace.

    python -m tests.reliability.soak /tmp/soak --steps 2000 --interval 60 180

Both are `python train.py` in processes of their own. The run under fire gets SIGKILL, SIGTERM, SIGINT, SIGUSR1 or
SIGINT twice, in the main process or in the whole group, and goes on by --resume. At the end metrics.jsonl and
everything in last.pth must be equal bit by bit, no process may be left over, and in the run in peace the memory of the
main process and of the loader's must not grow from the first tenth of the steps to the last. There, glibc gives back at
once what is freed: as a rule it keeps some of it, and more when larger batches of objects have come, which looks like
memory that is lost.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.configurations import write_config
from tests.reliability.trainings import ENVIRONMENT, ROOT, SMALL, differences, last_step, of_session, wait_until

SETTINGS = [
    "train.save_every=25", "train.eval_every=100", "train.log_every=5", "data.num_workers=2", "train.lr_steps=[1000]",
]  # fmt: skip
FIRE = (
    (signal.SIGKILL,),
    (signal.SIGTERM,),
    (signal.SIGINT,),
    (signal.SIGUSR1,),
    (signal.SIGINT, signal.SIGINT),
)
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
BEGUN = "plan: "  # begins a line of every start
MOST_GROWTH = 0.01  # of the resident memory; what is less depends on when one looks


@dataclass
class Memory:
    """Resident megabytes of a training's processes, as they were seen at its steps."""

    main: list[tuple[int, float]] = field(default_factory=list)
    workers: list[tuple[int, float]] = field(default_factory=list)  # of the largest of the loader's processes

    def look(self, folder: Path, pid: int) -> None:
        """Note what the processes of session `pid` hold now."""
        step, held = last_step(folder), resident(pid)
        if step == 0 or held is None:
            return
        self.main.append((step, held))
        others = [size for other in of_session(pid) if other != pid and (size := resident(other)) is not None]
        if others:
            self.workers.append((step, max(others)))

    def tenths(self, num_steps: int) -> dict[str, dict[str, float]]:
        """Return the medians over the first tenth of the steps, the middle fifth and the last tenth, in megabytes."""
        result = {}
        for name in ("main", "workers"):
            seen = getattr(self, name)
            parts = {
                "first": [size for step, size in seen if step <= num_steps * 0.1],
                "middle": [size for step, size in seen if num_steps * 0.4 < step <= num_steps * 0.6],
                "last": [size for step, size in seen if step > num_steps * 0.9],
            }
            if all(parts.values()):
                result[name] = {part: statistics.median(sizes) for part, sizes in parts.items()}
        return result


def resident(pid: int) -> float | None:
    """Return a process's resident memory in megabytes, or None if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), None)


def start(log: Path, *arguments: object, **environment: str) -> "subprocess.Popen[bytes]":
    """Start train.py as the first of a session of its own, which says into `log`."""
    command = [sys.executable, str(ROOT / "train.py"), "--device", "cpu", *map(str, arguments)]
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            env={**ENVIRONMENT, **environment},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def watch(process: "subprocess.Popen[bytes]", folder: Path, memory: Memory, seconds: float) -> bool:
    """Look at the memory every half a second for so long; true if the process has ended by itself."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            return True
        memory.look(folder, process.pid)
        time.sleep(0.5)
    return process.poll() is not None


def live(
    process: "subprocess.Popen[bytes]", run: Path, log: Path, memory: Memory, interval: tuple[float, float],
    rng: random.Random,
) -> bool:  # fmt: skip
    """Let a training live until it is to be shot at; true if it has ended by itself.

    One in four is shot at while it starts, before or after its first step; the others train for the interval first.
    """
    if rng.random() < 0.25:
        return watch(process, run, memory, rng.uniform(0, interval[0]))
    starts = log.read_text().count(BEGUN)
    wait_until(lambda: log.read_text().count(BEGUN) > starts or process.poll() is not None)
    return watch(process, run, memory, rng.uniform(*interval))


def shoot(process: "subprocess.Popen[bytes]", rng: random.Random) -> str:
    """Send one kind of fire, wait for the end and return what was done, with the exit code.

    Raises:
        RuntimeError: the exit code is not the signal's, or a process outlives the main one.
    """
    numbers, group = rng.choice(FIRE), rng.random() < 0.5
    for count, number in enumerate(numbers):
        if count:
            time.sleep(rng.uniform(0, 0.2))
        try:
            os.killpg(process.pid, number) if group else os.kill(process.pid, number)
        except ProcessLookupError:
            break
    code = process.wait(timeout=120)
    number = numbers[-1]
    name = " ".join(item.name for item in numbers) + (" to the group" if group else "")
    # A signal before the training has begun, or after it, ends the program in Python's own way; 0: it was just done.
    if code not in (-number, 128 + number, 0):
        raise RuntimeError(f"{name}: exit code {code}")
    wait_until(lambda: not of_session(process.pid))
    return f"{name}: exit code {code}"


def undisturbed(folder: Path, config: Path, num_steps: int) -> dict[str, object]:
    """Train in peace and return how long it took and what memory it held."""
    since, memory, run = time.monotonic(), Memory(), folder / "runs/small/whole"
    arguments = ["--config", config, "--runs", folder / "runs", "--name", "whole"]
    process = start(folder / "whole.txt", *arguments, "--set", *SETTINGS, f"train.max_steps={num_steps}", **GIVE_BACK)
    try:
        watch(process, run, memory, 24 * 3600)
    finally:
        process.kill()
    if process.wait() != 0:
        raise RuntimeError((folder / "whole.txt").read_text()[-2000:])
    return {"seconds": time.monotonic() - since, "memory": memory.tenths(num_steps)}


def disturbed(
    folder: Path, config: Path, num_steps: int, interval: tuple[float, float], rng: random.Random
) -> dict[str, object]:
    """Train under fire and return what was done to the run."""
    since, memory, run, log = time.monotonic(), Memory(), folder / "runs/small/fire", folder / "fire.txt"
    anew = ["--config", config, "--runs", folder / "runs", "--name", "fire"]
    anew += ["--set", *SETTINGS, f"train.max_steps={num_steps}"]
    process = start(log, *anew)
    shots: list[dict[str, object]] = []
    try:
        while not live(process, run, log, memory, interval, rng):
            done = shoot(process, rng)
            shots.append({"step": last_step(run), "what": done})
            print(f"{time.monotonic() - since:6.0f} s, step {shots[-1]['step']}: {done}", flush=True)
            if (run / "last.pth").exists():
                process = start(log, "--resume", run)
            else:  # nothing has been saved yet, so it begins anew
                (run / "metrics.jsonl").unlink(missing_ok=True)
                process = start(log, *anew)
    finally:
        process.kill()
    if process.wait() != 0:
        raise RuntimeError(log.read_text()[-2000:])
    return {"seconds": time.monotonic() - since, "shots": shots, "memory": memory.tenths(num_steps)}


def faults(report: dict[str, object], folder: Path) -> list[str]:
    """Name what is not as it must be."""
    runs = folder / "runs/small"
    found = [f"{name} differs from the undisturbed run" for name in differences(runs / "fire", runs / "whole")]
    found += [f"{file.name} was left over" for file in (runs / "fire").glob("*.tmp")]
    for name, size in report["whole"]["memory"].items():  # type: ignore[index]  # under fire, processes are ever new
        if size["last"] > size["first"] * (1 + MOST_GROWTH):
            found.append(f"the memory of {name} grew from {size['first']:.0f} to {size['last']:.0f} MB")
    return found


def main(argv: list[str] | None = None) -> int:
    """Soak; returns 0 if nothing is wrong. report.json in the folder has the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="to be made; for the pictures, the runs and report.json")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument(
        "--interval", type=float, nargs=2, default=(60, 180), metavar=("LEAST", "MOST"), help="seconds of training"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the times and signals")
    arguments = parser.parse_args(argv)
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True)
    config = write_config(folder, SMALL, 40)
    report: dict[str, object] = {"steps": arguments.steps, "interval": arguments.interval}
    rng = random.Random(arguments.seed)
    report["fire"] = disturbed(folder, config, arguments.steps, tuple(arguments.interval), rng)
    report["whole"] = undisturbed(folder, config, arguments.steps)
    report["faults"] = faults(report, folder)
    (folder / "report.json").write_text(json.dumps(report, indent=2))
    print(json.dumps(report, indent=2))
    return len(report["faults"]) > 0  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
