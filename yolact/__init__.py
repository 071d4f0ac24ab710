"""YOLACT: real-time instance segmentation (arXiv 1904.02689).

The names below are imported when they are first used, so that `import yolact` and `yolact --help` take no time.
"""

import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yolact.api import evaluate, train
    from yolact.config import Config, load_config
    from yolact.instances import Instances
    from yolact.models import Yolact, build_model
    from yolact.predictor import Predictor, load

__version__ = "0.2.0"

_HOMES = {
    "train": "yolact.api",
    "evaluate": "yolact.api",
    "Config": "yolact.config",
    "load_config": "yolact.config",
    "Yolact": "yolact.models",
    "build_model": "yolact.models",
    "Predictor": "yolact.predictor",
    "load": "yolact.predictor",
    "Instances": "yolact.instances",
}
__all__ = ["Config", "Instances", "Predictor", "Yolact", "build_model", "evaluate", "load", "load_config", "train"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if not name.startswith("_") and importlib.util.find_spec(f"yolact.{name}"):  # yolact.data, yolact.models, ...
        return importlib.import_module(f"yolact.{name}")
    raise AttributeError(f"module 'yolact' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
