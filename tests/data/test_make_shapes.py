from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from yolact.data.dataset import CocoDataset
from yolact.errors import DatasetError


def test_makes_the_set_once(
    tmp_path: Path, load_script: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--output", str(tmp_path / "shapes"), "--train", "2", "--val", "1", "--size", "96"]
    script = load_script("make_shapes")
    script.main(arguments)
    assert "are written to" in capsys.readouterr().out
    script.main(arguments)
    assert "are already in" in capsys.readouterr().out
    assert len(CocoDataset(tmp_path / "shapes" / "instances_train.json", tmp_path / "shapes" / "train")) == 2
    with pytest.raises(DatasetError, match="was not made by this program"):
        script.main(["--output", str(tmp_path)])
