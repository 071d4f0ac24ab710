"""The configuration: one frozen `Config`, read from YAML by `load_config`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yolact.config import loading
from yolact.config.checks import check
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
)
from yolact.text import printable

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
    "config_from_dict",
    "config_to_dict",
    "dump_config",
    "load_config",
    "override_config",
]


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML configuration and apply `key.path=value` overrides.

    Args:
        path: a YAML file; its `_base_` is a path relative to the file.
        overrides: such as `"train.batch_size=4"`; the values are YAML.

    Raises:
        ConfigError: one sentence that names the file or override, the key, and what was expected.
    """
    return override_config(check(loading.load(Config, path), str(path)), overrides)


def override_config(config: Config, overrides: Sequence[str]) -> Config:
    """Return `config` with each `key.path=value` applied in order."""
    return check(loading.override(config, overrides), "with " + printable(" ".join(overrides))) if overrides else config


def config_from_dict(data: dict[str, Any], where: str) -> Config:
    """Make a `Config` from plain data, for example a checkpoint's; `where` names its origin in messages."""
    return check(loading.build(Config, data, where), where)


def config_to_dict(config: Config) -> dict[str, Any]:
    """Turn a `Config` into plain data: dicts, lists, str, numbers, bool and None."""
    return loading.to_dict(config)


def dump_config(config: Config) -> str:
    """Turn a `Config` into YAML text that `load_config` reads back to an equal one."""
    return loading.dump(config)
