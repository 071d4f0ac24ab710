"""Large images in tiles: by a predictor, in an evaluation, at the command line, in a training and in a check."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import yolact
from tests.made import assert_alike
from yolact.cli import run
from yolact.config import override_config
from yolact.data import CocoDataset, decoders, windows
from yolact.data.loader import EvaluationSet
from yolact.data.windows import open_image
from yolact.distributed import World
from yolact.engine.training_data import load_data
from yolact.errors import ConfigError, DatasetError, UserError
from yolact.evaluation.run import compare_nms, evaluate
from yolact.joining import join_tiles
from yolact.structures import Resize, Tiles

TILES = {"tiles": 40, "tile_overlap": 12}


@pytest.fixture(scope="module")
def predictor(sample_checkpoint):
    return yolact.load(sample_checkpoint, score_threshold=0.1, tile_overlap=12)


@pytest.fixture
def image():
    return np.random.default_rng(1).integers(0, 256, (50, 110, 3), dtype=np.uint8)


def cut_by_hand(predictor, image):
    views = Tiles((40, 40), 12).views(image.shape[:2])
    assert len(views) == 8
    return join_tiles([(view, predictor(image[view[1] : view[3], view[0] : view[2]])) for view in views], (50, 110))


def test_tiles_are_images_of_their_own_and_are_joined(predictor, image, sample_checkpoint, tmp_path):
    expected = cut_by_hand(predictor, image)
    assert len(expected) > 20
    found = predictor(image, tiles=40)
    assert_alike(found, expected)
    assert found.image is image
    assert (found.scores[:-1] >= found.scores[1:]).all()
    for one in predictor([image, image], tiles=(40, 40)):
        assert_alike(one, expected)
    assert_alike(next(predictor.stream([image], tiles=40)), expected)
    [shared] = predictor.overlapped(lambda own, one: own(one, tiles=40), [image])  # within another thread
    assert_alike(shared, expected)
    always = yolact.load(sample_checkpoint, score_threshold=0.1, **TILES)
    assert_alike(always(image), expected)
    assert [len(one) for one in always.find_all([image, image])] == [len(expected)] * 2
    cv2.imwrite(str(tmp_path / "a.png"), image)
    assert_alike(predictor(tmp_path / "a.png", tiles=40), expected)


def test_an_image_that_is_no_larger_than_a_tile_stays_as_it_is(predictor, image):
    assert_alike(predictor(image, tiles=(50, 110)), predictor(image))
    assert_alike(predictor(image, tiles=1000), predictor(image))


def test_each_tile_is_flipped(image, sample_checkpoint):
    whole = yolact.load(sample_checkpoint, score_threshold=0.1, flips=["horizontal"])
    tiled = yolact.load(sample_checkpoint, score_threshold=0.1, flips=["horizontal"], **TILES)
    assert_alike(tiled(image), cut_by_hand(whole, image))


@pytest.mark.parametrize(("tiles", "message"), [(23, "at least 32"), ((40, 31), "at least 32"), (-1, "at least 32")])
def test_tiles_have_a_size(predictor, image, tiles, message):
    with pytest.raises(ValueError, match=f"tiles must have sides of {message} pixels"):
        predictor(image, tiles=tiles)


@pytest.mark.parametrize("tiles", [np.int64(40), [40, 40], (np.int32(40), 40)])
def test_tiles_may_be_numbers_of_numpy_or_a_list(predictor, image, tiles):
    assert len(predictor(image, tiles=tiles)) == len(predictor(image, tiles=40))


@pytest.mark.parametrize("tiles", [40.0, "40", (40,), (40, 40, 40), (40, None)])
def test_tiles_are_whole_numbers(predictor, image, tiles):
    with pytest.raises(TypeError, match="tiles must be a whole number of pixels or "):
        predictor(image, tiles=tiles)


def test_the_overlap_is_half_a_tile_at_most(sample_checkpoint, image, sample_config):
    with pytest.raises(ValueError, match=r"at least 60 pixels, twice eval\.tile_overlap=30"):
        yolact.load(sample_checkpoint, tile_overlap=30)(image, tiles=40)
    with pytest.raises(ConfigError, match=r"eval\.tile_overlap must be at most half a tile, 20 of 40, got 21"):
        override_config(sample_config, ["eval.tiles=40", "eval.tile_overlap=21"])
    with pytest.raises(ConfigError, match=r"at most half a tile, 16 of \(32, 40\)"):
        override_config(sample_config, ["data.tiles=[32,40]", "eval.tile_overlap=21"])
    settings = replace(sample_config.eval, tiles=40, tile_overlap=21)  # which no configuration has checked
    with pytest.raises(ConfigError, match=r"tile_overlap must be at most half of eval\.tiles, 40, got 21"):
        Tiles.of(settings)


def test_what_is_too_large_to_be_decoded_whole(predictor, image, tmp_path, monkeypatch):
    pytest.importorskip("rasterio", reason="reads images by parts")
    path = tmp_path / "a.tif"
    Image.fromarray(image[..., ::-1]).save(path, tiffinfo={322: 32, 323: 32})
    monkeypatch.setattr(decoders, "MAX_PIXELS", 1000)
    monkeypatch.setattr(windows, "MAX_PIXELS", 1000)
    with pytest.raises(DatasetError, match="cut it into tiles"):
        predictor(path)
    found = predictor(path, tiles=40)
    assert_alike(found, cut_by_hand(predictor, image))
    assert found.image is None
    with pytest.raises(ValueError, match="do not hold their image"):
        found.plot()


@pytest.mark.parametrize(("workers", "batch_size"), [(0, 1), (2, 3)])
def test_an_evaluation_in_tiles_scores_what_a_predictor_finds(predictor, dataset, workers, batch_size):
    settings = replace(predictor.settings, **TILES, num_workers=workers, batch_size=batch_size)
    result = evaluate(predictor.runtime, dataset, settings, progress=False)
    expected = [
        record for index, one in enumerate(dataset.images)
        for record in predictor(dataset.load_image(index), settings.score_threshold, tiles=40).to_coco(one.id, "segm")
    ]  # fmt: skip
    for key in ("image_id", "category_id"):  # among equal scores the order is that of rounding
        assert sorted(one[key] for one in result.segm) == sorted(one[key] for one in expected)
    torch.testing.assert_close(*(torch.tensor([one["score"] for one in both]) for both in (result.segm, expected)))
    assert result.metrics["tiles"] == {"size": [40, 40], "overlap": 12}
    assert result.metrics["images"] == 6
    assert result.metrics["fps"] > 0


def test_kinds_of_nms_are_compared_in_tiles(predictor, dataset):
    found = compare_nms(predictor.runtime, dataset, replace(predictor.settings, **TILES), progress=False)
    assert {len(one.segm) > 20 for one in found.values()} == {True}
    assert {tuple(one.metrics["tiles"]["size"]) for one in found.values()} == {(40, 40)}


def test_the_tiles_of_an_image_belong_to_one_rank_and_to_whole_batches(dataset):
    tiles = Tiles((40, 40), 12)
    batches = [EvaluationSet(dataset, Resize((64, 64)), tiles).batches(3, World(rank, 2)) for rank in range(2)]
    for rank, own in enumerate(batches):
        assert {piece.image for batch in own for piece in batch} == set(range(rank, 6, 2))
        assert all(len({piece.image for piece in batch}) == 1 and len(batch) <= 3 for batch in own)
        ends = [piece for batch in own for piece in batch if piece.is_last]
        assert [piece.image for piece in ends] == [*range(rank, 6, 2)]


def test_what_follows_the_tiles_of_a_training(sample_config, caplog):
    """Nine of ten objects have at most 18 pixels a side, but one disc of 19; an overlap is half a tile at most."""
    config, *_ = load_data(override_config(sample_config, ["data.tiles=40", "eval.nms_top_k=1"]))
    assert (config.eval.tiles, config.eval.tile_overlap) == (40, 19)
    assert config.eval.nms_top_k == 2
    assert load_data(override_config(sample_config, ["data.tiles=34"]))[0].eval.tile_overlap == 17
    config, *_ = load_data(override_config(sample_config, ["data.tiles=40", "eval.tiles=50", "eval.tile_overlap=3"]))
    assert (config.eval.tiles, config.eval.tile_overlap) == (50, 3)
    assert "trains on tiles of 40, but evaluates in tiles of 50 (eval.tiles)" in caplog.text


def predict(checkpoint, output, *more):
    run([*map(str, ["predict", *more, "--weights", checkpoint, "--output", output, "--score-threshold", 0.1])])
    return json.loads((output / "predictions.json").read_text())


def test_the_command_line_takes_tiles(sample_checkpoint, image, tmp_path, predictor, monkeypatch):
    pytest.importorskip("rasterio", reason="reads images by parts")
    cv2.imwrite(str(tmp_path / "a.tif"), image)
    cv2.imwrite(str(tmp_path / "b.png"), image)
    monkeypatch.setattr("yolact.tools.predict.OVERVIEW_SIDE", 55)
    options = ["--tiles", 40, "--set", "eval.tile_overlap=12"]
    records = predict(sample_checkpoint, tmp_path / "out", tmp_path / "a.tif", tmp_path / "b.png", *options)
    expected = predictor(image, tiles=40)
    assert [len([one for one in records if one["image_id"] == number]) for number in (1, 2)] == [len(expected)] * 2
    assert records[0]["segmentation"]["size"] == [50, 110]
    shapes = [cv2.imread(str(tmp_path / "out" / name)).shape[:2] for name in ("a.png", "b.png")]
    assert shapes == [(200, 440), (300, 660)]  # the first was read by parts: half its size, enlarged for people
    with pytest.raises(UserError, match="--prototypes draws those of one image of the network"):
        predict(sample_checkpoint, tmp_path / "new", tmp_path / "b.png", "--prototypes", *options)


def test_a_training_on_tiles_runs_and_its_checkpoint_finds_in_tiles(sample_config, tmp_path):
    overrides = ["data.tiles=48", "train.max_steps=2", "train.batch_size=2", "train.backbone_weights=none"]
    config = override_config(sample_config, [*overrides, "train.image_sizes=[48,64]", "train.epochs=null"])
    trainer = yolact.train(config, runs=tmp_path, name="a", device="cpu")
    assert trainer.metrics["tiles"] == {"size": [48, 48], "overlap": 19}
    assert trainer.plan.num_images == 24  # samples of an epoch: each image in four
    assert Tiles.of(yolact.load(trainer.folder / "last.pth").settings) == ((48, 48), 19)
    run(["eval", "--weights", str(trainer.folder / "last.pth"), "--device", "cpu"])
    assert "48 x 48 pixels, 19 of them shared" in (trainer.folder / "eval/report.html").read_text()


def test_annotations_of_a_large_image_are_read_where_there_are_tiles(sample_config, sample_data, tmp_path, monkeypatch):
    pytest.importorskip("rasterio", reason="reads images by parts")
    content = json.loads((sample_data / "annotations.json").read_text())
    for one in content["images"]:
        pixels = cv2.imread(str(sample_data / "pictures" / one["file_name"]))
        one["file_name"] = one["file_name"].replace("png", "tif")
        cv2.imwrite(str(tmp_path / one["file_name"]), pixels)
    (tmp_path / "a.json").write_text(json.dumps(content))
    monkeypatch.setattr("yolact.data.dataset.MAX_PIXELS", 3000)
    monkeypatch.setattr("yolact.data.annotations.MAX_PIXELS", 3000)
    for module in (decoders, windows):
        monkeypatch.setattr(module, "MAX_PIXELS", 3000)
    monkeypatch.setattr("yolact.tools.inspect.reading.MAX_PIXELS", 3000)
    with pytest.raises(DatasetError, match=r"expected 1 to 3,000 where .* set data\.tiles and eval\.tiles"):
        CocoDataset(tmp_path / "a.json", tmp_path)
    assert len(CocoDataset(tmp_path / "a.json", tmp_path, in_tiles=True)) == 6
    paths = [f"data.{key}={tmp_path / name}" for key, name in (("train_images", ""), ("train_annotations", "a.json"))]
    paths += [f"data.{key}={tmp_path / name}" for key, name in (("val_images", ""), ("val_annotations", "a.json"))]
    check = ["check", "--config", "shapes", "--output", str(tmp_path / "checked"), "--set", *paths]
    assert run([*check, "model.num_classes=2"]) == 1
    findings = json.loads((tmp_path / "checked/check.json").read_text())["findings"]
    assert [(one["kind"], one["set"], one["count"]) for one in findings if one["level"] == "error"] == [
        ("picture-without-tiles", "train", 6), ("picture-without-tiles", "val", 6),
    ]  # fmt: skip
    assert run([*check, "model.num_classes=2", "data.tiles=40"]) == 0
    assert "input: 144 x 144 pixels" in (tmp_path / "checked/index.html").read_text()
    assert open_image(tmp_path / content["images"][0]["file_name"]).pixels is None
