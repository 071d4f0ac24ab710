"""The Python examples of README.md run as they stand there."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.configurations import MODEL
from tests.made import make_checkpoint
from yolact.config import config_from_dict, config_to_dict
from yolact.data.images import read_image
from yolact.engine.checkpoint import save_checkpoint
from yolact.models import build_model
from yolact.tools.shapes import CATEGORY_IDS, CLASS_NAMES, write_shapes

README = Path(__file__).parents[1] / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with picture.jpg and, in place of the quickstart's model, one of its classes that finds circles."""
    write_shapes(tmp_path / "shapes", 1, 1, 160, 0)
    next((tmp_path / "shapes/val").iterdir()).rename(tmp_path / "picture.jpg")
    config = config_from_dict({"name": "shapes", "model": {**MODEL, "num_classes": len(CLASS_NAMES)}}, "the test")
    model = build_model(config)
    with torch.no_grad():
        model.head.class_logits.bias.view(-1, 1 + len(CLASS_NAMES))[:, 1] += 5  # the column after background: circles
    folder = tmp_path / "runs/shapes/quickstart"
    folder.mkdir(parents=True)
    classes = list(CLASS_NAMES), list(CATEGORY_IDS)
    save_checkpoint(make_checkpoint(model.state_dict(), config_to_dict(config), *classes), folder / "best.pth")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readme_has_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_runs_on_the_quickstart_model(number: int, surroundings: Path) -> None:
    pytest.importorskip("supervision", reason="supervision is shown in README.md: pip install supervision")
    names: dict[str, Any] = {}
    exec(EXAMPLES[number], names)
    found = names["found"]
    height, width = read_image(surroundings / "picture.jpg").shape[:2]
    assert len(found) > 0
    assert found.boxes.shape == (len(found), 4)
    assert (found.masks.dtype, tuple(found.masks.shape)) == (torch.bool, (len(found), height, width))
    assert found.plot().shape == (height, width, 3)
    assert found.plot().dtype == np.uint8
    assert len(found.filter("circle", min_score=0.5)) > 0
    assert set(CLASS_NAMES) == set(found.class_names)
