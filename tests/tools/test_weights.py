"""`yolact weights` against a Hub on loopback: what comes, what is refused, and what is left behind."""

import hashlib
import re
import socket
import sys

import pytest

from yolact.cli import run
from yolact.engine.pretrained import AUTHORS_FILES
from yolact.errors import DownloadError, UserError
from yolact.tools import weights
from yolact.tools.weights import FILES, UNPUBLISHED, fetch_weights

NAME = "yolact_base_54_800000.pth"
FILE = f"dbolya/yolact-base/{NAME}"
WEIGHTS = bytes(range(256)) * 4000


@pytest.fixture
def everything(web):
    """The Hub with everything that was published."""
    web.files = {f"{file.repository}/{file.file_name}": file.file_name.encode() for file in FILES.values()}
    web.files[FILE] = WEIGHTS
    return web


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_table_has_what_was_published():
    """By hand, from the README of github.com/dbolya/yolact."""
    models = {f"{file.repository}/{file.file_name}" for name, file in FILES.items() if name.startswith("yolact")}
    assert models == {
        f"dbolya/yolact-{model.replace('_', '-')}/yolact_{model}_54_800000.pth"
        for model in ("base", "resnet50", "darknet53", "im700", "plus_base", "plus_resnet50")
    }
    backbones = {name: file for name, file in FILES.items() if not name.startswith("yolact")}
    assert {file.repository for file in backbones.values()} == {"dbolya/yolact-initial-weights"}
    assert {name: file.file_name for name, file in backbones.items()} == AUTHORS_FILES
    assert not FILES.keys() & UNPUBLISHED.keys()


def test_everything(everything, tmp_path, capsys):
    assert not run(["weights", "--all", "--output", str(tmp_path / "new" / "w")])
    folder = tmp_path / "new" / "w"
    assert names(folder) == sorted(file.file_name for file in FILES.values())  # no parts or notes of the library
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        name.rpartition("/")[2]: content for name, content in everything.files.items()
    }
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 9
    assert f"yolact_base: {folder / NAME}" in printed
    assert not any(token for *_, token in everything.log)


def test_names_of_models_and_backbones_and_a_second_run(everything, tmp_path, capsys):
    command = ["weights", "yolact_base", "resnet50", "yolact_base", "--output", str(tmp_path)]
    run(command)
    assert names(tmp_path) == ["resnet50-19c8e357.pth", NAME]
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["yolact_base", "resnet50"]
    everything.log.clear()
    run(command)
    assert {method for method, *_ in everything.log} == {"HEAD"}  # checked, not fetched again


def test_a_connection_that_breaks_off_is_resumed(web, tmp_path):
    """By the library, which takes pieces of 10 MB."""
    web.files[FILE] = WEIGHTS * 12
    web.cuts = [11_000_000]
    assert fetch_weights("yolact_base", tmp_path).read_bytes() == WEIGHTS * 12
    assert [wanted for method, _, wanted, _ in web.log if method == "GET"] == [None, "bytes=10485760-"]


def test_after_a_failure_the_others_still_come(everything, tmp_path, capsys):
    del everything.files[FILE]
    with pytest.raises(UserError, match=r"^1 of 9 could not be fetched: yolact_base; see above why\.$"):
        run(["weights", "--all", "--output", str(tmp_path)])
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == len(names(tmp_path)) == 8
    assert re.search("yolact_base: .*404.* by hand", printed.err)


def test_wrong_bytes_never_get_the_name_and_what_has_it_is_never_overwritten(everything, tmp_path):
    for told, message in (
        (hashlib.sha256(b"other").hexdigest(), r"is not the file that was published \(1024000 bytes .*instead of"),
        ("no-hash", "does not say its SHA-256"),
    ):
        everything.sha256[FILE] = told
        with pytest.raises(DownloadError, match=message):
            fetch_weights("yolact_base", tmp_path)
        assert names(tmp_path) == []
    del everything.sha256[FILE]
    (tmp_path / NAME).write_bytes(b"mine")
    with pytest.raises(DownloadError, match=r"is not the file that was published.*remove it and run this again"):
        fetch_weights("yolact_base", tmp_path)
    assert (tmp_path / NAME).read_bytes() == b"mine"
    (tmp_path / NAME).unlink()
    (tmp_path / NAME).mkdir()
    with pytest.raises(DownloadError, match=r"cannot be read \(Is a directory\)"):
        fetch_weights("yolact_base", tmp_path)


def test_without_a_network_there_is_one_sentence_or_what_is_there(monkeypatch, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = taken.getsockname()[1]
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed}")
    with pytest.raises(DownloadError) as refusal:
        run(["weights", "yolact_base", "--output", str(tmp_path / "w")])
    assert "Connection refused" in str(refusal.value)
    assert f"https://huggingface.co/dbolya/yolact-base to '{tmp_path / 'w' / NAME}' by hand" in str(refusal.value)
    assert not (tmp_path / "w").exists()
    (tmp_path / NAME).write_bytes(b"mine")
    logged = []
    monkeypatch.setattr(weights.logger, "warning", lambda form, *values: logged.append(form % values))
    assert fetch_weights("yolact_base", tmp_path) == tmp_path / NAME
    assert "was not checked" in logged[0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("yolact_bas", "did you mean 'yolact_base'?"),
        ("resnet51", "did you mean 'resnet50'?"),
        ("mask-rcnn", "known are yolact_resnet50, "),
        ("yolact_im400", "published no weights"),
        ("yolact_resnet50_pascal", "only behind a link"),
    ],
)
def test_a_name_that_cannot_be_fetched_stops_before_anything_comes(everything, tmp_path, name, message):
    with pytest.raises(UserError) as refusal:
        run(["weights", "resnet50", name, "--output", str(tmp_path / "w")])
    assert message in str(refusal.value)
    assert everything.log == []
    assert not (tmp_path / "w").exists()


def test_the_list_needs_no_network_and_says_what_is_there(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    (tmp_path / NAME).write_bytes(WEIGHTS)
    assert not run(["weights", "--list", "--output", str(tmp_path)])
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert re.fullmatch(rf"yolact_base +YOLACT-550, ResNet-101 +{NAME} +in {tmp_path}, 1\.0 MB", rows["yolact_base"])
    assert rows["resnet101"].endswith("resnet101_reducedfc.pth")
    assert rows.keys() == {*FILES, *(f"{name}:" for name in UNPUBLISHED)}


@pytest.mark.parametrize(
    "arguments", ["", "--all --list", "yolact_base --all", "yolact_base --convert a b", "--all --to ours"]
)
def test_what_to_do_must_be_clear(arguments):
    with pytest.raises(UserError, match=r"Expected either names, or --all|belong to --convert"):
        run(["weights", *arguments.split()])


def test_a_missing_library_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # an import of it fails
    with pytest.raises(UserError, match="pip install huggingface_hub"):
        fetch_weights("yolact_base", tmp_path)


def test_the_help_shows_commands(capsys):
    with pytest.raises(SystemExit, match="0"):
        run(["weights", "--help"])
    assert "yolact weights --convert" in capsys.readouterr().out
