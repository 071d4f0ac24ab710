"""Images of other than three channels, from their files to training, evaluation, prediction, tiles and export."""

import json
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

import yolact
from tests.configurations import CLOSE_ANCHORS, EVAL, MODEL, TRAIN
from tests.data.conftest import rectangle
from tests.data.made_images import make_tiff
from tests.integration.conftest import evaluate, lines, train
from tests.reliability.trainings import differences
from yolact.cli import run
from yolact.config import load_config
from yolact.errors import UserError

pytest.importorskip("rasterio", reason="rasterio is not installed")
SIDE, NUM_IMAGES = 64, 8
FOUR = pytest.mark.parametrize("learnt", [4], indirect=True)


def write_set(folder: Path, channels: int) -> Path:
    """Write images of noise, with a bright square that their last band alone shows, and a configuration for them."""
    rng, images, annotations = np.random.default_rng(0), [], []
    (folder / "images").mkdir()
    for number in range(1, NUM_IMAGES + 1):
        x, y = (8 * int(place) for place in rng.integers(0, 5, 2))
        bands = rng.integers(60, 120, (SIDE, SIDE, channels), dtype=np.uint8)
        bands[y : y + 24, x : x + 24, -1] = 250
        (folder / f"images/{number}.tif").write_bytes(make_tiff(bands, extra=(0,) * max(channels - 3, 0)))
        images.append({"id": number, "file_name": f"{number}.tif", "height": SIDE, "width": SIDE})
        annotations.append(rectangle(number, number, 1, x, y, 24, 24))
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "square"}]}
    (folder / "all.json").write_text(json.dumps(content))
    keys = [f"{part}_{what}" for part in ("train", "val") for what in ("images", "annotations")]
    places = {"images": str(folder / "images"), "annotations": str(folder / "all.json")}
    data = {key: places[key.partition("_")[2]] for key in keys}
    settings = {"max_steps": 120, "optimizer": "adamw", "lr": 3e-3, "warmup_steps": 5, "batch_size": 4, "log_every": 20}
    plain = {"photometric": True, "crop": False, "expand_probability": 0.2, "copy_paste_probability": 0.2}
    path = folder / f"bands{channels}.yaml"
    model = {**MODEL, **CLOSE_ANCHORS, "channels": channels}
    content = {
        "name": path.stem, "model": model, "data": {**data, "num_workers": 0, "augment": plain},
        "train": {**TRAIN, **settings, "schedule": "cosine", "eval_every": None}, "eval": {**EVAL, "batch_size": 4},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module", params=[4, 1])
def learnt(request, tmp_path_factory):
    """The folder of a training on images of so many channels."""
    folder = tmp_path_factory.mktemp("channels")
    config = write_set(folder, request.param)
    assert train("--config", config, "--runs", folder, "--name", "one") == 0
    return folder / config.stem / "one"


def test_what_the_last_band_alone_shows_is_learnt(learnt):
    losses = [line["total"] for line in lines(learnt) if "losses" in line]
    (last,) = (line["evaluation"] for line in lines(learnt) if "evaluation" in line)
    print(losses, last["segm"]["AP"])
    assert losses[-1] < 0.5 * losses[0]
    assert last["segm"]["AP50"] > 0.9


@FOUR
def test_a_training_goes_on_bit_by_bit(learnt, tmp_path, at_step):
    short = ["--set", "train.max_steps=12", "train.log_every=1"]
    begin = ["--config", learnt / "config.yaml", "--runs", tmp_path, *short, "--name"]
    whole, cut = (tmp_path / "bands4" / name for name in ("whole", "cut"))
    assert train(*begin, "whole") == 0
    at_step(7, lambda: signal.raise_signal(signal.SIGTERM))
    assert train(*begin, "cut") == 128 + signal.SIGTERM
    assert train("--resume", cut) == 0
    assert differences(cut, whole) == []


def test_the_file_and_the_array_are_one_image_to_the_predictor(learnt):
    predictor = yolact.load(learnt / "last.pth")
    channels, path = predictor.config.model.channels, learnt.parents[1] / "images/3.tif"
    by_file, array = predictor(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED).reshape(SIDE, SIDE, channels)
    array = array[..., [2, 1, 0, 3]] if channels == 4 else array  # which OpenCV takes for BGR and alpha
    by_array, in_tiles = predictor(array), predictor(path, tiles=48)
    assert len(by_file) >= 1
    assert by_file.image.shape == (SIDE, SIDE, channels)
    assert np.array_equal(by_file.image, array)
    assert np.array_equal(by_file.boxes, by_array.boxes)
    assert len(in_tiles) >= 1
    drawn = by_file.plot(boxes=False, masks=False, labels=False)
    assert np.array_equal(drawn, array[..., [2, 1, 0] if channels == 4 else [0, 0, 0]])
    assert by_file.crops(masked=True)[0].shape[2] == channels + 1
    with pytest.raises(
        ValueError, match=rf"\[H, W, {channels}\] array, as model.channels is {channels}.*\[64, 64, 3\]"
    ):
        predictor(np.zeros((SIDE, SIDE, 3), np.uint8))


def test_commands_take_such_models(learnt, tmp_path, capsys):
    weights, image, channels = learnt / "last.pth", learnt.parents[1] / "images/3.tif", int(learnt.parent.name[-1])
    evaluate("--weights", weights, "--output", tmp_path / "eval", "--set", "eval.tiles=48")
    assert json.loads((tmp_path / "eval/metrics.json").read_text())["images"] == NUM_IMAGES
    for verb in (["predict", "--prototypes"], ["explain"]):
        run([verb[0], str(image), "--weights", str(weights), "--output", str(tmp_path / verb[0]), *verb[1:]])
    assert cv2.imread(str(tmp_path / "predict/3.png")).shape[2] == 3
    capsys.readouterr()
    run(["check", "--config", str(learnt / "config.yaml"), "--output", str(tmp_path / "check")])
    content = json.loads((tmp_path / "check/check.json").read_text())
    assert content["sets"]["train"]["bands"] == {str(channels): NUM_IMAGES}
    assert "other-bands" not in [one["kind"] for one in content["findings"]]
    run(
        ["check", "--config", str(learnt / "config.yaml"), "--output", str(tmp_path / "c"), "--set", "model.channels=5"]
    )
    said = f"error   train images of other bands than the model takes: {NUM_IMAGES}, such as 1.tif"
    assert f"{said} ({NUM_IMAGES} of {channels} bands)" in capsys.readouterr().out
    alone = ["check", "--annotations", str(learnt.parents[1] / "all.json"), "--images", str(image.parent)]
    run([*alone, "--output", str(tmp_path / "d"), "--write-config", str(tmp_path / "mine.yaml")])
    assert load_config(tmp_path / "mine.yaml").model.channels == {4: 4, 1: 3}[channels]
    writer = cv2.VideoWriter(str(tmp_path / "v.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 5, (SIDE, SIDE))
    for _ in range(3):
        writer.write(np.full((SIDE, SIDE, 3), 90, np.uint8))
    writer.release()
    video = ["predict", str(tmp_path / "v.mp4"), "--weights", str(weights), "--output", str(tmp_path / "video")]
    if channels == 1:
        run(video)
        assert (tmp_path / "video/predictions.json").is_file()
    refused = [["weights", "--convert", str(weights), str(tmp_path / "a.pth")]]
    refused += (
        [["demo", "--weights", str(weights)], ["benchmark", "--weights", str(weights)], video] if channels == 4 else []
    )
    for command in refused:
        with pytest.raises(UserError, match=r"model\.channels"):
            run(command)


@FOUR
@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_exported_files_find_the_same(learnt, tmp_path, form):
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    pytest.importorskip({"onnx": "onnxruntime"}.get(form, form), reason="its package is not installed")
    path, image = tmp_path / {"onnx": "a.onnx", "openvino": "a_openvino"}[form], learnt.parents[1] / "images/3.tif"
    command = ["export", "--weights", str(learnt / "last.pth"), "--format", form, "--output", str(path)]
    run([*command, "--images", str(image.parent)])  # which compares
    found, expected = yolact.load(path)(image), yolact.load(learnt / "last.pth")(image)
    assert np.allclose(found.boxes, expected.boxes, atol=0.1)
    assert len(found) == len(expected)


@FOUR
def test_a_model_of_photographs_is_fine_tuned(learnt, tmp_path):
    settings = ["--runs", tmp_path, "--name", "one", "--set", "train.max_steps=1"]
    assert train("--config", write_set(tmp_path, 3), *settings) == 0
    weights = tmp_path / "bands3/one/last.pth"
    assert train("--config", learnt / "config.yaml", "--weights", weights, *settings) == 0
    said = "backbone.conv1.weight: averaged over its 3 channels, and repeated over 4 times 3/4"
    assert said in (tmp_path / "bands4/one/log.txt").read_text()
