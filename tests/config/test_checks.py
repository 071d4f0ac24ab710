"""Values that cannot work are refused with the key, the rule and the value; every number has a rule."""

import dataclasses
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest

from yolact.config import Config, config_from_dict, load_config, override_config
from yolact.config.schema import Rule
from yolact.errors import ConfigError


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.batch_size=0", "train.batch_size must be at least 1, got 0."),
        ("train.lr=0", "train.lr must be more than 0, got 0.0."),
        ("train.momentum=1", "train.momentum must be at least 0 and below 1, got 1.0."),
        ("eval.nms_threshold=50", "eval.nms_threshold must be between 0 and 1, got 50.0."),
        ("model.image_size=31", "model.image_size must be at least 32, got 31."),
        ("model.pixel_std=[58, 0, 57]", "model.pixel_std.1 must be more than 0, got 0.0."),
        ("model.pixel_mean=[1, 2]", "model.pixel_mean must be 3 numbers, got 2."),
        ("model={channels: 4, pixel_std: [1, 2]}", "model.pixel_std must be 3 numbers, or 4 as model.channels, got 2."),
        ("model.channels=65", "model.channels must be between 1 and 64, got 65."),
        ("model.anchors.scales=[[8], [16]]", "model.anchors.scales must be 5 lists of equally many side lengths"),
        (
            "model.anchors.scales=[[], [], [], [], []]",
            "model.anchors.scales must be 5 lists of equally many side lengths",
        ),
        ("model.anchors.aspect_ratios=[]", "model.anchors.aspect_ratios must not be an empty list."),
        (
            "model.backbone.deformable_blocks=[0, 4]",
            "model.backbone.deformable_blocks must be a list of 4 values, got 2.",
        ),
        ("loss.negative_iou=0.6", "loss.negative_iou must be at most loss.positive_iou, got 0.6 and 0.5."),
        ("data.augment.scale_jitter=[0, 2]", "data.augment.scale_jitter.0 must be more than 0, got 0.0."),
        ("data.augment.scale_jitter=[2, 0.1]", "data.augment.scale_jitter must be the smallest and the largest scale"),
        ("train.image_sizes=[550, 16]", "train.image_sizes.1 must be at least 32, got 16."),
        ("train.lr_steps=[5, 5]", "train.lr_steps must grow from one to the next, got [5, 5]."),
        ("name=../elsewhere", "name must be usable as the name of a folder, got '../elsewhere'."),
        ("name=''", "name must be usable"),
    ],
)
def test_a_value_that_cannot_work_is_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        override_config(Config(), [override])
    assert str(caught.value).startswith((f"with {override}: {message}", f"override '{override}': {message}"))


def test_edges_of_the_rules_work_and_overrides_are_judged_together() -> None:
    overrides = ["train.batch_size=1", "train.momentum=0", "eval.score_threshold=0", "eval.nms_threshold=1"]
    overrides += [
        "loss.negative_iou=0.7",
        "loss.positive_iou=0.7",
        "train.lr_steps=[]",
        "model.num_classes=null",
        "train.eval_every=null",
    ]
    overrides += ["data.augment.scale_jitter=[1, 1]", "train.image_sizes=[32]", "train.image_sizes=[]"]
    assert override_config(Config(), overrides).train.lr_steps == ()


def test_rescoring_needs_prototypes_of_a_smallest_size() -> None:
    assert override_config(Config(), ["model={image_size: 249, mask_iou: true}"]).model.mask_iou
    with pytest.raises(
        ConfigError, match=r"model\.mask_iou needs a model\.image_size and .* of at least 249, got 248\.$"
    ):
        override_config(Config(), ["model={image_size: 248, mask_iou: true}"])
    sizes = "train.image_sizes=[550, 248]"
    assert override_config(Config(), [sizes]).train.image_sizes == (550, 248)
    with pytest.raises(ConfigError, match=r"train\.image_sizes of at least 249, got 248\.$"):
        override_config(Config(), [sizes, "model.mask_iou=true"])


def test_files_and_checkpoints_are_judged(tmp_path: Any) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("train: {accumulate: 0}")
    with pytest.raises(ConfigError, match=r"bad\.yaml: train\.accumulate must be at least 1, got 0"):
        load_config(path)
    with pytest.raises(ConfigError, match=r"last\.pth: train\.accumulate must be at least 1, got 0"):
        config_from_dict({"train": {"accumulate": 0}}, "last.pth")


def numbers_without_rule(kind: Any, key: str = "") -> list[str]:
    """Return the keys of a type whose numbers may have any value."""
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        return [found for name, hint in hints.items() for found in numbers_without_rule(hint, f"{key}.{name}")]
    if get_origin(kind) is Annotated:
        return [] if isinstance(get_args(kind)[1], Rule) else [key]
    return (
        [key] if kind in (int, float) else [found for arm in get_args(kind) for found in numbers_without_rule(arm, key)]
    )


def test_every_number_has_a_rule() -> None:
    assert numbers_without_rule(Config) == []
