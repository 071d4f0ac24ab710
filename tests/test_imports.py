"""The rooms of the package stand in rows, and imports go down only, those within functions too."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = sorted((ROOT / "yolact").rglob("*.py"))

# From the bottom up; a room imports rooms of lower rows only, so that those of one row do not know each other.
ROWS = (
    {"text", "errors"},
    {"device", "fonts", "output", "structures", "threads"},
    {"ops"},
    {"config"},
    {"distributed"},
    {"models", "losses", "data"},
    {"draw", "formats"},
    {"instances"},
    {"postprocess", "joining"},
    {"runtimes"},
    {"evaluation", "compat"},
    {"engine"},
    {"loaded"},
    {"predictor"},  # the core ends here
    {"tools"},
    {"api"},
    {"cli"},
)
ROW = {room: number for number, rooms in enumerate(ROWS) for room in rooms}
LIBRARIES = {
    "cv2": {"data", "ops", "draw", "tools"},
    "pycocotools": {"data", "ops", "evaluation", "tools"},
    "matplotlib": {"fonts", "tools"},
    "yaml": {"config"},
    "filelock": {"engine"},
    **{name: {"runtimes", "tools"} for name in ("onnxruntime", "openvino", "tensorrt")},
    **{name: {"tools"} for name in ("gradio", "jinja2", "av", "huggingface_hub", "scipy")},
}


def room(file: Path) -> str:
    """Return the room that a file of the package is in: its folder, or itself."""
    return file.relative_to(ROOT / "yolact").parts[0].removesuffix(".py")


def imported(node: ast.AST) -> Iterator[str]:
    """Yield the dotted names that a part of a program imports, but for what type checkers alone see."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative import"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from imported(child)


IMPORTS = [(file, name) for file in PACKAGE for name in imported(ast.parse(file.read_text(encoding="utf-8")))]
EDGES = [
    (str(file.relative_to(ROOT)), room(file), name.split(".")[1])
    for file, name in IMPORTS
    if name.startswith("yolact.") and room(file) not in ("__init__", name.split(".")[1]) and name.count(".") > 1
]


def test_every_file_stands_in_a_row() -> None:
    assert {room(file) for file in PACKAGE} - {"__init__"} == ROW.keys()
    assert len(EDGES) > 100


def test_imports_go_down_only() -> None:
    assert sorted({edge for edge in EDGES if ROW.get(edge[2], 99) >= ROW.get(edge[1], 99)}) == []


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_lives_in_its_rooms(library: str) -> None:
    users = {room(file) for file, name in IMPORTS if name.split(".")[0] == library}
    assert users
    assert users <= LIBRARIES[library]


def test_only_the_builder_of_models_and_the_reader_of_yaml_know_the_configuration() -> None:
    readers = {file.name for file, name in IMPORTS if room(file) == "models" and "yolact.config" in name}
    assert readers == {"build.py"}
    assert {file.name for file, name in IMPORTS if name.split(".")[0] == "yaml"} == {"loading.py"}


PROGRAM = """
import os, sys
before = dict(os.environ)
import yolact
heavy = {"torch", "numpy", "cv2", "matplotlib", "pycocotools", "gradio"} & sys.modules.keys()
print(dict(os.environ) == before, sorted(heavy), "load" in dir(yolact), yolact.load_config.__name__)
print(yolact.cli.main.__name__, yolact.data.CocoDataset.__name__, yolact.models.BACKBONES.keys() > {"resnet50"})
yolact.Predictor
print(sorted({"matplotlib", "gradio", "av", "jinja2"} & sys.modules.keys()))
"""


def test_importing_the_package_does_nothing() -> None:
    """What its names need is imported when they are first used, and the environment stays as it was."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OPENCV")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["True [] True load_config", "main CocoDataset True", "[]"]


def test_an_unknown_name_is_an_attribute_error() -> None:
    import yolact

    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        yolact.lod  # noqa: B018
