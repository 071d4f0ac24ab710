"""Values that have the right type but that no run can work with, found before anything is built."""

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from yolact.config.schema import Config
from yolact.errors import ConfigError
from yolact.text import printable

NUM_LEVELS = 5  # P3..P7
SMALLEST_FOR_MASK_IOU = 249  # pixels; from it on, five unpadded convolutions of stride 2 fit onto the prototypes

AT_LEAST_1 = """model.num_classes model.fpn_channels model.protonet_channels model.num_prototypes
    model.backbone.deformable_interval data.max_train_images data.augment.expand_max_ratio loss.masks_to_train
    train.max_steps train.batch_size train.accumulate train.reference_batch_size train.max_nonfinite train.log_every
    train.save_every train.eval_every eval.batch_size eval.nms_top_k eval.max_detections eval.max_images"""
AT_LEAST_0 = """model.pixel_mean model.backbone.deformable_blocks data.num_workers data.worker_timeout
    loss.box_weight loss.class_weight loss.mask_weight loss.semantic_weight loss.mask_iou_weight
    loss.negatives_per_positive loss.mask_iou_min_area train.weight_decay train.lr_steps train.warmup_steps
    train.warmup_lr train.seed eval.num_workers"""
MORE_THAN_0 = """model.pixel_std model.anchors.scales model.anchors.aspect_ratios data.augment.scale_jitter
    train.epochs train.lr train.lr_gamma train.clip_norm"""
SHARES = """data.augment.expand_probability data.augment.mirror_probability data.augment.flip_probability
    data.augment.rotate90_probability data.augment.copy_paste_probability loss.positive_iou loss.negative_iou
    loss.crowd_overlap eval.score_threshold eval.nms_threshold"""
# Each rule in words, its test, and the keys it holds for: for each number of a list, and not for null.
RULES = (
    ("at least 1", lambda value: value >= 1, AT_LEAST_1),
    ("at least 0", lambda value: value >= 0, AT_LEAST_0),
    ("more than 0", lambda value: value > 0, MORE_THAN_0),
    ("between 0 and 1", lambda value: 0 <= value <= 1, SHARES),
    ("at least 0 and below 1", lambda value: 0 <= value < 1, "train.momentum train.ema_decay"),
    ("at least 32", lambda value: value >= 32, "model.image_size train.image_sizes"),
)


def check(config: Config, source: str) -> Config:
    """Return `config` if its values can work, each by itself and with the others.

    Else a ConfigError names the key, what it must be and what it is; it begins with `source`, the origin.
    """
    for words, holds, keys in RULES:
        for key in keys.split():
            value = _get(config, key)
            if not all(holds(number) for number in _numbers(value)):
                raise ConfigError(f"{source}: {key} must be {words}, got {_shown(value)}.")
    for conflict in _conflicts(config):
        raise ConfigError(f"{source}: {conflict}.")
    return config


def _conflicts(config: Config) -> Iterator[str]:
    """Yield what is wrong with the form of a value, or with values next to each other."""
    model, loss, sizes, steps = config.model, config.loss, config.train.image_sizes, config.train.lr_steps
    scales, blocks, jitter = model.anchors.scales, model.backbone.deformable_blocks, config.data.augment.scale_jitter
    least = SMALLEST_FOR_MASK_IOU
    if len(scales) != NUM_LEVELS or len({len(level) for level in scales}) != 1:
        lists = f"{NUM_LEVELS} lists of equally many side lengths, one for each level"
        yield f"model.anchors.scales must be {lists}, got {_shown(scales)}"
    if not all(scales) or not model.anchors.aspect_ratios:
        yield "model.anchors.scales and model.anchors.aspect_ratios must not be empty lists"
    if len(blocks) != 4:
        yield f"model.backbone.deformable_blocks must be 4 numbers, one for each stage, got {len(blocks)}"
    if model.mask_iou and model.image_size < least:
        yield f"model.mask_iou needs a model.image_size of at least {least}, got {model.image_size}"
    if model.mask_iou and min(sizes, default=least) < least:
        yield f"model.mask_iou needs train.image_sizes of at least {least}, got {_shown(sizes)}"
    if jitter is not None and jitter[0] > jitter[1]:
        yield f"data.augment.scale_jitter must be the smallest and the largest scale, got {_shown(jitter)}"
    if loss.negative_iou > loss.positive_iou:
        ious = f"{loss.negative_iou} and {loss.positive_iou}"
        yield f"loss.negative_iou must be at most loss.positive_iou, got {ious}"
    if list(steps) != sorted(set(steps)):
        yield f"train.lr_steps must grow from one to the next, got {_shown(steps)}"
    if PurePath(config.name).name != config.name or config.name in ("", ".."):
        yield f"name must be usable as the name of a folder, got '{config.name}'"


def _get(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = getattr(config, name)
    return config


def _numbers(value: Any) -> list[float]:
    if value is None:
        return []
    return [number for item in value for number in _numbers(item)] if isinstance(value, tuple) else [value]


def _shown(value: Any) -> str:
    return "[" + ", ".join(map(_shown, value)) + "]" if isinstance(value, tuple) else printable(str(value))
