"""YOLACT: real-time instance segmentation (arXiv 1904.02689)."""

from yolact.config import Config, load_config
from yolact.models import Yolact, build_model
from yolact.predictor import Predictor, load
from yolact.structures import Instances

__all__ = ["Config", "Instances", "Predictor", "Yolact", "build_model", "load", "load_config"]
