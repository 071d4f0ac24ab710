"""From a checkpoint and pictures to instances, without a data set."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from yolact.compat import dbolya
from yolact.config import Config, config_from_dict, load_config, override_config
from yolact.data.class_lists import COCO_CATEGORY_IDS, COCO_CLASSES, VOC_CATEGORY_IDS, VOC_CLASSES
from yolact.data.images import read_image
from yolact.data.transforms import prepare_image
from yolact.device import DTYPES, Precision, pick_device
from yolact.engine.checkpoint import load_checkpoint, model_weights
from yolact.errors import CheckpointError
from yolact.evaluation.run import predict
from yolact.models import Yolact, build_model
from yolact.models.inference import for_inference
from yolact.postprocess import select_detections, to_instances
from yolact.structures import Detections, Instances, Predictions

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
        ConfigError: an override is wrong, or the configuration is needed and not given.
        UserError: the device does not exist.
    """
    place = pick_device(device)
    loaded = model_from_checkpoint(load_checkpoint(path), path, config, overrides)
    loaded.model.to(place)
    return loaded


def model_from_checkpoint(
    checkpoint: dict[str, Any], path: str | Path, config: Config | None = None, overrides: Sequence[str] = ()
) -> LoadedModel:
    """Build the model, on the CPU, of a checkpoint that was read from `path`; otherwise like `load_model`."""
    ours = "format" in checkpoint
    if ours:
        config = config or config_from_dict(checkpoint["config"], str(path))
        weights = model_weights(checkpoint)
        names, ids = list(checkpoint["class_names"]), list(checkpoint["category_ids"])
        known = checkpoint.get("names_known", True)
    else:
        names, ids, known = _published_classes(dbolya.num_classes(checkpoint, str(path)))
        config = config or dbolya.recognise(checkpoint, str(path))
        weights = dbolya.convert(checkpoint, str(path))
    config = override_config(config, overrides)
    if config.model.num_classes not in (None, len(names)):
        raise CheckpointError(
            f"'{path}' was trained on {len(names)} classes, but configuration '{config.name}' says "
            f"model.num_classes={config.model.num_classes}; set that key to {len(names)} (--set "
            f"model.num_classes={len(names)}), or give the configuration it was trained with."
        )
    config = replace(config, model=replace(config.model, num_classes=len(names)))
    model = build_model(config)
    _require_fit(model, weights, path, config.name, ours)
    model.load_state_dict(weights)
    return LoadedModel(model.eval(), config, names, ids, known)


def _published_classes(num_classes: int) -> tuple[list[str], list[int], bool]:
    """Return names and category ids for weights that hold neither; the authors' own data sets number from 1."""
    if num_classes == len(COCO_CLASSES):
        return list(COCO_CLASSES), list(COCO_CATEGORY_IDS), True
    if num_classes == len(VOC_CLASSES):
        return list(VOC_CLASSES), list(VOC_CATEGORY_IDS), True
    ids = list(range(1, num_classes + 1))
    return [f"class {i}" for i in ids], ids, False


def _require_fit(model: Yolact, weights: Mapping[str, Tensor], path: str | Path, config_name: str, ours: bool) -> None:
    """Require every tensor of the model in its shape and no other, or say in one sentence which do not fit.

    The sentence has the names that stand in the file. Batch norm's counters may be missing, because PyTorch before
    0.4.1 did not save them and nothing here reads them.
    """
    expected = model.state_dict() if ours else dbolya.export(model.state_dict())
    found = weights if ours else dbolya.export(weights)
    faults = [f"'{key}' is missing" for key in expected if key not in found and not key.endswith("num_batches_tracked")]
    faults += [
        f"'{key}' is {list(found[key].shape)} instead of {list(tensor.shape)}"
        for key, tensor in expected.items()
        if key in found and found[key].shape != tensor.shape
    ]
    faults += [f"'{key}' has no place in the model" for key in found if key not in expected]
    if faults:
        count = "1 tensor differs" if len(faults) == 1 else f"{len(faults)} tensors differ"
        raise CheckpointError(
            f"The weights of '{path}' do not fit the model of configuration '{config_name}' ({count}: {faults[0]}): "
            "give the configuration they were trained with, or get the file again if it is incomplete."
        )


class Predictor:
    """Finds objects in pictures: `found = predictor("street.jpg")`.

    Attributes:
        model: the network as it was loaded, in evaluation mode on `device`; its `state_dict` is the checkpoint's.
        network: the copy of it that predicts, with its batch norms folded.
        config: its configuration; `settings` is its `eval` part (NMS, cropping, number of detections).
        class_names, category_ids: by label.
    """

    def __init__(self, loaded: LoadedModel, precision: Precision = "fp32", compiled: bool = False) -> None:
        self.model = loaded.model
        self.network = for_inference(loaded.model, DTYPES[precision], compiled)
        if compiled:
            on_gpu = loaded.model.anchors.device.type == "cuda"
            self.network.compile(dynamic=False, mode="reduce-overhead" if on_gpu else "default")
        self.config = loaded.config
        self.settings = loaded.config.eval
        self.class_names = loaded.class_names
        self.category_ids = loaded.category_ids
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
            Instances for one picture, a list of them for a list. They hold the picture, for `plot`; where a list is
            too long for memory, use `stream`. Which pictures went through the network together has no influence but
            on the last digits of numbers.

        Raises:
            DatasetError: a file cannot be read as a picture.
            TypeError, ValueError: the source or the threshold is not of the form above.
        """
        if isinstance(source, list | tuple):
            return list(self.stream(source, score_threshold, MAX_BATCH))
        return next(self.stream([source], score_threshold))

    def stream(
        self, sources: Iterable[Picture], score_threshold: float = 0.3, batch_size: int = 1
    ) -> Iterator[Instances]:
        """Find the objects of each picture as it comes, in their order: frames of a video, or any number of files.

        No more than two batches of pictures and results are in memory, besides those that the caller keeps.

        Args:
            sources: paths or arrays as for a call; read when needed.
            score_threshold: as for a call.
            batch_size: pictures that go through the network together. One gives each result at once; more are faster
                on a GPU, and results wait until their batch is complete.

        Raises:
            DatasetError, TypeError, ValueError: as for a call; an iterator of them ends there.
        """
        _require_threshold(score_threshold)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
        if isinstance(sources, str | Path) or not isinstance(sources, Iterable):
            raise TypeError(f"stream() takes several pictures, got one {type(sources).__name__}; put it into a list.")
        return self._stream(iter(sources), score_threshold, batch_size)

    def _stream(self, sources: Iterator[Picture], score_threshold: float, batch_size: int) -> Iterator[Instances]:
        while pictures := [_as_picture(source) for source in islice(sources, batch_size)]:
            yield from self._predict(pictures, score_threshold)

    def prototypes(self, picture: Picture) -> Tensor:
        """Return the prototypes of a picture: float32 [K, Hp, Wp] on the CPU, not negative (YOLACT, figure 5)."""
        return self._forward([_as_picture(picture)]).prototypes[0].cpu()

    def dissect(self, picture: Picture, score_threshold: float = 0.3) -> tuple[Instances, Detections, Tensor]:
        """Find the objects of one picture as a call does, and return also what their masks are made of.

        Returns:
            The instances; their detections, one for each in the same order ([1, N, ...], see `Detections`); and the
            prototypes, float32 [K, Hp, Wp]. All on the CPU.

        Raises:
            DatasetError, TypeError, ValueError: as for a call.
        """
        _require_threshold(score_threshold)
        pixels = _as_picture(picture)
        predictions, detections = self._detect([pixels], score_threshold)
        found = self._instances(pixels, predictions, detections, 0, score_threshold)
        # By descending score, so the first ones are those above the threshold.
        boxes, scores, labels, coefficients = (field[:, : len(found)].cpu() for field in detections[:4])
        kept = Detections(boxes, scores, labels, coefficients, counts=torch.tensor([len(found)]))
        return found, kept, predictions.prototypes[0].cpu()

    def _forward(self, pictures: Sequence[np.ndarray]) -> Predictions:
        images = torch.stack([prepare_image(picture, self.model.image_size) for picture in pictures])
        # no_grad, not inference_mode: a caller may change the results in place or use them in training.
        with torch.no_grad():
            return predict(self.network, images.to(self.device))

    def _predict(self, pictures: Sequence[np.ndarray], score_threshold: float) -> list[Instances]:
        predictions, detections = self._detect(pictures, score_threshold)
        return [
            self._instances(picture, predictions, detections, index, score_threshold)
            for index, picture in enumerate(pictures)
        ]

    def _detect(self, pictures: Sequence[np.ndarray], score_threshold: float) -> tuple[Predictions, Detections]:
        predictions = self._forward(pictures)
        settings = replace(self.settings, score_threshold=score_threshold)
        with torch.no_grad():
            return predictions, select_detections(predictions, self.model.anchors, settings)

    def _instances(
        self, picture: np.ndarray, predictions: Predictions, detections: Detections, index: int, min_score: float
    ) -> Instances:
        with torch.no_grad():
            found = to_instances(
                detections,
                predictions.prototypes,
                index,
                (picture.shape[0], picture.shape[1]),
                self.settings,
                input_size=self.model.image_size,
                class_names=self.class_names,
                category_ids=self.category_ids,
                mask_iou=self.model.mask_iou,
                min_score=min_score,
            )
        return replace(found, image=picture)


def load(
    path: str | Path,
    device: str | torch.device = "cpu",
    precision: Precision = "fp32",
    config: str | Path | Config | None = None,
    compiled: bool = False,
    **settings: Any,
) -> Predictor:
    """Load a checkpoint, of this project or published by the authors, as a `Predictor`.

    Args:
        path: the checkpoint.
        device: "cpu", "cuda", "cuda:1", "mps".
        precision: "bf16" and "fp16" run the network in less than float32: about twice as fast where the hardware has
            them (bf16: recent GPUs and CPUs; fp16: GPUs).
        config: a YAML file or a `Config`, instead of the checkpoint's; needed where weights of the authors do not say
            which of their models they are.
        compiled: compile the network by torch.compile: the first picture takes up to a minute, the others less time.
        settings: change fields of `EvalConfig`, such as nms="cross_class" or max_detections=300.

    Raises:
        UserError: one sentence about the file, the configuration, the device or the setting.
    """
    overrides = [f"eval.{key}={json.dumps(value)}" for key, value in settings.items()]
    chosen = load_config(config) if isinstance(config, str | Path) else config
    return Predictor(load_model(path, device, chosen, overrides), precision, compiled)


def _require_threshold(score_threshold: float) -> None:
    if not 0 <= score_threshold <= 1:
        raise ValueError(f"score_threshold must lie in [0, 1], got {score_threshold}.")


def _as_picture(source: Picture) -> np.ndarray:
    """Return the uint8 [H, W, 3] BGR array of a path, or the array itself where it is one."""
    if isinstance(source, str | Path):
        return read_image(Path(source))
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
