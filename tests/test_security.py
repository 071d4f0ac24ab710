"""The sources hold nothing that runs code from data. Attacks that are tried: test_attacks.py."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [*ROOT.glob("*.py"), *sorted((ROOT / "scripts").rglob("*.py")), *sorted((ROOT / "yolact").rglob("*.py"))]

# What reads Python objects from bytes; archives and documents of kinds that this project has no use for.
FORBIDDEN_MODULES = {
    "pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "copyreg", "runpy", "code", "tarfile", "xml",
}  # fmt: skip
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "torch.jit.load",
    "shutil.unpack_archive",
    "urllib.request.urlretrieve",
}
FORBIDDEN_METHODS = {"extractall"}
# Calls that run code from a file unless this argument says otherwise.
GUARDED_CALLS = {"torch.load": ("weights_only", True), "load_state_dict_from_url": ("weights_only", True)}
GUARDED_VALUES = {"shell": False, "allow_pickle": False, "weights_only": True}


def faults(source: str) -> Iterator[str]:
    """Yield what in a source could run code that stands in data."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from (f"imports {name}" for name in modules if name.split(".")[0] in FORBIDDEN_MODULES)
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in FORBIDDEN_CALLS or called.rpartition(".")[2] in FORBIDDEN_METHODS:
                yield f"calls {called}"
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            for name, (argument, value) in GUARDED_CALLS.items():
                if (called == name or called.endswith("." + name)) and given.get(argument) != str(value):
                    yield f"calls {called} without {argument}={value}"
            for argument, value in GUARDED_VALUES.items():
                if given.get(argument, str(value)) != str(value):
                    yield f"calls {called} with {argument}={given[argument]}"


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_runs_code_from_data(file: Path) -> None:
    assert list(faults(file.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "eval('1')",
        "import os; os.system('ls')",
        "yaml.load(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.hub.load_state_dict_from_url(url)",
        "subprocess.run(text, shell=True)",
        "np.load(path, allow_pickle=True)",
        "tar.extractall()",
        "__import__(name)",
        "import xml.etree.ElementTree",
    ],
)
def test_the_search_finds_what_it_is_for(source: str) -> None:
    assert list(faults(source))


def test_the_search_lets_harmless_calls_be() -> None:
    assert list(faults("model.eval(); json.load(file); torch.compile(model); torch.load(p, weights_only=True)")) == []
