"""The notebooks, each from top to bottom in a real kernel, as in a fresh clone: no data, no runs, no network."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LIMIT = 200_000  # bytes of a notebook; a clone should stay small


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the notebooks and what they need; the first one that runs trains the model for the others."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".*", "__pycache__"))
    for name in ("configs", "yolact", "train.py", "eval.py"):
        (folder / name).symlink_to(ROOT / name)
    return folder


# The one that trains anew takes as long as the others together.
ALL = [
    pytest.param(path, marks=[pytest.mark.long] * (path.stem == "03_your_own_data"), id=path.stem) for path in NOTEBOOKS
]


@pytest.mark.parametrize("path", ALL)
def test_a_notebook_runs_from_top_to_bottom(
    clone: Path, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbclient = pytest.importorskip("nbclient", reason="nbclient runs the notebooks: pip install nbclient ipykernel")
    pytest.importorskip("ipykernel", reason="ipykernel runs the notebooks: pip install nbclient ipykernel")
    nbformat = pytest.importorskip("nbformat")
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))  # the user's settings stay out, the kernel's files in
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    notebook = nbformat.read(clone / "notebooks" / path.name, as_version=4)
    place = {"metadata": {"path": str(clone / "notebooks")}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    shown = "".join(output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in outputs)
    assert not any(text in shown for text in (str(clone), str(ROOT), "Traceback"))
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    if path.stem == "03_your_own_data":
        found = re.findall(r"^(another class|not labelled) +(\d+)\.png: .* found nut", shown, re.M)
        assert {number for _, number in found} >= {"003", "017", "040", "058"}  # whose labels have the mistakes
        first, second = (
            [float(ap) for ap in re.findall(r"'(0\.\d+)'", line)]
            for line in re.findall(r"^(?:first|second) .*", shown, re.M)
        )
        assert max(second) >= max(first) - 0.02 >= 0.6


def test_the_notebooks_are_there_without_outputs() -> None:
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04"]
    for path in NOTEBOOKS:
        assert path.stat().st_size < LIMIT
        notebook = json.loads(path.read_text(encoding="utf-8"))
        assert notebook["metadata"]["kernelspec"]["name"] == "python3"
        for cell in code_cells(notebook):
            assert (cell["execution_count"], cell["outputs"]) == (None, [])
