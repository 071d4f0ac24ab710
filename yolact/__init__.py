"""YOLACT: real-time instance segmentation (arXiv 1904.02689)."""

from yolact.config import Config, load_config
from yolact.models import Yolact, build_model

__all__ = ["Config", "Yolact", "build_model", "load_config"]
