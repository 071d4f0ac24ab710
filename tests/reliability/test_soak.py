"""2,000 steps under fire equal 2,000 in peace, and no memory is lost; soak.py says how."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.reliability.trainings import ENVIRONMENT, ROOT


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_long_training_under_fire(tmp_path, tell):
    folder = tmp_path / "soak"
    command = [sys.executable, "-m", "tests.reliability.soak", str(folder), "--steps", "2000", "--interval", "12", "40"]
    try:
        done = subprocess.run(
            command, env={**ENVIRONMENT, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        report = json.loads((folder / "report.json").read_text())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    memory = {name: report[name]["memory"] for name in ("fire", "whole")}
    tell(f"soak: {len(report['fire']['shots'])} interruptions; megabytes: {memory}")
    assert report["faults"] == []
    assert len(report["fire"]["shots"]) >= 6
