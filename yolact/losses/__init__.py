"""Training losses: functions of tensors, and one module that computes them beside the network."""

from yolact.losses.criterion import ModelWithLoss

__all__ = ["ModelWithLoss"]
