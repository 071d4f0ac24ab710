"""YOLACT: real-time instance segmentation (arXiv 1904.02689)."""

import os

# OpenCV reads this once, when it is first imported; it then refuses pictures of kinds whose header we do not read.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "100000000")  # data.pictures.MAX_PIXELS

from yolact.config import Config, load_config
from yolact.models import Yolact, build_model
from yolact.predictor import Predictor, load
from yolact.structures import Instances

__all__ = ["Config", "Instances", "Predictor", "Yolact", "build_model", "load", "load_config"]
