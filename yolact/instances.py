"""`Instances`: what was found in one image, in its own pixels, and the forms in which programs take it."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import torch
from torch import Tensor

from yolact.errors import UserError
from yolact.ops.regions import MaskRegion, full_masks
from yolact.text import did_you_mean

if TYPE_CHECKING:
    from yolact.draw import Drawing
    from yolact.ops.outlines import Polygon

REPR_CLASSES = 8  # classes that the short text names

Classes = str | int | Iterable[str | int]


@dataclass(repr=False, eq=False)
class Instances:
    """Final result for one image, in its own pixels, by descending score. Tensors are on the CPU.

    Its other forms are made of `regions`; only `masks` and `to_supervision` take the memory of whole masks.
    """

    boxes: Tensor  # float32 [N, 4] xyxy, clipped to the image
    scores: Tensor  # float32 [N], class probability
    labels: Tensor  # int64 [N], 0..C-1
    regions: list[MaskRegion]  # N masks, each as the rectangle that holds it; `masks` makes them whole
    mask_scores: Tensor  # float32 [N], score times predicted mask IoU (YOLACT++), else equal to scores
    image_size: tuple[int, int]  # (H, W)
    class_names: list[str]  # of all classes, by label
    category_ids: list[int]  # of all classes, as in the annotation file
    image: np.ndarray | None = None  # uint8 [H, W, C], BGR if C is 3, kept by `Predictor` for `plot`

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        counts = Counter(self.class_names[label] for label in self.labels.tolist()).most_common()
        kinds = ", ".join(f"{count} {name}" for name, count in counts[:REPR_CLASSES])
        others = len(counts) - REPR_CLASSES
        kinds = f": {kinds}" + (f" and {others} more" if others > 0 else "") if counts else ""
        height, width = self.image_size
        noun = "instance" if len(self) == 1 else "instances"
        return f"{len(self)} {noun} in {height} x {width} pixels (height x width){kinds}"

    def _repr_png_(self) -> bytes | None:
        from yolact.draw import NOTEBOOK_SIDE, display_scale

        scale = min(display_scale(*self.image_size), NOTEBOOK_SIDE / max(self.image_size))
        return None if self.image is None else self.plot(scale=scale)._repr_png_()

    @cached_property
    def masks(self) -> Tensor:
        """Bool [N, H, W], made at the first use and kept: N * H * W bytes, while `regions` need far less."""
        return full_masks(self.regions, self.image_size)

    def __getitem__(self, index: int | slice | Tensor | np.ndarray | list[int] | list[bool]) -> "Instances":
        """Select instances by number, slice, integer list or boolean mask; the result is always `Instances`."""
        if not isinstance(index, slice):
            index = torch.as_tensor(index)
            index = (index if index.dtype == torch.bool else index.long()).reshape(-1)
        places = torch.arange(len(self))[index].tolist()
        return replace(
            self,
            boxes=self.boxes[index],
            scores=self.scores[index],
            labels=self.labels[index],
            regions=[self.regions[place] for place in places],
            mask_scores=self.mask_scores[index],
        )

    def filter(self, classes: Classes | None = None, min_score: float = 0.0, min_area: int = 0) -> "Instances":
        """Select instances by class, score and size; those that meet all conditions stay.

        Args:
            classes: a name, names with commas between, a label, or a list of them; None takes all.
            min_score: the least class probability (`scores`), in [0, 1].
            min_area: the least number of pixels of the mask.

        Raises:
            UserError: the model does not know a class, or the score is not in [0, 1].
        """
        if not 0 <= min_score <= 1:
            raise UserError(f"min_score must lie in [0, 1], got {min_score}; correct it.")
        wanted = self.scores >= min_score
        if classes is not None:
            labels = find_labels(classes, self.class_names)
            wanted &= torch.tensor([label in labels for label in self.labels.tolist()], dtype=torch.bool)
        if min_area > 0:
            wanted &= torch.tensor([region.area >= min_area for region in self.regions], dtype=torch.bool)
        return self[wanted]

    def to_coco(self, image_id: int, kind: Literal["segm", "bbox"] | None = None) -> list[dict[str, Any]]:
        """Return COCO result records: image_id, category_id, bbox (xywh), score and segmentation (compressed RLE).

        Args:
            image_id: of the image in the annotation file.
            kind: "segm" or "bbox" gives the records that COCOeval should get for that kind of metrics: it takes an
                object's size from the box where there is one, and box records have the class probability as score.
        """
        from yolact.formats import result_records

        masks, boxes = result_records(self, image_id)
        both = [box | mask for box, mask in zip(boxes, masks, strict=True)]
        return {"segm": masks, "bbox": boxes, None: both}[kind]

    def to_labelme(self, image_path: str | Path, tolerance: float = 1.0) -> dict[str, Any]:
        """Return the content of a labelme file, with which found objects can be corrected by hand.

        Parts of one object share a group_id, and a hole is joined to the outline around it by a line that is walked
        both ways. Objects without a pixel are left out.

        Args:
            image_path: of the image as labelme will look for it, relative to the label file; its bare name where
                both lie in one folder.
            tolerance: pixels by which outlines may be off, less for small objects, for the sake of fewer points; 0
                keeps the masks exactly.

        Raises:
            UserError: the tolerance is below 0.
        """
        from yolact.formats import labelme_content

        return labelme_content(self, Path(image_path).as_posix(), tolerance)

    def to_supervision(self) -> Any:
        """Return `supervision.Detections`, for that package's annotators, trackers and zones.

        They hold the boxes, the masks (N * H * W bytes), `scores` as confidence, the labels as class ids, and the
        class names as data["class_name"].

        Raises:
            UserError: the package is not installed.
        """
        try:
            from supervision import Detections
        except ImportError as error:
            raise UserError(f"to_supervision() needs 'supervision' ({error}); run `pip install supervision`.") from None
        labels = self.labels.numpy()
        return Detections(
            xyxy=self.boxes.numpy().copy(),
            mask=full_masks(self.regions, self.image_size).numpy(),
            confidence=self.scores.numpy().copy(),
            class_id=labels.copy(),
            data={"class_name": np.array([self.class_names[label] for label in labels], dtype=str)},
        )

    def rle(self) -> list[dict[str, Any]]:
        """Return each mask as COCO's compressed RLE: {"size": [H, W], "counts": str}."""
        from yolact.ops.rle import encode_region

        return [encode_region(region, self.image_size) for region in self.regions]

    @overload
    def polygons(self, holes: Literal[False] = False) -> list[list[np.ndarray]]: ...

    @overload
    def polygons(self, holes: Literal[True]) -> "list[list[Polygon]]": ...

    def polygons(self, holes: bool = False) -> "list[list[np.ndarray]] | list[list[Polygon]]":
        """Return each mask's outlines, float32 [M, 2] (x, y) pixel-centre coordinates; an instance may have several.

        Args:
            holes: return each part as (outline, [hole, ...]) instead; without it holes are filled.
        """
        from yolact.ops.outlines import mask_outlines, mask_polygons

        if holes:
            return [mask_polygons(region) for region in self.regions]
        return [mask_outlines(region) for region in self.regions]

    def crops(self, image: np.ndarray | None = None, masked: bool = False) -> list[np.ndarray]:
        """Cut each object's box out of `image` (uint8 BGR), or of the image that was predicted.

        Args:
            masked: make transparent what is not on the object.

        Returns:
            New uint8 [h, w, C] arrays in the channels of the image, BGR if C is 3, with alpha behind them if `masked`;
            at least one pixel each.

        Raises:
            ValueError: there is no image, or it is of another size.
        """
        image = self._image(image, "crops")
        (height, width), parts = self.image_size, []
        for box, region in zip(self.boxes.tolist(), self.regions, strict=True):
            left, top = min(math.floor(box[0]), width - 1), min(math.floor(box[1]), height - 1)
            right, bottom = max(math.ceil(box[2]), left + 1), max(math.ceil(box[3]), top + 1)
            part = image[top:bottom, left:right].copy()
            if masked:
                part = np.dstack([part, region.crop(top, left, bottom, right).view(np.uint8) * 255])
            parts.append(part)
        return parts

    def plot(self, image: np.ndarray | None = None, **options: Any) -> "Drawing":
        """Draw boxes, masks and labels onto `image` (uint8 BGR), or onto the image that was predicted.

        Args:
            options: of `yolact.draw.draw_instances`: boxes, masks, labels, scores, alpha, scale.

        Returns:
            A new uint8 [H, W, 3] BGR array, which a notebook shows as an image.

        Raises:
            ValueError: there is no image to draw on, or it is of another size.
        """
        from yolact.draw import Drawing, draw_instances

        return draw_instances(self._image(image, "plot"), self, **options).view(Drawing)

    def _image(self, image: np.ndarray | None, method: str) -> np.ndarray:
        """Return `image`, or the image that was predicted."""
        image = self.image if image is None else image
        if image is None:
            raise ValueError(f"These instances do not hold their image; pass it as {method}(image), uint8 BGR.")
        if image.shape[:2] != tuple(self.image_size):
            raise ValueError(
                f"The instances belong to an image of {self.image_size} (height, width), got {image.shape[:2]}."
            )
        return image


def find_labels(classes: Classes, class_names: list[str]) -> set[int]:
    """Return the labels of classes, given as in `Instances.filter`; a UserError says that there is no such class."""
    labels: set[int] = set()
    for item in classes if isinstance(classes, Iterable) and not isinstance(classes, str) else [classes]:
        parts: list[str | int] = [item if isinstance(item, str) else int(item)]
        if isinstance(item, str) and item not in class_names:  # a name may itself have a comma
            parts = [part.strip() for part in item.split(",")]
        for wanted in parts:
            found = {label for label, name in enumerate(class_names) if wanted in (label, name)}
            if not found:
                hint = f"; give a name, or a number from 0 to {len(class_names) - 1}."
                hint = did_you_mean(wanted, class_names) if isinstance(wanted, str) else hint
                raise UserError(f"{wanted!r} is none of the {len(class_names)} classes of this model{hint}")
            labels |= found
    return labels
