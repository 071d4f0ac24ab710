"""An image of 24 megapixels with a hundred objects fits into little memory, however its masks are made."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("large_image.py")


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "large.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (400, 600, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, (6000, 4000), interpolation=cv2.INTER_CUBIC))
    return path


@pytest.mark.long  # one to seven minutes each on a busy core
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak of a process is read from Linux's /proc")
@pytest.mark.parametrize(
    ("crop", "boxes"),
    [("before_resize", "mixed"), ("after_resize", "mixed"), ("none", "mixed"), ("before_resize", "whole")],
)
def test_memory_stays_below_three_gigabytes(image, crop, boxes):
    command = [sys.executable, str(SCRIPT), str(image), crop, boxes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["count"] == 100
    assert result["covered"] > (0.5 if "whole" in boxes or crop == "none" else 0.1)
    assert result["same"] == {"1": True, "7": True}
    assert not result["whole"]  # nothing made masks of the whole image
    assert result["peak"] < 3e9
