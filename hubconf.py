"""Models for `torch.hub.load(REPOSITORY, "yolact_resnet50", weights=...)`.

Each entry returns a `yolact.Predictor` where `weights` is a checkpoint, the project's or the authors', and else the
untrained network of that configuration.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yolact

# What the package cannot be imported without.
dependencies = ["torch", "torchvision", "numpy", "cv2", "pycocotools", "yaml", "PIL"]


def _entry(name: str) -> Callable[..., Any]:
    def load(weights: str | Path | None = None, **options: Any) -> Any:
        if weights is None:
            return yolact.build_model(yolact.load_config(name))
        return yolact.load(weights, config=name, **options)

    load.__name__ = name
    load.__doc__ = f"Return the predictor of `weights` for {name}, or without them its network."
    return load


yolact_base = _entry("yolact_base")
yolact_resnet50 = _entry("yolact_resnet50")
yolact_darknet53 = _entry("yolact_darknet53")
yolact_im400 = _entry("yolact_im400")
yolact_im700 = _entry("yolact_im700")
yolact_plus_base = _entry("yolact_plus_base")
yolact_plus_resnet50 = _entry("yolact_plus_resnet50")
yolact_resnet50_pascal = _entry("yolact_resnet50_pascal")
