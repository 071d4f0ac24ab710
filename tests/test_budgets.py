"""The house stays as small as it has become: no room grows beyond its lines, blank ones and comments included.

`python tests/test_budgets.py` prints the rooms. docs/design.md says where they shall arrive.
"""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SUFFIXES = {".py", ".sh", ".js", ".css", ".html"}

CORE = """config structures.py instances.py formats.py draw.py ops models losses data postprocess.py runtimes evaluation
engine loaded.py predictor.py api.py distributed.py device.py errors.py output.py text.py threads.py __init__.py
cli/train.py cli/eval.py"""
ROOMS = {
    "everything": ["yolact", "scripts", "train.py", "eval.py"],
    "core": ["train.py", "eval.py", *(f"yolact/{name}" for name in CORE.split())],
    "tests": ["tests"],
}
MOST_LINES = {"everything": 23_380, "core": 12_210, "tests": 21_260}
MOST_README_LINES, MOST_DOCS_WORDS = 250, 6_000


def num_lines(room: str) -> int:
    """Return the lines of all sources of a room."""
    files = [
        file
        for name in ROOMS[room]
        for file in ([ROOT / name] if (ROOT / name).is_file() else (ROOT / name).rglob("*"))
    ]
    return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files if file.suffix in SUFFIXES)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_stays_within_its_lines(room: str) -> None:
    assert num_lines(room) <= MOST_LINES[room]


def test_the_documents_stay_short() -> None:
    words = sum(len(page.read_text(encoding="utf-8").split()) for page in (ROOT / "docs").glob("*.md"))
    assert words <= MOST_DOCS_WORDS
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MOST_README_LINES


if __name__ == "__main__":
    for name, most in MOST_LINES.items():
        print(f"{name:12} {num_lines(name):7,} lines, at most {most:,}")
