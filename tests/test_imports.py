"""The rooms of the package stand in rows, and imports go down only."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = sorted((ROOT / "yolact").rglob("*.py"))
PROGRAMS = [*ROOT.glob("*.py"), *sorted((ROOT / "scripts").rglob("*.py"))]

# From the bottom up; a room imports rooms of lower rows, and of its own row where no circle results.
ROWS = (
    {"errors", "device", "distributed", "output", "download", "pages", "config", "regions", "structures", "ops"},
    {"models", "losses", "data"},
    {"postprocess", "evaluation", "compat"},
    {
        "engine",
        "predictor",
        "conversion",
        "export",
        "outlines",
        "formats",
        "visualize",
        "gallery",
        "report",
        "inspection",
        "report_speed",
        "results",
        "benchmark",
        "command_line",
    },
)
ROW = {room: number for number, rooms in enumerate(ROWS) for room in rooms}
STRANGERS = ROWS[1]  # never import each other
LIBRARIES = {
    "cv2": {"video", "data", "outlines", "visualize", "explain_figures", "inspection", "benchmark"},
    "pycocotools": {"data", "evaluation"},
    "matplotlib": {"visualize", "explain_figures", "report", "report_speed", "benchmark"},
    "yaml": {"config"},
}


def room(file: Path) -> str:
    """Return the room that a file of the package is in: its folder, or itself."""
    return file.relative_to(ROOT / "yolact").parts[0].removesuffix(".py")


def module_imports(file: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports when it is itself imported; lazy imports are not among them."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


EDGES = [
    (file, room(file), name.split(".")[1])
    for file in PACKAGE
    for name in module_imports(file)
    if name.startswith("yolact.") and room(file) != "__init__" and room(file) != name.split(".")[1]
]


def test_every_file_stands_in_a_row() -> None:
    assert {room(file) for file in PACKAGE} - {"__init__"} <= ROW.keys()
    assert len(EDGES) > 20


def test_imports_go_down_only() -> None:
    assert [str(file) for file, here, there in EDGES if ROW[there] > ROW[here]] == []


def test_models_losses_and_data_do_not_know_each_other() -> None:
    assert [str(file) for file, here, there in EDGES if {here, there} <= STRANGERS] == []


def test_rooms_form_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for _, here, there in EDGES:
        graph.setdefault(here, set()).add(there)
    TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_lives_in_its_rooms(library: str) -> None:
    users = {file for file in PACKAGE for name in module_imports(file) if name.split(".")[0] == library}
    assert users
    assert [str(file) for file in users if room(file) not in LIBRARIES[library]] == []


def test_only_the_builder_of_models_and_the_reader_of_yaml_know_the_configuration() -> None:
    readers = [f.name for f in (ROOT / "yolact/models").glob("*.py") for n in module_imports(f) if "yolact.config" in n]
    assert set(readers) == {"build.py"}
    parsers = [f.name for f in PACKAGE for name in module_imports(f) if name.split(".")[0] == "yaml"]
    assert parsers == ["loading.py"]


def test_programs_beside_the_package_do_not_parse_yaml_or_coco_themselves() -> None:
    names = {name.split(".")[0] for file in PROGRAMS for name in module_imports(file)}
    assert not names & {"yaml", "pycocotools"}
