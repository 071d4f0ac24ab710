"""Training on parts of large images: which part a sample shows, and the objects as that part has them."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from yolact.data.annotations import ImageRecord, ObjectRecord
from yolact.data.segmentations import Rle, Segmentation, crop_rle
from yolact.data.transforms import boxes_of
from yolact.structures import Tiles, View

AROUND_OBJECTS = 0.5  # of the tiles; the others lie anywhere, so that background is seen as often as it is met
SMALLEST_SEEN = 1.0  # pixels of the image, of both sides of what a tile must show of an object to have it


def draw_view(
    rng: np.random.Generator,
    image_size: tuple[int, int],
    labels: NDArray[np.int64],
    boxes: NDArray[np.float64],
    size: tuple[int, int],
) -> View:
    """Draw a part of an image: anywhere, or so that it holds an object of a class that is drawn first.

    Args:
        image_size: (H, W) of the image.
        labels, boxes: [N] and xyxy [N, 4], of the image's objects but for crowd regions, in its pixels.
        size: (H, W) of the part, which no part of a smaller image exceeds.
    """
    limits, sides = np.array(image_size[::-1]), np.minimum(size[::-1], image_size[::-1])
    low, high = np.zeros(2), (limits - sides).astype(float)
    if len(labels) and rng.random() < AROUND_OBJECTS:
        box = boxes[rng.choice(np.flatnonzero(labels == rng.choice(np.unique(labels))))]
        # From where it shows the far end of the object to where it shows the near one; of a larger object any part.
        first, last = np.sort([box[2:] - sides, box[:2]], axis=0)
        low, high = first.clip(low, high), last.clip(low, high)
    least, most = np.floor((low, high)).astype(int)
    x0, y0 = rng.integers(least, most, endpoint=True).tolist()
    return x0, y0, x0 + int(sides[0]), y0 + int(sides[1])


def shown_parts(
    image: ImageRecord, objects: Sequence[ObjectRecord], tiles: Tiles | None
) -> Iterator[tuple[ImageRecord, list[ObjectRecord]]]:
    """Yield an image, or its tiles as images, with their objects; an object is in the tile that shows most of it."""
    if tiles is None:
        yield image, [*objects]
        return
    views = tiles.views((image.height, image.width))
    boxes, edges = boxes_of(objects)[:, None], np.array(views)
    sides = np.minimum(boxes[..., 2:], edges[:, 2:]) - np.maximum(boxes[..., :2], edges[:, :2])
    best = sides.clip(0).prod(-1).argmax(1)
    for number, view in enumerate(views):
        own = [item for item, chosen in zip(objects, best, strict=True) if chosen == number]
        yield image._replace(width=view[2] - view[0], height=view[3] - view[1]), objects_in(own, view)


def objects_in(objects: Sequence[ObjectRecord], view: View) -> list[ObjectRecord]:
    """Return the objects that a part of an image shows, in its pixels; boxes end where the part does."""
    x0, y0, x1, y1 = view
    boxes = (boxes_of(objects) - (x0, y0, x0, y0)).clip(0, (x1 - x0, y1 - y0, x1 - x0, y1 - y0))
    shown = (boxes[:, 2:] - boxes[:, :2]).min(1, initial=np.inf) >= SMALLEST_SEEN
    return [
        objects[index]._replace(
            bbox=tuple(boxes[index].tolist()), segmentation=_moved(objects[index].segmentation, view)
        )
        for index in np.flatnonzero(shown).tolist()
    ]


def _moved(segmentation: Segmentation, view: View) -> Segmentation:
    """Return a mask in pixels of a part of the image; run lengths end where the part does."""
    if not isinstance(segmentation, Rle):
        return [polygon - np.array(view[:2], np.float32) for polygon in segmentation]
    crop, left, top = crop_rle(segmentation)
    width, height = view[2] - view[0], view[3] - view[1]
    left, top = left - view[0], top - view[1]
    canvas: NDArray[np.uint8] = np.zeros((height, width), np.uint8)
    rows, columns = slice(max(top, 0), max(top + crop.shape[0], 0)), slice(max(left, 0), max(left + crop.shape[1], 0))
    inside = crop[max(-top, 0) :, max(-left, 0) :][: max(height - rows.start, 0), : max(width - columns.start, 0)]
    canvas[rows, columns] = inside
    edges = np.flatnonzero(np.diff(canvas.ravel(order="F"), prepend=np.uint8(0)))
    return Rle(height, width, np.diff([0, *edges, canvas.size]).astype(np.uint32))
