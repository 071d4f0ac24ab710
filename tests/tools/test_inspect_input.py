"""How an input fits images and their objects, what is warned of, and the configuration to begin with."""

import json

import pytest

from tests.tools.inspect_sets import jpeg
from yolact.cli import run
from yolact.config import ModelConfig, load_config
from yolact.errors import UserError
from yolact.tools.inspect.input_fit import fit_input
from yolact.tools.inspect.reading import InspectedSet, Source
from yolact.tools.inspect.starting_config import rectangle


@pytest.fixture
def make(tmp_path):
    """Return a function that writes images of (H, W) with a square object of so many pixels each."""

    def write(shapes, side):
        images, objects = [], []
        for number, (height, width) in enumerate(shapes, 1):
            (tmp_path / f"{number}.jpg").write_bytes(jpeg(number, height, width))
            images.append({"id": number, "file_name": f"{number}.jpg", "height": height, "width": width})
            polygon = [1, 1, 1 + side, 1, 1 + side, 1 + side, 1, 1 + side]
            fields = {"id": number, "image_id": number, "category_id": 1, "bbox": [1, 1, side, side], "iscrowd": 0}
            objects.append({**fields, "area": side * side, "segmentation": [polygon]})
        objects = objects if side else []
        content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "a"}]}
        (tmp_path / "a.json").write_text(json.dumps(content))
        return InspectedSet(Source("data", tmp_path / "a.json", tmp_path))

    return write


def check(folder, *more):
    paths = ["--annotations", folder / "a.json", "--images", folder, "--output", folder / "out"]
    return run([*map(str, ["check", *paths, *more])])


def test_an_input_by_hand(make):
    """100 x 400 pixels become 200 x 200: four times more on one side, objects of 40 pixels 80 high and 20 wide."""
    wide = make([(100, 400)] * 3 + [(200, 200)], 40)
    fit = fit_input(wide, ModelConfig(image_size=200))
    assert (fit.image_size, fit.squashed, fit.much_squashed, fit.stride) == ((200, 200), 4.0, 0.75, 8)
    assert (fit.object_side, fit.small_objects) == (40.0, 0.0)
    padded = fit_input(wide, ModelConfig(image_size=80, resize="pad"))  # 20 x 80: the objects have 8 pixels
    assert (padded.squashed, padded.object_side, padded.small_objects) == (1.0, 8.0, 0.0)
    smaller = fit_input(wide, ModelConfig(image_size=64, resize="pad"))
    assert smaller.small_objects == 0.75


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        (["model.image_size=200"], ["squashed-pictures"]),
        (["model.image_size=[100,400]"], []),
        (["model.image_size=64", "model.resize=pad"], ["small-objects"]),
    ],
)
def test_what_does_not_fit_is_warned_of(make, tmp_path, options, warned, capsys):
    make([(100, 400)] * 10, 40)
    assert check(tmp_path, "--set", *options) == 0
    content = json.loads((tmp_path / "out/check.json").read_text())
    assert [one["kind"] for one in content["findings"]] == warned
    assert content["input"]["stride"] == 8
    assert "half of the objects under" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("shapes", "side", "model"),
    [
        ([(200, 200)] * 20, 40, {"image_size": 256, "resize": "stretch", "head_from": 3}),
        ([(200, 800)] * 20, 40, {"image_size": (128, 512), "resize": "stretch", "head_from": None}),
        ([(200, 800), (300, 300)] * 10, 40, {"image_size": 256, "resize": "pad", "head_from": None}),
        ([(600, 600)] * 20, 12, {"image_size": 448, "resize": "stretch", "head_from": None}),  # 12 * 448 / 600 is 9
        ([(200, 200)] * 20, 2, {"image_size": 256, "resize": "stretch", "head_from": None}),  # no more to be seen
    ],
    ids=["squares", "oblong", "unlike", "small objects", "too small objects"],
)
def test_a_configuration_to_begin_with(make, tmp_path, shapes, side, model):
    make(shapes, side)
    check(tmp_path, "--write-config", tmp_path / "mine.yaml")
    config = load_config(tmp_path / "mine.yaml")
    assert {key: getattr(config.model, key) for key in model} == model
    assert (config.name, config.data.train_annotations) == ("mine", str(tmp_path / "a.json"))
    assert config.train.image_sizes[-1] == config.model.image_size
    assert config.train.max_steps == 2000
    header = (tmp_path / "mine.yaml").read_text().split("_base_")[0]
    assert ("hardly learnt" in header) == (side == 2)
    assert "image_size: " in header


def test_a_set_with_no_objects_and_a_file_that_exists_are_refused(make, tmp_path):
    make([(60, 80)] * 2, 0)
    with pytest.raises(UserError, match="has no objects that a configuration could fit"):
        check(tmp_path, "--write-config", tmp_path / "mine.yaml")
    (tmp_path / "mine.yaml").touch()
    with pytest.raises(UserError, match="takes the name of a new"):
        check(tmp_path, "--write-config", tmp_path / "mine.yaml")


@pytest.mark.parametrize(("side", "ratio", "size"), [(256, 1, (256, 256)), (256, 4, (128, 512)), (256, 64, (32, 2048))])
def test_rectangles_of_one_area(side, ratio, size):
    assert rectangle(side, ratio) == size


def test_large_images_of_small_objects_are_cut_into_tiles(make, tmp_path):
    """At 640 pixels an object of 14 in 1500 would have 6. Tiles of 448 show it as 16, in an input of 512."""
    make([(1500, 1500)] * 20, 14)
    check(tmp_path, "--write-config", tmp_path / "mine.yaml")
    config = load_config(tmp_path / "mine.yaml")
    assert (config.data.tiles, config.model.image_size, config.model.resize) == (448, 512, "stretch")
    assert config.train.max_steps == 20 * 20 * 25 / 2  # 25 tiles an image
    header = (tmp_path / "mine.yaml").read_text().split("_base_")[0]
    assert "tiles: in whole images at 640 pixels a quarter of the objects would be smaller than 6.0" in header
    assert "three quarters of the objects have more than 16 pixels" in header
    assert "20 passes over their tiles" in header


def test_the_input_of_tiles_is_measured_on_tiles(make, tmp_path, capsys):
    make([(300, 300)] * 10, 40)
    assert check(tmp_path, "--set", "model.image_size=64", "model.resize=pad", "data.tiles=100") == 0
    content = json.loads((tmp_path / "out/check.json").read_text())
    assert content["input"]["object_side"] == pytest.approx(40 * 64 / 100)
    assert (content["findings"], content["masks"]["objects"]) == ([], 10)
    assert "stretched" not in capsys.readouterr().out.split("of tiles of 100 x 100")[0]
