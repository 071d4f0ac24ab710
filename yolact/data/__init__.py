"""Data sets in COCO's format, the augmentation, and the loaders."""

from yolact.data.annotations import ImageRecord, ObjectRecord
from yolact.data.categories import Categories
from yolact.data.dataset import CocoDataset
from yolact.data.images import read_image
from yolact.data.loader import Batch, EvaluationSet, TrainingSet, evaluation_loader, training_loader
from yolact.data.rendering import prepare_image, to_unit

__all__ = [
    "Batch",
    "Categories",
    "CocoDataset",
    "EvaluationSet",
    "ImageRecord",
    "ObjectRecord",
    "TrainingSet",
    "evaluation_loader",
    "prepare_image",
    "read_image",
    "to_unit",
    "training_loader",
]
