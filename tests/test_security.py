"""The sources hold nothing that runs code from data. Attacks that are tried: test_attacks.py."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [*ROOT.glob("*.py"), *sorted((ROOT / "scripts").rglob("*.py")), *sorted((ROOT / "yolact").rglob("*.py"))]
# What reads Python objects from bytes; archives and documents of kinds that this project has no use for; shells; and
# calls that run code from a file unless an argument says otherwise.
FORBIDDEN = re.compile(
    r"""^\ *(from\ |import\ (.*,\ )?)(pickle|marshal|shelve|dill|joblib|cloudpickle|copyreg|runpy|code|tarfile|xml)\b
    | (?<![\w.])(eval|exec|compile|__import__)\(
    | os\.(system|popen)\( | subprocess\.get\w*output\( | shell=(?!False)
    | yaml\.((unsafe|full)_)?load\( | torch\.jit\.load\( | unpack_archive\( | urlretrieve\( | extractall\(
    | allow_pickle=(?!False) | weights_only=(?!True)
    | (torch\.load|load_state_dict_from_url)\((?!.*weights_only=True)""",
    re.VERBOSE | re.MULTILINE,
)

# The one place that reads XML refuses whatever declares a type or an entity before it is parsed.
ALLOWED = {"yolact/tools/convert/cvat.py": ["from xml"]}


def faults(source: str) -> list[str]:
    """Return what in a source could run code that stands in data; each statement is looked at as one line."""
    return [match[0].strip() for match in FORBIDDEN.finditer(ast.unparse(ast.parse(source)))]


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_runs_code_from_data(file: Path) -> None:
    assert faults(file.read_text(encoding="utf-8")) == ALLOWED.get(str(file.relative_to(ROOT)), [])


@pytest.mark.parametrize(
    "source",
    [
        "import os, pickle", "from pickle import loads", "import xml.etree.ElementTree", "eval('1')",
        "import os; os.system('ls')", "subprocess.run(text, shell=True)", "yaml.load(text)", "tar.extractall()",
        "torch.load(path)", "torch.load(\n  path,\n  weights_only=False)", "torch.hub.load_state_dict_from_url(url)",
        "np.load(path, allow_pickle=True)", "__import__(name)",
    ],
)  # fmt: skip
def test_the_search_finds_what_it_is_for(source: str) -> None:
    assert faults(source)


def test_the_search_lets_harmless_calls_be() -> None:
    source = "model.eval(); json.load(file); torch.compile(model); torch.load(\n  p,\n  weights_only=True)  # eval("
    assert faults(source) == []
