"""Every shipped configuration loads, says how to use it, and holds the published values."""

import argparse
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from yolact.cli import train
from yolact.compat import dbolya
from yolact.config import config_from_dict, config_to_dict, dump_config, load_config
from yolact.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
MODELS = sorted((ROOT / "configs").glob("*.yaml"))
EXPERIMENTS = sorted((ROOT / "configs/experiments").glob("*.yaml"))
LONG = (800_000, (280_000, 600_000, 700_000, 750_000))
# name: masks to train, steps, where the rate falls
PUBLISHED = {
    "yolact_base": (100, *LONG),
    "yolact_resnet50": (100, *LONG),
    "yolact_darknet53": (100, *LONG),
    "yolact_im400": (100, *LONG),
    "yolact_im700": (300, *LONG),
    "yolact_resnet50_pascal": (100, 120_000, (60_000, 100_000)),
}


def test_a_path_of_the_repository_leads_to_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"There is no configs/custom\.yaml here; .* is --config custom\."):
        load_config("configs/custom.yaml")
    with pytest.raises(ConfigError, match=r"that of the package is --config experiments/prototypes\."):
        load_config("configs/experiments/prototypes.yaml")
    with pytest.raises(ConfigError, match="there is no such configuration file"):
        load_config("configs/none.yaml")


def test_the_expected_files_are_there() -> None:
    own = {"yolact_resnet50_voc2012", "shapes_paper", "nuclei_paper", "custom"}
    after = {"next_r18", "next_r50", "next_convnext_t", "nuclei", "shapes"}
    assert {path.stem for path in MODELS} == {*dbolya.PUBLISHED, *own, *after}


@pytest.mark.parametrize("path", [*MODELS, *EXPERIMENTS], ids=lambda path: path.stem)
def test_a_copy_means_the_same_in_any_folder(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "next_r18").mkdir()
    assert load_config(shutil.copy(path, tmp_path)) == load_config(path)


@pytest.mark.parametrize("name", dbolya.PUBLISHED)
def test_the_network_is_the_one_that_published_weights_are_recognised_as(name: str) -> None:
    assert load_config(ROOT / f"configs/{name}.yaml").model == dbolya.PUBLISHED[name]


@pytest.mark.parametrize("path", [*MODELS, *EXPERIMENTS], ids=lambda path: path.stem)
def test_it_loads_under_its_own_name_and_comes_back(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    assert config.name == path.stem
    data = config_to_dict(config)
    assert config_from_dict(data, "here") == config
    older = {"model": data["model"] | {"prototype_levels": 1}, "loss": data["loss"] | {"mask_quality": False}}
    assert config_from_dict(data | older, "an older file") == config
    (tmp_path / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    assert load_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize("path", [*MODELS, *EXPERIMENTS], ids=lambda path: path.stem)
def test_the_header_names_command_hardware_and_accuracy(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    header = "\n".join(line for line in lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])
    commands = re.findall(r"^#   (python .*)$", header, re.MULTILINE)
    own = f"python train.py --config {path.relative_to(ROOT).as_posix()}"
    assert any(f"{command} ".startswith(f"{own} ") for command in commands)
    for command in commands:
        assert (ROOT / command.split()[1]).is_file(), command
    assert "# Hardware: " in header
    assert "# Expect: " in header


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values(name: str) -> None:
    config = load_config(ROOT / f"configs/{name}.yaml")
    assert (config.loss.masks_to_train, config.train.max_steps, config.train.lr_steps) == PUBLISHED[name]
    assert (config.train.optimizer, config.train.lr, config.train.weight_decay) == ("sgd", 1e-3, 5e-4)


# name: the value that an experiment is about
EXPERIMENT_VALUES = {
    "no_semantic_loss": lambda config: config.loss.semantic_weight == 0,
    "prototypes": lambda config: config.train.max_steps == 400_000,
    "rectangular_anchors": lambda config: not config.model.anchors.square,
}


def test_experiments_are_their_parent_but_for_what_they_name() -> None:
    base = _leaves(config_to_dict(load_config(ROOT / "configs/yolact_base.yaml")))
    assert {path.stem for path in EXPERIMENTS} == EXPERIMENT_VALUES.keys()
    for path in EXPERIMENTS:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert content.pop("_base_") == "yolact_base"
        own = _leaves(content)
        assert [key for key, value in own.items() if value == base[key]] == []
        config = load_config(path)
        assert {key for key, value in _leaves(config_to_dict(config)).items() if value != base[key]} == own.keys()
        assert EXPERIMENT_VALUES[path.stem](config)


def _leaves(mapping, prefix=""):
    leaves = {}
    for key, value in mapping.items():
        leaves |= _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return leaves


COMMANDS = re.findall(r"^yolact train (.*)$", (ROOT / "docs/experiments.md").read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_documented_trainings_are_possible(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    arguments = parser.parse_args(shlex.split(command))
    given = load_config(arguments.config)
    changed = load_config(arguments.config, arguments.set)
    assert (changed != given) == bool(arguments.set)
    assert len(changed.model.anchors.scales) == len(given.model.anchors.scales)


def test_the_documented_experiments_are_the_files() -> None:
    assert {path.stem for path in EXPERIMENTS} <= {Path(command.split()[1]).name for command in COMMANDS}
