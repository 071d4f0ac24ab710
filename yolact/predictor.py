"""From a checkpoint and pictures to instances, without a data set."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from yolact.compat import dbolya
from yolact.config import Config, config_from_dict, override_config
from yolact.data.class_lists import COCO_CATEGORY_IDS, COCO_CLASSES, VOC_CATEGORY_IDS, VOC_CLASSES
from yolact.data.pictures import read_picture
from yolact.data.transforms import prepare_picture
from yolact.device import pick_device
from yolact.engine.checkpoint import load_checkpoint, model_weights
from yolact.errors import CheckpointError
from yolact.evaluation.run import Precision, predict
from yolact.models import Yolact, build_model
from yolact.postprocess import select_detections, to_instances
from yolact.structures import Instances, Predictions

Picture = str | Path | np.ndarray
Pictures = list[Picture] | list[str] | list[Path] | list[np.ndarray] | tuple[Picture, ...]

# Pictures that go through the network together: enough to fill a GPU, little enough for a laptop.
MAX_BATCH = 8


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode on its device, with what its checkpoint says of it.

    `class_names` and `category_ids` are in the order of the labels. `names_known` is False for weights of the authors'
    code with a class count that is neither COCO's nor VOC's: such files do not hold names.
    """

    model: Yolact
    config: Config
    class_names: list[str]
    category_ids: list[int]
    names_known: bool = True


def load_model(
    path: str | Path, device: str | torch.device = "cpu", config: Config | None = None, overrides: Sequence[str] = ()
) -> LoadedModel:
    """Load a checkpoint of this project, or weights that the authors' code saved.

    Args:
        path: the file. Averaged (EMA) weights are taken where the checkpoint has them.
        config: replaces the configuration of the checkpoint.
        overrides: such as "eval.nms=cross_class", applied last.

    Raises:
        CheckpointError: the file cannot be read, or its weights do not fit the configuration.
        ConfigError: an override is wrong.
        UserError: the device does not exist.
    """
    place = pick_device(device)
    checkpoint = load_checkpoint(path)
    if "format" in checkpoint:
        config = config or config_from_dict(checkpoint["config"], str(path))
        weights = model_weights(checkpoint)
        names, ids, known = list(checkpoint["class_names"]), list(checkpoint["category_ids"]), True
    else:
        config = config or dbolya.recognise(checkpoint, Path(path).name)
        weights = dbolya.convert(checkpoint)
        names, ids, known = _published_classes(len(weights["semantic.bias"]))
    config = override_config(config, overrides)
    if config.model.num_classes not in (None, len(names)):
        raise CheckpointError(
            f"'{path}' was trained on {len(names)} classes, but configuration '{config.name}' says "
            f"model.num_classes={config.model.num_classes}; leave that key out or give the configuration it was "
            "trained with."
        )
    config = replace(config, model=replace(config.model, num_classes=len(names)))
    model = build_model(config)
    _load_strictly(model, weights, path, config.name)
    if config.train.channels_last:
        model.to(memory_format=torch.channels_last)
    return LoadedModel(model.to(place).eval(), config, names, ids, known)


def _published_classes(num_classes: int) -> tuple[list[str], list[int], bool]:
    """Return names and category ids for weights that hold neither; the authors' own data sets number from 1."""
    if num_classes == len(COCO_CLASSES):
        return list(COCO_CLASSES), list(COCO_CATEGORY_IDS), True
    if num_classes == len(VOC_CLASSES):
        return list(VOC_CLASSES), list(VOC_CATEGORY_IDS), True
    ids = list(range(1, num_classes + 1))
    return [f"class {i}" for i in ids], ids, False


def _load_strictly(model: Yolact, weights: Mapping[str, Tensor], path: str | Path, config_name: str) -> None:
    """Load every tensor or say in one sentence which do not fit."""
    expected = model.state_dict()
    faults = [f"'{key}' is missing" for key in expected if key not in weights]
    faults += [f"'{key}' has no place in the model" for key in weights if key not in expected]
    faults += [
        f"'{key}' is {list(weights[key].shape)} instead of {list(tensor.shape)}"
        for key, tensor in expected.items()
        if key in weights and weights[key].shape != tensor.shape
    ]
    if faults:
        raise CheckpointError(
            f"The weights of '{path}' do not fit the model of configuration '{config_name}' ({len(faults)} tensors "
            f"differ; {faults[0]}): give the configuration they were trained with, or none."
        )
    model.load_state_dict(weights)


class Predictor:
    """Finds objects in pictures: `found = predictor("street.jpg")`.

    Attributes:
        model: the network, in evaluation mode on `device`.
        config: its configuration; `settings` is its `eval` part (NMS, cropping, number of detections).
        class_names, category_ids: by label.
    """

    def __init__(self, loaded: LoadedModel, precision: Precision = "fp32") -> None:
        self.model = loaded.model
        self.config = loaded.config
        self.settings = loaded.config.eval
        self.class_names = loaded.class_names
        self.category_ids = loaded.category_ids
        self.precision = precision
        self.device = loaded.model.anchors.device

    @overload
    def __call__(self, source: Picture, score_threshold: float = 0.3) -> Instances: ...

    @overload
    def __call__(self, source: Pictures, score_threshold: float = 0.3) -> list[Instances]: ...

    def __call__(self, source: Picture | Pictures, score_threshold: float = 0.3) -> Instances | list[Instances]:
        """Find the objects of one picture or of each picture of a list.

        Args:
            source: a path, a uint8 [H, W, 3] array in BGR order (as OpenCV reads it), or a list of either.
            score_threshold: objects whose class probability is above this are returned, in [0, 1].

        Returns:
            Instances for one picture, a list of them for a list. They hold the picture, for `plot`.

        Raises:
            DatasetError: a file cannot be read as a picture.
            TypeError, ValueError: the source or the threshold is not of the form above.
        """
        if not 0 <= score_threshold <= 1:
            raise ValueError(f"score_threshold must lie in [0, 1], got {score_threshold}.")
        if not isinstance(source, list | tuple):
            return self._predict([_as_picture(source)], score_threshold)[0]
        found = []
        for start in range(0, len(source), MAX_BATCH):
            pictures = [_as_picture(item) for item in source[start : start + MAX_BATCH]]
            found += self._predict(pictures, score_threshold)
        return found

    def prototypes(self, picture: Picture) -> Tensor:
        """Return the prototypes of a picture: float32 [K, Hp, Wp] on the CPU, not negative (YOLACT, figure 5)."""
        return self._forward([_as_picture(picture)]).prototypes[0].cpu()

    def _forward(self, pictures: Sequence[np.ndarray]) -> Predictions:
        images = torch.stack([prepare_picture(picture, self.model.image_size) for picture in pictures])
        # no_grad, not inference_mode: a caller may change the results in place or use them in training.
        with torch.no_grad():
            return predict(self.model, images.to(self.device), self.precision)

    def _predict(self, pictures: Sequence[np.ndarray], score_threshold: float) -> list[Instances]:
        settings = replace(self.settings, score_threshold=score_threshold)
        predictions = self._forward(pictures)
        with torch.no_grad():
            detections = select_detections(predictions, self.model.anchors, settings)
            return [
                replace(
                    to_instances(
                        detections,
                        predictions.prototypes,
                        index,
                        (picture.shape[0], picture.shape[1]),
                        settings,
                        input_size=self.model.image_size,
                        class_names=self.class_names,
                        category_ids=self.category_ids,
                        mask_iou=self.model.mask_iou,
                        min_score=score_threshold,
                    ),
                    image=picture,
                )
                for index, picture in enumerate(pictures)
            ]


def load(
    path: str | Path, device: str | torch.device = "cpu", precision: Precision = "fp32", **settings: Any
) -> Predictor:
    """Load a checkpoint, of this project or published by the authors, as a `Predictor`.

    Args:
        path: the checkpoint.
        device: "cpu", "cuda", "cuda:1", "mps".
        precision: "bf16" and "fp16" run the network in less than float32; meant for accelerators.
        settings: change fields of `EvalConfig`, such as nms="cross_class" or max_detections=300.

    Raises:
        UserError: one sentence about the file, the device or the setting.
    """
    overrides = [f"eval.{key}={json.dumps(value)}" for key, value in settings.items()]
    return Predictor(load_model(path, device, overrides=overrides), precision)


def _as_picture(source: Picture) -> np.ndarray:
    """Return the uint8 [H, W, 3] BGR array of a path, or the array itself where it is one."""
    if isinstance(source, str | Path):
        return read_picture(Path(source))
    if not isinstance(source, np.ndarray):
        raise TypeError(
            f"A picture must be a path or a uint8 [H, W, 3] BGR array, got {type(source).__name__}; "
            "a PIL image becomes one by np.asarray(image.convert('RGB'))[:, :, ::-1]."
        )
    if source.ndim == 2 or (source.ndim == 3 and source.shape[2] != 3):
        raise ValueError(
            f"A picture must be [H, W, 3] in BGR order, got {list(source.shape)}; convert it first, "
            "for example with cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)."
        )
    if source.ndim != 3 or source.size == 0:
        raise ValueError(f"A picture must be [H, W, 3] with at least one pixel, got {list(source.shape)}.")
    if source.dtype != np.uint8:
        raise ValueError(f"A picture must be uint8 (0..255), got {source.dtype}; scale and convert it first.")
    return source
