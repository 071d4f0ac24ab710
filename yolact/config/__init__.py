"""The configuration: one frozen `Config`, read from YAML by `load_config`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yolact.config import loading
from yolact.config.schema import (
    AnchorConfig,
    AugmentConfig,
    BackboneConfig,
    Config,
    DataConfig,
    EvalConfig,
    LossConfig,
    ModelConfig,
    TrainConfig,
    as_size,
    conflicts,
)
from yolact.errors import ConfigError
from yolact.text import did_you_mean, printable

__all__ = [
    "AnchorConfig",
    "AugmentConfig",
    "BackboneConfig",
    "Config",
    "DataConfig",
    "EvalConfig",
    "LossConfig",
    "ModelConfig",
    "TrainConfig",
    "as_size",
    "config_from_dict",
    "config_to_dict",
    "dump_config",
    "load_config",
    "override_config",
]

# In the installed package, and else beside it in the repository.
CONFIG_FOLDERS = (Path(__file__).parents[1] / "configs", Path(__file__).parents[2] / "configs")
# Keys that checkpoints may still have, with the values that mean what is left.
GONE: tuple[tuple[str, str, Any], ...] = (("model", "prototype_levels", 1), ("loss", "mask_quality", False))


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML configuration and apply `key.path=value` overrides.

    Args:
        path: a YAML file, or the name of a configuration that comes with the package, such as "yolact_resnet50" or
            "experiments/prototypes". Its `_base_` is such a name too, or a path relative to the file.
        overrides: such as `"train.batch_size=4"`; the values are YAML.

    Raises:
        ConfigError: one sentence that names the file or override, the key, and what was expected.
    """
    file = _find(path)
    if not file.exists() and file.is_relative_to("configs"):
        own = file.relative_to("configs")
        if any((one / own).exists() for one in CONFIG_FOLDERS):
            raise ConfigError(f"There is no {file} here; that of the package is --config {own.with_suffix('')}.")
    return override_config(_checked(loading.load(Config, file, _find), str(file)), overrides)


def _find(path: str | Path) -> Path:
    if Path(path).suffix or Path(path).is_file():  # a folder may have the name of a configuration
        return Path(path)
    for folder in CONFIG_FOLDERS:
        if (file := folder / f"{path}.yaml").is_file():
            return file
    names = sorted({file.stem for folder in CONFIG_FOLDERS for file in folder.glob("*.yaml")})
    raise ConfigError(f"There is no configuration '{printable(str(path))}'{did_you_mean(str(path), names)}")


def override_config(config: Config, overrides: Sequence[str]) -> Config:
    """Return `config` with each `key.path=value` applied in order."""
    return _checked(loading.override(config, overrides), "with " + " ".join(overrides)) if overrides else config


def config_from_dict(data: dict[str, Any], where: str) -> Config:
    """Make a `Config` from plain data, for example a checkpoint's; `where` names its origin in messages."""
    for part, key, value in GONE:
        fields = data.get(part)
        if isinstance(fields, dict) and key in fields and fields[key] == value:
            data = {**data, part: {name: field for name, field in fields.items() if name != key}}
    return _checked(loading.build(Config, data, where), where)


def _checked(config: Config, source: str) -> Config:
    for conflict in conflicts(config):
        raise ConfigError(printable(f"{source}: {conflict}.", loading.MAX_SENTENCE))
    return config


def config_to_dict(config: Config) -> dict[str, Any]:
    """Turn a `Config` into plain data: dicts, lists, str, numbers, bool and None."""
    return dict(loading.to_dict(config))


def dump_config(config: Config) -> str:
    """Turn a `Config` into YAML text that `load_config` reads back to an equal one."""
    return loading.dump(config)
