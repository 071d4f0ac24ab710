"""From a checkpoint or an exported file, and images, to instances, without a data set."""

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from yolact.config import Config, load_config
from yolact.data.images import read_image
from yolact.data.rendering import prepare_image
from yolact.data.samples import Colours
from yolact.data.windows import WholeImage, open_image
from yolact.device import Precision
from yolact.errors import UserError
from yolact.instances import Instances
from yolact.joining import join_tiles
from yolact.loaded import LoadedFile, LoadedModel, load_weights
from yolact.postprocess import Detector
from yolact.runtimes.flips import with_flips
from yolact.runtimes.pytorch import PyTorchRuntime
from yolact.structures import Detections, Runtime, Tiles
from yolact.threads import in_order

ImageSource = str | Path | np.ndarray
ImageSources = list[ImageSource] | list[str] | list[Path] | list[np.ndarray] | tuple[ImageSource, ...]
TileSize = int | tuple[int, int]  # the side of a square or (H, W), in pixels of the image
S = TypeVar("S")
T = TypeVar("T")

GPU_BATCH = 8  # images that go through a GPU at once: enough to fill it
SMALLEST_TILE = 32  # pixels of a side
MANY_TILES = 100  # of an image, from which on a bar shows them
MAX_CALLERS = 4  # images that are worked on at the same time on a CPU; each takes the memory of a network's maps


class Predictor:
    """Finds objects in images: `found = predictor("street.jpg")`.

    Attributes:
        model: the network as it was loaded, in evaluation mode on its device; its `state_dict` is the checkpoint's.
            None where an exported file was loaded.
        runtime: what runs it: PyTorch with a folded copy, or the runtime of the exported file.
        config: its configuration; `settings` is its `eval` part (NMS, cropping, number of detections).
        colours: how samples of more than 8 bits, and transparent pixels, become colours.
        class_names, category_ids: by label.
        score_threshold: of calls that give none, in [0, 1].
        lowest_score: the least that a threshold may be; above 0 where a complete file has one inside.
    """

    def __init__(self, loaded: LoadedModel | LoadedFile, precision: Precision = "fp32", compiled: bool = False) -> None:
        """Make a predictor; `precision` and `compiled` are for models, as exported files have their own.

        Raises:
            UserError: they are given for a file.
        """
        self.config, self.settings = loaded.config, loaded.config.eval
        self.colours = Colours.of(loaded.config)
        self.class_names, self.category_ids, self.names_known = (
            loaded.class_names, loaded.category_ids, loaded.names_known,
        )  # fmt: skip
        self.lowest_score = 0.0
        if isinstance(loaded, LoadedFile) and loaded.runtime.is_complete:
            self.lowest_score = loaded.runtime.config.eval.score_threshold
        self.score_threshold = max(loaded.score_threshold, self.lowest_score)
        self.model = loaded.model if isinstance(loaded, LoadedModel) else None
        self.runtime: Runtime
        if isinstance(loaded, LoadedModel):
            self.runtime = PyTorchRuntime(loaded.model, precision, self.settings if compiled else None)
        elif precision != "fp32" or compiled:
            raise UserError(
                f"'{loaded.runtime.path}' is computed as it was exported ({loaded.runtime.precision}): leave precision "
                "and compilation out, or export the model again in another precision."
            )
        else:
            self.runtime = loaded.runtime
        self.image_size, self.device = self.runtime.resize.size, self.runtime.device
        # On a CPU several images at a time keep the cores busier than all cores on one; a GPU takes batches, while the
        # second thread reads and draws. A compiled graph belongs to the thread that called it first.
        self._num_callers = min(MAX_CALLERS, torch.get_num_threads()) if self.device.type == "cpu" else 2
        self._num_callers = 1 if compiled else self._num_callers
        self._shared: Predictor | None = None  # as `overlapped` hands it over

    @overload
    def __call__(
        self, source: ImageSource, score_threshold: float | None = None, tiles: TileSize | None = None
    ) -> Instances: ...

    @overload
    def __call__(
        self, source: ImageSources, score_threshold: float | None = None, tiles: TileSize | None = None
    ) -> list[Instances]: ...

    def __call__(
        self, source: ImageSource | ImageSources, score_threshold: float | None = None, tiles: TileSize | None = None
    ) -> Instances | list[Instances]:
        """Find the objects of one image or of each image of a list.

        Args:
            source: a path, a uint8 [H, W, 3] array in BGR order (as OpenCV reads it), or a list of either. Where
                `config.model.channels` is C and not 3, an array is [H, W, C] in the order of the file.
            score_threshold: objects whose class probability is above this are returned, in [0, 1]; by default
                `self.score_threshold`.
            tiles: cut larger images into parts of this size, in pixels of the image, a square's side or (height,
                width), and join what they cut; by default `settings.tiles`. Neighbours share
                `settings.tile_overlap` pixels.

        Returns:
            Instances for one image, a list of them for a list. They hold the image, unless it was read by parts;
            where a list is too long for memory, use `find_all`.

        Raises:
            DatasetError: a file cannot be read as an image.
            TypeError, ValueError: the source or the threshold is not of the form above.
        """
        if not isinstance(source, list | tuple):
            return next(self.stream([source], score_threshold, tiles=tiles))
        return list(self.find_all(source, score_threshold, tiles))

    def stream(
        self,
        sources: Iterable[ImageSource],
        score_threshold: float | None = None,
        batch_size: int = 1,
        tiles: TileSize | None = None,
    ) -> Iterator[Instances]:
        """Find the objects of each image as it comes, in their order: frames of a camera, above all.

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
        if (chosen := self._tiles(tiles)) is not None:
            return (self._find_in_tiles(source, threshold, chosen) for source in sources)
        groups = _groups(sources, batch_size)
        return (found for group in groups for found in self._find(group, threshold)[0])

    def find_all(
        self, sources: Iterable[ImageSource], score_threshold: float | None = None, tiles: TileSize | None = None
    ) -> Iterator[Instances]:
        """Find the objects of many images in their order, with all of the machine; see `overlapped`.

        Arguments and errors are those of a call. A few images and results are in memory at a time.
        """
        threshold = self._threshold(score_threshold)
        if (chosen := self._tiles(tiles)) is not None:
            return (self._find_in_tiles(source, threshold, chosen) for source in sources)
        groups = self.overlapped(lambda own, group: own._find(group, threshold)[0], self._batches(sources))
        return (found for group in groups for found in group)

    def overlapped(self, work: Callable[["Predictor", S], T], items: Iterable[S]) -> Iterator[T]:
        """Yield `work(predictor, item)` for each item, in their order, several at the same time.

        So reading, the network, masks, drawing and writing keep the machine busy together. The predictor that `work`
        gets is this one, in a runtime that divides the cores between the calls.
        """
        if self._shared is None:
            share = getattr(self.runtime, "for_callers", None)
            self._shared = copy.copy(self)
            self._shared.runtime = self.runtime if share is None or self._num_callers == 1 else share(self._num_callers)
            self._shared._num_callers = 1  # it is within a call already
        if self._num_callers == 1:  # in this thread, to which a compiled graph may belong
            return map(partial(work, self._shared), items)
        return in_order(partial(work, self._shared), items, self._num_callers)

    def prototypes(self, image: ImageSource) -> Tensor:
        """Return the prototypes of an image: float32 [K, Hp, Wp] on the CPU, not negative (YOLACT, figure 5)."""
        return self.dissect(image, 1.0)[1].prototypes[0]

    def dissect(self, image: ImageSource, score_threshold: float | None = None) -> tuple[Instances, Detections]:
        """Find the objects of one image as a call does, and return also what their masks are made of.

        Returns:
            The N instances, and their detections [1, N, ...] on the CPU, in pixels of the network input, with the
            prototypes.

        Raises:
            UserError: a call would cut images into tiles.
        """
        if self.settings.tiles is not None:
            raise UserError(
                "What masks are made of is that of one image of the network, and this model cuts images into tiles: "
                "add --set eval.tiles=null (tiles=None to yolact.load)."
            )
        threshold = self._threshold(score_threshold)
        [found], detections = self._find([image], threshold)
        kept = Detector.of(self.runtime, self.settings).shown(detections, 0, found.image_size, threshold)
        rows = (None if field is None else field[:, kept].cpu() for field in (*detections[:4], detections.mask_scores))
        boxes, scores, labels, coefficients, mask_scores = rows
        counts, prototypes = torch.tensor([len(kept)]), detections.prototypes.cpu()
        return found, Detections(boxes, scores, labels, coefficients, counts, prototypes, mask_scores)  # type: ignore[arg-type]

    def _find(self, sources: Sequence[ImageSource], threshold: float) -> tuple[list[Instances], Detections]:
        """Return the objects of each image, and the detections of the batch."""
        images = [_as_image(source, self.colours) for source in sources]
        inputs = torch.stack([prepare_image(image, self.runtime.resize) for image in images])
        runtime = with_flips(self.runtime, self.settings.flips)
        detector = Detector.of(runtime, replace(self.settings, score_threshold=threshold))
        # no_grad, not inference_mode: a caller may change the results in place or use them in training.
        with torch.no_grad():
            detections = detector.detect(runtime(inputs.to(self.device)))
            found = [
                detector.instances(detections, index, image.shape[:2], self.class_names, self.category_ids, threshold)
                for index, image in enumerate(images)
            ]
        return [replace(one, image=image) for one, image in zip(found, images, strict=True)], detections

    def _find_in_tiles(self, source: ImageSource, threshold: float, tiles: Tiles) -> Instances:
        """Return the objects of one image, of which one part after the other is read."""
        if isinstance(source, str | Path):
            image = open_image(source, colours=self.colours)
        else:
            image = WholeImage(_as_image(source, self.colours))
        views = tiles.views(image.image_size)
        groups = self.overlapped(
            lambda own, group: own._find(group, threshold)[0], self._batches(map(image.read, views))
        )
        parts = (replace(found, image=None) for group in groups for found in group)
        shown = tqdm(parts, "tiles", len(views), False, unit="tile", disable=len(views) < MANY_TILES or None)
        return replace(join_tiles(zip(views, shown, strict=True), image.image_size), image=image.pixels)

    def _tiles(self, size: TileSize | None) -> Tiles | None:
        """Return the tiles of a call, or those of the settings."""
        if size is None:
            return Tiles.of(self.settings)
        sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
        if len(sides) != 2 or not all(isinstance(side, int | np.integer) for side in sides):
            raise TypeError(f"tiles must be a whole number of pixels or (height, width), got {size!r}.")
        least = max(SMALLEST_TILE, 2 * (self.settings.tile_overlap or 0))
        if min(sides) < least:
            reason = f", twice eval.tile_overlap={self.settings.tile_overlap}" if least > SMALLEST_TILE else ""
            raise ValueError(f"tiles must have sides of at least {least} pixels{reason}, got {size}.")
        return Tiles.of(replace(self.settings, tiles=(int(sides[0]), int(sides[1]))))

    def _batches(self, sources: Iterable[ImageSource]) -> Iterator[list[ImageSource]]:
        """Yield as many images at a time as the device takes at once."""
        return _groups(sources, 1 if self.device.type == "cpu" else GPU_BATCH)

    def _threshold(self, score_threshold: float | None) -> float:
        threshold = self.score_threshold if score_threshold is None else score_threshold
        if not self.lowest_score <= threshold <= 1:
            reason = ", as the file has the lower limit inside" if self.lowest_score else ""
            raise ValueError(f"score_threshold must lie in [{self.lowest_score:g}, 1]{reason}, got {threshold}.")
        return threshold


def load(
    path: str | Path,
    device: str | torch.device = "cpu",
    precision: Precision = "fp32",
    config: str | Path | Config | None = None,
    compiled: bool = False,
    backbone: nn.Module | None = None,
    image_size: int | tuple[int, int] | None = None,
    **settings: Any,
) -> Predictor:
    """Load a checkpoint, of this project or published by the authors, or an exported file, as a `Predictor`.

    Args:
        path: of the checkpoint, whose averaged (EMA) weights are taken if it has any; or of what `yolact export` wrote:
            .onnx, .engine, .pt2, or a folder NAME_openvino.
        device: "cpu", "cuda", "cuda:1", "mps".
        precision: "bf16" and "fp16" run the network in less than float32: about twice as fast where the hardware has
            them (bf16: recent GPUs and CPUs; fp16: GPUs). An exported file has its own.
        config: a YAML file or a `Config`, instead of the checkpoint's; needed where weights of the authors do not say
            which of their models they are.
        compiled: compile the network by torch.compile: the first image takes up to a minute, the others less time.
        backbone: that the model was trained with, where it was given in code.
        image_size: of the network input in pixels, a square's side or (height, width), if not that of the training.
        settings: change fields of `EvalConfig`, such as nms="cross_class", max_detections=300, or
            score_threshold=0.5, which calls then take by default.

    Raises:
        UserError: about the file, the configuration, the device or the setting.
    """
    overrides = [f"eval.{key}={json.dumps(value)}" for key, value in settings.items()]
    if image_size is not None:
        overrides.append(f"model.image_size={json.dumps(image_size)}")
    chosen = load_config(config) if isinstance(config, str | Path) else config
    return Predictor(load_weights(path, device, chosen, overrides, backbone), precision, compiled)


def _groups(sources: Iterable[ImageSource], size: int) -> Iterator[list[ImageSource]]:
    iterator = iter(sources)
    return iter(lambda: list(islice(iterator, size)), [])


def _as_image(source: ImageSource, colours: Colours) -> np.ndarray:
    """Return the uint8 [H, W, C] array of a path, or the array itself where it is one."""
    if isinstance(source, str | Path):
        return read_image(Path(source), colours=colours)
    channels = colours.channels
    is_image = isinstance(source, np.ndarray) and source.ndim == 3 and source.size > 0 and source.dtype == np.uint8
    if channels != 3 and not (is_image and source.shape[2] == channels):
        found = f"{source.dtype} {list(source.shape)}" if isinstance(source, np.ndarray) else type(source).__name__
        raise (ValueError if isinstance(source, np.ndarray) else TypeError)(
            f"An image must be a path or a uint8 (0..255) [H, W, {channels}] array, as model.channels is {channels}, "
            f"with its bands in the order of the file, got {found}."
        )
    if not isinstance(source, np.ndarray):
        raise TypeError(
            f"An image must be a path or a uint8 [H, W, 3] BGR array, got {type(source).__name__}; "
            "a PIL image becomes one by np.asarray(image.convert('RGB'))[:, :, ::-1]."
        )
    if not is_image or source.shape[2] != channels:
        raise ValueError(
            "An image must be uint8 (0..255) [H, W, 3] in BGR order with at least one pixel, got "
            f"{source.dtype} {list(source.shape)}; convert it first, for example with "
            "cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)."
        )
    return source
