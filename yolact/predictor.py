"""From a checkpoint and images to instances, without a data set."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor, nn

from yolact.compat import dbolya
from yolact.config import Config, config_from_dict, load_config, override_config
from yolact.data.categories import COCO_CATEGORY_IDS, COCO_CLASSES, VOC_CATEGORY_IDS, VOC_CLASSES
from yolact.data.images import read_image
from yolact.data.rendering import prepare_image
from yolact.device import DTYPES, Precision, compile_options, pick_device
from yolact.engine.checkpoint import load_checkpoint, model_weights
from yolact.errors import CheckpointError
from yolact.evaluation.run import predict
from yolact.instances import Instances
from yolact.models import Yolact, build_model
from yolact.models.inference import for_inference
from yolact.postprocess import Detector
from yolact.structures import Detections

ImageSource = str | Path | np.ndarray
ImageSources = list[ImageSource] | list[str] | list[Path] | list[np.ndarray] | tuple[ImageSource, ...]

# Images that go through the network at once: enough to fill a GPU, little enough for a laptop.
MAX_BATCH = 8
SCORE_THRESHOLD = 0.3  # what people are shown; an evaluation counts detections of lower scores too


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode on its device, with what its checkpoint says of it."""

    model: Yolact
    config: Config
    class_names: list[str]  # by label
    category_ids: list[int]
    names_known: bool = True  # the authors' files hold no names, and only COCO's and VOC's follow from their count
    score_threshold: float = SCORE_THRESHOLD  # what a `Predictor` starts from: eval.score_threshold if overridden


def load_model(
    path: str | Path,
    device: str | torch.device = "cpu",
    config: Config | None = None,
    overrides: Sequence[str] = (),
    backbone: nn.Module | None = None,
) -> LoadedModel:
    """Load a checkpoint as `load` does; `overrides` such as "eval.nms=cross_class" are applied last.

    Raises:
        CheckpointError: the file cannot be read, or its weights do not fit the configuration.
        ConfigError: an override is wrong, or the configuration is needed and not given.
        UserError: the device does not exist.
    """
    chosen = pick_device(device)
    loaded = model_from_checkpoint(load_checkpoint(path), path, config, overrides, backbone)
    loaded.model.to(chosen)
    return loaded


def model_from_checkpoint(
    checkpoint: dict[str, Any],
    path: str | Path,
    config: Config | None = None,
    overrides: Sequence[str] = (),
    backbone: nn.Module | None = None,
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
            f"model.num_classes={config.model.num_classes}; add --set model.num_classes={len(names)}, or give the "
            "configuration it was trained with."
        )
    config = replace(config, model=replace(config.model, num_classes=len(names)))
    model = build_model(config, backbone)
    _require_fit(model, weights, path, config.name, ours)
    model.load_state_dict(weights)
    is_set = any(override.partition("=")[0].strip() == "eval.score_threshold" for override in overrides)
    threshold = config.eval.score_threshold if is_set else SCORE_THRESHOLD
    return LoadedModel(model.eval(), config, names, ids, known, threshold)


def _published_classes(num_classes: int) -> tuple[list[str], list[int], bool]:
    """Return names and category ids for weights that hold neither; the authors' own data sets number from 1."""
    for names, ids in ((COCO_CLASSES, COCO_CATEGORY_IDS), (VOC_CLASSES, VOC_CATEGORY_IDS)):
        if num_classes == len(names):
            return list(names), list(ids), True
    numbers = list(range(1, num_classes + 1))
    return [f"class {number}" for number in numbers], numbers, False


def _require_fit(model: Yolact, weights: Mapping[str, Tensor], path: str | Path, config_name: str, ours: bool) -> None:
    """Require every tensor of the model in its shape and no other, or name the first that differs as the file does.

    Batch norm's counters may be missing, because PyTorch before 0.4.1 did not save them and nothing here reads them.
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
            "give the configuration, or the backbone of your own (backbone=), that they were trained with, or get the "
            "file again if it is incomplete."
        )


class Predictor:
    """Finds objects in images: `found = predictor("street.jpg")`.

    Attributes:
        model: the network as it was loaded, in evaluation mode on `device`; its `state_dict` is the checkpoint's.
        network: the copy of it that predicts, with its batch norms folded.
        config: its configuration; `settings` is its `eval` part (NMS, cropping, number of detections).
        class_names, category_ids: by label.
        score_threshold: of calls that give none, in [0, 1].
    """

    def __init__(self, loaded: LoadedModel, precision: Precision = "fp32", compiled: bool = False) -> None:
        self.model = loaded.model
        self.network = for_inference(loaded.model, DTYPES[precision], compiled)
        self.config = loaded.config
        self.settings = loaded.config.eval
        self.class_names = loaded.class_names
        self.category_ids = loaded.category_ids
        self.score_threshold = loaded.score_threshold
        self.device = loaded.model.device
        self._compiled = self._compile() if compiled else None

    @overload
    def __call__(self, source: ImageSource, score_threshold: float | None = None) -> Instances: ...

    @overload
    def __call__(self, source: ImageSources, score_threshold: float | None = None) -> list[Instances]: ...

    def __call__(
        self, source: ImageSource | ImageSources, score_threshold: float | None = None
    ) -> Instances | list[Instances]:
        """Find the objects of one image or of each image of a list.

        Args:
            source: a path, a uint8 [H, W, 3] array in BGR order (as OpenCV reads it), or a list of either.
            score_threshold: objects whose class probability is above this are returned, in [0, 1]; by default
                `self.score_threshold`.

        Returns:
            Instances for one image, a list of them for a list. They hold the image; where a list is too long for
            memory, use `stream`.

        Raises:
            DatasetError: a file cannot be read as an image.
            TypeError, ValueError: the source or the threshold is not of the form above.
        """
        if isinstance(source, list | tuple):
            return list(self.stream(source, score_threshold, MAX_BATCH))
        return next(self.stream([source], score_threshold))

    def stream(
        self, sources: Iterable[ImageSource], score_threshold: float | None = None, batch_size: int = 1
    ) -> Iterator[Instances]:
        """Find the objects of each image as it comes, in their order: frames of a video, or any number of files.

        Arguments and errors are those of a call. No more than two batches of images and results are in memory.

        Args:
            batch_size: images that go through the network at once. One gives each result at once; more are faster
                on a GPU, and results wait until their batch is complete.
        """
        threshold = self._threshold(score_threshold)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
        if isinstance(sources, str | Path) or not isinstance(sources, Iterable):
            raise TypeError(f"stream() takes several images, got one {type(sources).__name__}; put it into a list.")
        return self._stream(iter(sources), threshold, batch_size)

    def _stream(self, sources: Iterator[ImageSource], threshold: float, batch_size: int) -> Iterator[Instances]:
        while images := [_as_image(source) for source in islice(sources, batch_size)]:
            yield from self._find(images, threshold)[0]

    def prototypes(self, image: ImageSource) -> Tensor:
        """Return the prototypes of an image: float32 [K, Hp, Wp] on the CPU, not negative (YOLACT, figure 5)."""
        return self.dissect(image, 1.0)[2]

    def dissect(self, image: ImageSource, score_threshold: float | None = None) -> tuple[Instances, Detections, Tensor]:
        """Find the objects of one image as a call does, and return also what their masks are made of.

        Returns:
            The N instances; detections [1, D, ...], of which the first N are theirs, in pixels of the network input;
            and the prototypes, float32 [K, Hp, Wp]. All are on the CPU.
        """
        [found], detections, prototypes = self._find([_as_image(image)], self._threshold(score_threshold))
        return found, Detections(*(field.cpu() for field in detections)), prototypes[0].cpu()

    def _find(self, images: Sequence[np.ndarray], threshold: float) -> tuple[list[Instances], Detections, Tensor]:
        """Return the objects of each image, and of the batch its detections and prototypes."""
        inputs = torch.stack([prepare_image(image, self.model.image_size) for image in images])
        detector = Detector.of(self.model, replace(self.settings, score_threshold=threshold))
        # no_grad, not inference_mode: a caller may change the results in place or use them in training.
        with torch.no_grad():
            detections, prototypes = self.detections(inputs.to(self.device), detector)
            sizes = [(image.shape[0], image.shape[1]) for image in images]
            found = [
                detector.instances(detections, prototypes, index, size, self.class_names, self.category_ids, threshold)
                for index, size in enumerate(sizes)
            ]
        return [replace(one, image=image) for one, image in zip(found, images, strict=True)], detections, prototypes

    def detections(self, inputs: Tensor, detector: Detector) -> tuple[Detections, Tensor]:
        """Return the detections and prototypes of uint8 inputs [B, 3, S, S] on the device, before any mask is made.

        A compiled predictor uses its own detector, without a threshold, and overwrites both at the next call.
        """
        return self._detect(detector, inputs) if self._compiled is None else self._compiled(inputs)

    def _detect(self, detector: Detector, inputs: Tensor) -> tuple[Detections, Tensor]:
        predictions = predict(self.network, inputs)
        return detector.detect(predictions), predictions.prototypes

    def _compile(self) -> Callable[[Tensor], tuple[Detections, Tensor]] | None:
        """Compile the way to the detections, on a GPU as one graph, whose results the next call overwrites.

        All scores are kept, so that another threshold compiles nothing anew; low ones suppress none above them. Exact
        NMS has no fixed sizes: there the network alone is compiled.
        """
        options = compile_options(self.device)
        if self.settings.nms == "exact":
            self.network.compile(**options)
            return None
        detector = Detector.of(self.model, replace(self.settings, score_threshold=0.0))
        return torch.compile(partial(self._detect, detector), **options)

    def _threshold(self, score_threshold: float | None) -> float:
        threshold = self.score_threshold if score_threshold is None else score_threshold
        if not 0 <= threshold <= 1:
            raise ValueError(f"score_threshold must lie in [0, 1], got {threshold}.")
        return threshold


def load(
    path: str | Path,
    device: str | torch.device = "cpu",
    precision: Precision = "fp32",
    config: str | Path | Config | None = None,
    compiled: bool = False,
    backbone: nn.Module | None = None,
    image_size: int | None = None,
    **settings: Any,
) -> Predictor:
    """Load a checkpoint, of this project or published by the authors, as a `Predictor`.

    Args:
        path: of the file, whose averaged (EMA) weights are taken if it has any.
        device: "cpu", "cuda", "cuda:1", "mps".
        precision: "bf16" and "fp16" run the network in less than float32: about twice as fast where the hardware has
            them (bf16: recent GPUs and CPUs; fp16: GPUs).
        config: a YAML file or a `Config`, instead of the checkpoint's; needed where weights of the authors do not say
            which of their models they are.
        compiled: compile the network by torch.compile: the first image takes up to a minute, the others less time.
        backbone: that the model was trained with, where it was given in code.
        image_size: side of the square that images are stretched to, in pixels, if not that of the training.
        settings: change fields of `EvalConfig`, such as nms="cross_class", max_detections=300, or
            score_threshold=0.5, which calls then take by default.

    Raises:
        UserError: about the file, the configuration, the device or the setting.
    """
    overrides = [f"eval.{key}={json.dumps(value)}" for key, value in settings.items()]
    if image_size is not None:
        overrides.append(f"model.image_size={image_size}")
    chosen = load_config(config) if isinstance(config, str | Path) else config
    return Predictor(load_model(path, device, chosen, overrides, backbone), precision, compiled)


def _as_image(source: ImageSource) -> np.ndarray:
    """Return the uint8 [H, W, 3] BGR array of a path, or the array itself where it is one."""
    if isinstance(source, str | Path):
        return read_image(Path(source))
    if not isinstance(source, np.ndarray):
        raise TypeError(
            f"An image must be a path or a uint8 [H, W, 3] BGR array, got {type(source).__name__}; "
            "a PIL image becomes one by np.asarray(image.convert('RGB'))[:, :, ::-1]."
        )
    if source.ndim != 3 or source.shape[2] != 3 or source.size == 0 or source.dtype != np.uint8:
        raise ValueError(
            "An image must be uint8 (0..255) [H, W, 3] in BGR order with at least one pixel, got "
            f"{source.dtype} {list(source.shape)}; convert it first, for example with "
            "cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)."
        )
    return source
