"""The losses: assigners, terms, and the criterion over both. They know the network by its outputs only."""

from yolact.losses.assigners import Assignment, Candidates, MaxIoUAssigner
from yolact.losses.criterion import ASSIGNERS, LossInputs, ModelWithLoss
from yolact.losses.task_aligned import TaskAlignedAssigner
from yolact.losses.terms import TERMS, LossTerm

__all__ = [
    "ASSIGNERS",
    "TERMS",
    "Assignment",
    "Candidates",
    "LossInputs",
    "LossTerm",
    "MaxIoUAssigner",
    "ModelWithLoss",
    "TaskAlignedAssigner",
]
