"""Data sets in COCO's format, the augmentation, and the loaders."""

from yolact.data.annotations import ObjectRecord, PictureRecord
from yolact.data.categories import Categories
from yolact.data.coco import CocoDataset
from yolact.data.loader import (
    Batch,
    EvaluationSet,
    RunSampler,
    TrainingSet,
    evaluation_loader,
    training_loader,
)
from yolact.data.pictures import read_picture
from yolact.data.transforms import prepare_picture, to_unit

__all__ = [
    "Batch",
    "Categories",
    "CocoDataset",
    "EvaluationSet",
    "ObjectRecord",
    "PictureRecord",
    "RunSampler",
    "TrainingSet",
    "evaluation_loader",
    "prepare_picture",
    "read_picture",
    "to_unit",
    "training_loader",
]
