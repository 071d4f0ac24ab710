"""`yolact weights --convert`: both ways, what it says, and what it refuses."""

import functools

import pytest
import torch

from tests.configurations import SMALL_RESNET50
from tests.made import make_checkpoint
from yolact.cli import run
from yolact.compat import dbolya
from yolact.config import Config, config_to_dict, dump_config
from yolact.engine.checkpoint import LEGACY_START, load_checkpoint, save_checkpoint
from yolact.errors import CheckpointError, ConfigError, UserError
from yolact.loaded import load_model
from yolact.models import build_model
from yolact.tools import conversion


@pytest.fixture(scope="module")
def models():
    """State dicts of two small models of ResNet-50, by our names."""
    torch.manual_seed(0)
    return [build_model(SMALL_RESNET50).state_dict() for _ in range(2)]


@pytest.fixture
def convert(capsys):
    """Run the command and return the lines that it prints."""

    def call(*arguments):
        capsys.readouterr()
        run(["weights", "--convert", *map(str, arguments)])
        return capsys.readouterr().out.splitlines()

    return call


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(dump_config(SMALL_RESNET50))
    return path


@pytest.fixture(scope="module")
def files(models, tmp_path_factory):
    """Folder with a file of the authors' code, which holds what an older version left, and a checkpoint with EMA."""
    folder = tmp_path_factory.mktemp("convert")
    old = ("backbone.layer1.0.conv1.weight", "fpn.downsample_layers.2.bias", "fpn.downsample_layers.2.weight")
    torch.save({**dict.fromkeys(old, torch.zeros(1)), **dbolya.export(models[0])}, folder / "theirs.pth")
    run = {"step": 120, "optimizer": {"state": {}}, "ema": models[1]}
    state = make_checkpoint(models[0], config_to_dict(SMALL_RESNET50), ["cat", "dog"], [1, 2], **run)
    save_checkpoint(state, folder / "ours.pth")
    return folder


@pytest.fixture
def theirs(files, tmp_path):
    (tmp_path / "their_own_12_3400.pth").hardlink_to(files / "theirs.pth")
    return tmp_path / "their_own_12_3400.pth"


@pytest.fixture
def ours(files, tmp_path):
    (tmp_path / "best.pth").hardlink_to(files / "ours.pth")
    return tmp_path / "best.pth"


def equal(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def test_the_authors_weights_become_a_checkpoint_of_ours(convert, theirs, models, config_file, tmp_path):
    lines = convert(theirs, tmp_path / "new.pth", "--config", config_file)
    checkpoint = load_checkpoint(tmp_path / "new.pth")
    assert equal(checkpoint["model"], models[0])
    assert checkpoint["step"] == 3400
    assert checkpoint["config"] == config_to_dict(SMALL_RESNET50)
    assert (checkpoint["class_names"], checkpoint["category_ids"]) == (["class 1", "class 2"], [1, 2])
    assert "optimizer" not in checkpoint
    renamed = sum(key not in models[0] for key in dbolya.export(models[0]))
    assert 300 < renamed < len(models[0])  # the first convolution has the same name here and there
    assert lines == [
        "configuration: small, given",
        f"tensors: {len(models[0])}, of which {renamed} renamed; values unchanged",
        "left out: 3 tensors of older versions of the authors' code: backbone.layer1 (1), fpn.downsample_layers.2 (2)",
        "classes: 2: class 1, class 2 (numbered, because the file does not hold their names)",
        f"written and read back: {tmp_path / 'new.pth'}",
    ]


def test_the_configuration_is_recognised_and_coco_has_names(convert, tmp_path):
    config = Config(name="yolact_resnet50", model=dbolya.PUBLISHED["yolact_resnet50"])
    weights = dbolya.export(build_model(config).state_dict())
    torch.save({f"module.{key}": value for key, value in weights.items()}, tmp_path / "weights.pth")
    lines = convert(tmp_path / "weights.pth", tmp_path)
    assert lines[:2] == [
        "configuration: yolact_resnet50, recognised by the tensors",
        "names: the prefix 'module.' of DataParallel taken off 354 of them",
    ]
    assert "left out: nothing" in lines
    assert "classes: 80: person, bicycle, car, motorcycle, airplane, ..." in lines
    loaded = load_model(tmp_path / "yolact_resnet50.pth")
    assert loaded.config == config
    assert loaded.names_known
    lines = convert(tmp_path / "yolact_resnet50.pth", tmp_path)
    assert equal(load_checkpoint(tmp_path / "yolact_resnet50_0_0.pth"), weights)
    assert "their configuration: yolact_resnet50_config builds this model" in lines


def test_a_checkpoint_of_ours_becomes_weights_for_the_authors(convert, ours, models, tmp_path):
    lines = convert(ours, tmp_path)
    path = tmp_path / "small_0_120.pth"
    assert path.read_bytes().startswith(LEGACY_START)  # for the old PyTorch that their code needs
    assert equal(load_checkpoint(path), dbolya.export(models[1]))
    renamed = sum(key not in models[0] for key in dbolya.export(models[0]))
    changes = (
        "model.num_classes=2, model.image_size=64, model.anchors.scales=[[8.0], [16.0], [24.0], [32.0], [48.0]], "
        "model.fpn_channels=16, model.protonet_channels=16, model.num_prototypes=4 "
        "(their num_classes, 3, counts the background)"
    )
    assert lines == [
        "configuration: small, from the checkpoint",
        "taken: the moving average (EMA) of the weights at step 120",
        f"tensors: {len(models[0])}, of which {renamed} renamed; values unchanged",
        "their configuration: none of theirs builds this model, so data/config.py needs one of its own: "
        f"yolact_resnet50_pascal_config changed in {changes}",
        "in their code: python eval.py --config=small_config --trained_model=...",
        "classes: 2: cat, dog",
        f"written and read back: {path}",
    ]


def test_in_a_folder_the_name_stays_without_the_numbers_and_keys_can_be_set(convert, theirs, config_file, tmp_path):
    config_file.write_text(dump_config(SMALL_RESNET50).replace("num_classes: 2", "num_classes: 80"))
    convert(theirs, tmp_path, "--config", config_file, "--set", "model.num_classes=2")
    assert load_checkpoint(tmp_path / "their_own.pth")["config"] == config_to_dict(SMALL_RESNET50)


@pytest.mark.parametrize(("name", "theirs"), [("my run-2", "my_run_2"), ("yolact_base", "yolact_base_custom")])
def test_without_an_average_the_weights_are_taken_under_a_name_that_their_code_can_have(
    convert, ours, models, tmp_path, name, theirs
):
    state = load_checkpoint(ours)
    save_checkpoint({**state, "ema": None, "config": {**state["config"], "name": name}}, ours)
    (tmp_path / "out.pth").write_text("older")  # a file that is named is replaced
    lines = convert(ours, tmp_path / "out.pth")
    assert equal(load_checkpoint(tmp_path / "out.pth"), dbolya.export(models[0]))
    assert "taken: the weights at step 120" in lines
    assert f"in their code: python eval.py --config={theirs}_config --trained_model=..." in lines


def test_mistakes_are_one_sentence_and_leave_everything_as_it_was(
    convert, ours, theirs, sample_checkpoint, tmp_path, monkeypatch
):
    monkeypatch.setattr(conversion, "load_checkpoint", functools.cache(load_checkpoint))
    (tmp_path / "small_0_120.pth").write_text("older")
    (tmp_path / "link.pth").hardlink_to(ours)

    def state():
        return {path: (path.stat().st_ino, path.stat().st_size, path.stat().st_mtime_ns) for path in tmp_path.iterdir()}

    before, out = state(), tmp_path / "out.pth"
    for arguments, error, message in (
        ([ours, tmp_path / "link.pth"], UserError, "is the file to convert"),
        ([ours, tmp_path], UserError, r"small_0_120\.pth' exists already"),
        ([ours, f"{tmp_path}/none/"], UserError, "There is no folder"),
        ([ours, tmp_path / "none" / "out.pth"], CheckpointError, r"could not be written \(No such file"),
        ([ours, out, "--to", "ours"], UserError, "a checkpoint of this project already"),
        ([theirs, out, "--to", "authors"], UserError, "in the form of the authors' code already"),
        ([sample_checkpoint, out], CheckpointError, "cannot hold this model: its backbone is tiny; its backbones"),
        ([theirs, out], CheckpointError, "do not fit the model of configuration 'yolact_resnet50'"),
        ([theirs, out, "--config", tmp_path / "none.yaml"], ConfigError, r"none\.yaml"),
        ([tmp_path / "none.pth", out], CheckpointError, r"none\.pth: there is no such"),
    ):
        with pytest.raises(error, match=message):
            convert(*arguments)
    assert state() == before


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda data: data.replace(b"\x00\x00\x80?", b"\x00\x00\x80@", 1)]
)
def test_what_does_not_read_back_is_no_success(convert, ours, tmp_path, monkeypatch, damage):
    """In the old form, which has no checksums, ones become fours."""

    def save(state, path, **form):
        save_checkpoint(state, path, **form)
        path.write_bytes(damage(path.read_bytes()))

    monkeypatch.setattr(conversion, "save_checkpoint", save)
    with pytest.raises(CheckpointError, match="did not read back"):
        convert(ours, tmp_path / "out.pth")
    assert not (tmp_path / "out.pth").exists()
