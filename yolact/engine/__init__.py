"""The training loop and what it stands on: optimizer, checkpoints, logs."""

from yolact.engine.callbacks import Callback

__all__ = ["Callback"]
