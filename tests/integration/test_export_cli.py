"""scripts/export.py: what it writes and says, what it refuses; and the example that uses its file."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import yolact
import yolact.export
from yolact.errors import exit_on_user_error

EXAMPLE = Path(__file__).resolve().parents[2] / "scripts/onnx_example.py"


@pytest.fixture(scope="module")
def main(load_script):
    return load_script("export").main


@pytest.fixture
def weights(sample_checkpoint, tmp_path):
    """A copy of the checkpoint in a folder of its own, to which results go by default."""
    (tmp_path / "run").mkdir()
    return shutil.copy(sample_checkpoint, tmp_path / "run/best.pth")


@pytest.fixture
def run(main, capsys):
    """Run the command as the shell would; return its exit code, standard output and standard error."""

    def call(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            exit_on_user_error(lambda: main([str(argument) for argument in arguments]))
        printed = capsys.readouterr()
        return stopped.value.code, printed.out, printed.err

    return call


@pytest.fixture(scope="module")
def onnx_file(main, sample_checkpoint, sample_data, tmp_path_factory):
    """A complete export, compared on pictures of a folder."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    path = tmp_path_factory.mktemp("onnx") / "sample.onnx"
    pictures = str(sample_data / "pictures")
    main(["--weights", str(sample_checkpoint), "--format", "onnx", "--output", str(path), "--pictures", pictures])
    return path


def test_a_file_is_written_and_described(run, weights):
    code, out, err = run("--weights", weights, "--format", "torch-raw")
    assert (code or 0, err) == (0, "")
    assert sorted(path.name for path in weights.parent.iterdir()) == ["best.pth", "best_raw.pt2"]
    assert "the same as PyTorch, run with torch.export of PyTorch" in out
    assert "6, 1 and 2 and 3 at a time" in out
    assert "in   images            uint8    [batch, 64, 64, 3]" in out
    assert "out  prototypes        float32  [batch, 8, 16, 16]" in out
    torch.export.load(weights.parent / "best_raw.pt2")


def test_settings_are_written_into_the_file(run, weights, tmp_path, sample_data):
    pictures = sorted((sample_data / "pictures").iterdir())[:2]
    output = tmp_path / "few.pt2"
    settings = ("eval.max_detections=7", "eval.nms=cross_class")
    code, out, _ = run(
        "--weights", weights, "--format", "torch", "--output", output, "--set", *settings, "--pictures", *pictures
    )
    assert code in (None, 0)
    assert "comparing on 2 given pictures" in out
    about = {"metadata.json": ""}
    found = torch.export.load(output, extra_files=about).module()(torch.zeros(5, 64, 64, 3, dtype=torch.uint8))
    assert found["boxes"].shape == (5, 7, 4)
    about = json.loads(about["metadata.json"])
    assert (about["nms"], about["class_names"], about["category_ids"]) == ("cross_class", ["disc", "square"], [3, 7])


def test_a_file_that_disagrees_is_not_kept(run, weights, monkeypatch):
    written = []

    def damaged(export, path, container):
        """Write weights of which one has changed, as a wrong conversion would."""
        with torch.no_grad():
            export.graph.model.head.class_logits.bias[1] += 0.01
        write(export, path, container)
        written.append(path)

    write = yolact.export.write
    monkeypatch.setattr(yolact.export, "write", damaged)
    older = weights.with_name("best_raw.pt2")
    older.write_bytes(b"older")
    code, _, err = run("--weights", weights, "--format", "torch-raw")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "'" + str(older) + "' was not kept, because it does not agree with PyTorch: class_logits differs by" in err
    assert written
    assert sorted(path.name for path in weights.parent.iterdir()) == ["best.pth", "best_raw.pt2"]
    assert older.read_bytes() == b"older"


def test_a_file_of_which_nothing_could_be_compared_is_not_kept(run, weights):
    code, _, err = run("--weights", weights, "--format", "torch-raw", "--set", "eval.score_threshold=1")
    assert code == 2
    assert "no object in 6 pictures with a score above 1;" in err
    assert [path.name for path in weights.parent.iterdir()] == ["best.pth"]


REFUSED = {
    "another ending": (["--format", "onnx", "--output", "{folder}/a.pt2"], "ends in .onnx"),
    "no such folder": (["--format", "torch", "--output", "{folder}/none/a.pt2"], "does not exist"),
    "no such picture": (["--format", "torch", "--pictures", "{folder}/none.png"], "none.png"),
    "exact NMS": (["--format", "torch", "--set", "eval.nms=exact"], "eval.nms=fast"),
    "unknown key": (["--format", "torch", "--set", "eval.nsm=fast"], "eval.nsm"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_mistakes_are_refused_in_one_sentence(run, weights, mistake):
    arguments, words = REFUSED[mistake]
    folder = weights.parent
    code, _, err = run("--weights", weights, *(argument.format(folder=folder) for argument in arguments))
    assert code == 2
    assert len(err.splitlines()) == 1
    assert words in err
    assert [path.name for path in folder.iterdir()] == ["best.pth"]


def test_the_example_needs_nothing_of_this_project():
    tree = ast.parse(EXAMPLE.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported - sys.stdlib_module_names == {"cv2", "numpy", "onnxruntime"}


def example(*arguments, cwd):
    """Run the example where neither torch nor this project can be imported."""
    program = f"import sys, runpy; sys.modules.update(torch=None, yolact=None); sys.argv[0] = {str(EXAMPLE)!r}; "
    program += "runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_example_finds_what_the_predictor_finds(onnx_file, sample_checkpoint, sample_data, tmp_path):
    path = sample_data / "pictures/picture 1.png"
    expected = yolact.load(sample_checkpoint)(str(path), score_threshold=0.35)
    assert len(expected) > 3
    done = example(onnx_file, path, "--threshold", 0.35, "--output", "found.png", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == len(expected)
    for line, label, score, box in zip(lines, expected.labels, expected.scores, expected.boxes, strict=True):
        corners = " ".join(f"{corner:.0f}" for corner in box)
        assert line.startswith(f"{expected.class_names[label]} {score:.2f}, box {corners}, ")
    drawn = cv2.imread(str(tmp_path / "found.png"))
    assert drawn.shape == cv2.imread(str(path)).shape
    assert not np.array_equal(drawn, cv2.imread(str(path)))


@pytest.fixture(scope="module")
def example_module(load_script):
    return load_script("onnx_example")


def test_the_masks_of_the_example_are_those_of_the_predictor(onnx_file, example_module, sample_checkpoint, sample_data):
    session, about = example_module.load(str(onnx_file))
    picture = cv2.imread(str(sample_data / "pictures/picture 2.png"))
    expected = yolact.load(sample_checkpoint)(picture, score_threshold=0.3)
    masks = example_module.detect(session, about, picture, 0.3).masks
    assert masks.shape == expected.masks.shape
    assert masks.any()
    assert (masks != expected.masks.numpy()).mean() < 1e-4


def test_the_example_crops_large_masks_where_the_small_ones_are_whole(example_module):
    about = {"mask_threshold": 0.5, "crop": "after_resize"}
    mask = example_module.paste(np.ones((4, 4), np.float32), np.array([1.4, 2.6, 5.5, 6.4]), (8, 8, 3), about)
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 5, 1, 4)
    assert example_module.paste(np.ones((4, 4), np.float32), np.zeros(4), (8, 8, 3), about | {"crop": "none"}).all()


def test_the_example_refuses_what_it_cannot_use(onnx_file, tmp_path):
    done = example(onnx_file, "none.png", cwd=tmp_path)
    assert done.returncode == 2
    assert "cannot be read as a picture" in done.stderr


@pytest.mark.long
def test_ten_photographs_with_a_resnet50(main, shared, tmp_path, capsys):
    """The published form of the model, weights made by rules: the same detections, scores to 1e-4, masks over 0.99."""
    from compare import published_state_dict

    weights = tmp_path / "yolact_resnet50_54_800000.pth"
    torch.save(published_state_dict("yolact_resnet50"), weights)
    main(["--weights", str(weights), "--format", "onnx", "--pictures", str(shared / "coco_tiny/val2017")])
    out = capsys.readouterr().out
    print(out)
    assert "10, 1 and 3 at a time" in out
    assert "1000 of 1000 the same" in out
