"""The network, from pixels to raw predictions. It knows nothing of losses, data sets or files."""

from yolact.models.build import BACKBONES, build_model
from yolact.models.yolact import Yolact

__all__ = ["BACKBONES", "Yolact", "build_model"]
