"""What masks are made of: prototypes, coefficients, signed contributions, and the sum that becomes a mask.

YOLACT section 3 and figure 5. Maps are float32 [Hp, Wp] on the CPU: the image as the network sees it, at the size of
its prototypes. Drawings are uint8 [H, W, 3] BGR arrays; red adds to a mask, blue takes away from it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import matplotlib
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import Tensor

from yolact.draw import CROWD, DARK, WHITE, Drawing, display_scale, for_people, resize_mask, titled
from yolact.fonts import font
from yolact.instances import Instances
from yolact.ops import masks as mask_ops
from yolact.ops.boxes import resize_boxes
from yolact.predictor import ImageSource, Predictor

DECIDED_IOU = 0.95  # with the final mask; further contributions only touch up the border
RED, BLUE = "#b2182b", "#2166ac"
MAX_PANELS = 15  # beside the image; what comes later changes little
PANEL_SIDE, ROW_SIDE, TITLE_SIDE, HEADING_SIDE = 210, 1700, 150, 800  # pixels that they have at least or at most
MIN_VIEW = 12  # pixels of the prototypes that a panel shows at least


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """The N objects of an image, and the parts that their masks are sums of. Methods take an object's number."""

    instances: Instances  # as the predictor finds them
    prototypes: Tensor  # [K, Hp, Wp], not negative, that part of them which shows the image
    coefficients: Tensor  # [N, K] in (-1, 1)
    boxes: Tensor  # [N, 4] xyxy in pixels of the prototypes, not clipped

    def __len__(self) -> int:
        return len(self.coefficients)

    def __repr__(self) -> str:
        count, height, width = self.prototypes.shape
        return f"{len(self)} objects, made of {count} prototypes of {height} x {width} pixels"

    def title(self, index: int) -> str:
        """Return the number, class and score of an object."""
        found = self.instances
        return f"{index}: {found.class_names[int(found.labels[index])]} {float(found.mask_scores[index]):.2f}"

    def summary(self, index: int) -> str:
        """Say which prototypes the mask of an object is made of."""
        order, shares = self.order(index), self.shares(index)
        most = ", ".join(f"{number} ({float(shares[number]):.0%})" for number in order[:3])
        count = f"{self.num_needed(index)} of {len(order)} contributions"
        return f"{self.title(index)}, decided by {count}; most from prototypes {most}"

    def contributions(self, index: int) -> Tensor:
        """Return each coefficient times its prototype, [K, Hp, Wp]; their sum over K are the logits of the mask."""
        return self.coefficients[index][:, None, None] * self.prototypes

    def window(self, index: int) -> Tensor:
        """Return bool [Hp, Wp], the box and a pixel around it, to which the mask is cropped."""
        return mask_ops.box_window(self.boxes[index][None], *self.prototypes.shape[1:])[0]

    def shares(self, index: int) -> Tensor:
        """Return each contribution's part of all that is added and taken away inside the box, [K] in [0, 1]."""
        amounts = (self.contributions(index).abs() * self.window(index)).sum((1, 2))
        return amounts / amounts.sum().clamp(min=torch.finfo(amounts.dtype).tiny)

    def order(self, index: int) -> list[int]:
        """Return the numbers of the prototypes by their share, the largest first."""
        return self.shares(index).argsort(descending=True, stable=True).tolist()

    def running_sums(self, index: int) -> Tensor:
        """Return the sums of the first 1, 2, ... K contributions in that order, [K, Hp, Wp]; the last is the whole."""
        return self.contributions(index)[self.order(index)].cumsum(0)

    def agreement(self, index: int) -> Tensor:
        """Return the IoU of each running sum's mask with that of the whole sum, inside the box: [K] in [0, 1]."""
        masks = (self.running_sums(index) > 0) & self.window(index)
        common, either = (masks & masks[-1]).sum((1, 2)), (masks | masks[-1]).sum((1, 2))
        return torch.where(either > 0, common / either.clamp(min=1), 1.0)

    def num_needed(self, index: int) -> int:
        """Return the number of contributions from which on the agreement stays above `DECIDED_IOU`."""
        below = (self.agreement(index) < DECIDED_IOU).nonzero()
        return int(below[-1]) + 2 if len(below) else 1


def explain(predictor: Predictor, image: ImageSource, score_threshold: float = 0.3) -> Explanation:
    """Find the objects of one image, with what their masks are made of; arguments and errors are the predictor's."""
    instances, detections = predictor.dissect(image, score_threshold)
    resize, prototypes = predictor.runtime.resize, detections.prototypes[0]
    boxes = resize_boxes(detections.boxes[0], resize.size, prototypes.shape[1:])
    shown = resize.part(prototypes, instances.image_size)
    return Explanation(instances, shown, detections.mask_coefficients[0], boxes)


def draw_all(parts: Explanation, chosen: Sequence[int]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each drawing with its name: the prototypes, the numbered objects, and four of each object chosen."""
    yield "prototypes", draw_prototypes(parts.prototypes, parts.instances.image)
    yield "objects", draw_numbers(parts)
    for number in chosen:
        yield f"{number}_coefficients", draw_coefficients(parts, number)
        yield f"{number}_contributions", draw_contributions(parts, number)
        yield f"{number}_sum", draw_sum(parts, number)
        yield f"{number}_mask", parts.instances[number].plot(scale=display_scale(*parts.instances.image_size))


def draw_prototypes(prototypes: Tensor, image: np.ndarray | None = None) -> Drawing:
    """Draw prototypes [K, Hp, Wp] as a labelled grid, bright where they are strong (YOLACT, figure 5).

    Each is scaled to its own maximum, which its label gives. `image`, uint8 BGR, is shown first, in their shape.
    """
    scale = max(1, round(TITLE_SIDE / max(prototypes.shape[1:])))
    size = prototypes.shape[2] * scale, prototypes.shape[1] * scale
    panels = []
    if image is not None:
        panels.append(titled(cv2.resize(for_people(image), size, interpolation=cv2.INTER_AREA), "image", 12))
    for number, prototype in enumerate(prototypes.float().cpu().numpy()):
        peak = float(prototype.max())
        shares = (prototype * (255 / peak if peak else 0)).round().astype(np.uint8)
        shown = cv2.resize(cv2.applyColorMap(shares, cv2.COLORMAP_MAGMA), size, interpolation=cv2.INTER_NEAREST)
        panels.append(titled(shown, f"{number}: up to {peak:.1f}" if peak else f"{number}: zero", 12))
    return _grid(panels).view(Drawing)


def draw_numbers(parts: Explanation) -> Drawing:
    """Draw the image with its masks and the number of each object, by which the other functions know it."""
    found = parts.instances
    scale = display_scale(*found.image_size)
    canvas = Image.fromarray(found.plot(boxes=False, labels=False, scale=scale))
    size = max(12, max(canvas.size) // (45 if len(found) < CROWD else 65))
    pen = ImageDraw.Draw(canvas)
    for number, middle in enumerate((found.boxes.unflatten(1, (2, 2)).mean(1) * scale).tolist()):
        pen.text(middle, str(number), WHITE, font(size), "mm", stroke_width=1 + size // 10, stroke_fill=(0, 0, 0))
    return np.array(canvas).view(Drawing)


def draw_coefficients(parts: Explanation, index: int) -> Drawing:
    """Draw the K coefficients of object `index` as bars, above the shares that their contributions have."""
    coefficients, shares = parts.coefficients[index].numpy(), parts.shares(index).numpy()
    count = len(shares)
    figure = Figure(figsize=(max(6.5, 1 + 0.24 * count), 4.4), dpi=110, layout="constrained")
    titles = f"{parts.title(index)}: coefficients; red adds, blue takes away", "share of all inside the box, %"
    values = coefficients, 100 * shares * np.sign(coefficients)
    for axis, title, heights in zip(figure.subplots(2, 1, sharex=True), titles, values, strict=True):
        axis.bar(range(count), heights, color=np.where(heights > 0, RED, BLUE), zorder=2)
        axis.axhline(0, color="#222222", linewidth=0.8)
        axis.grid(axis="y", color="#dddddd", linewidth=0.8, zorder=0)
        axis.set_title(title, loc="left", fontsize=10)
    axis.set(xlabel="prototype", xlim=(-0.7, count - 0.3), xticks=range(0, count, 1 + count // 40))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[:, :, 2::-1]).view(Drawing)


def draw_contributions(parts: Explanation, index: int, count: int = MAX_PANELS) -> Drawing:
    """Draw the `count` largest signed contributions to object `index` around its box, but none that is zero there.

    All have one scale of colours, so that they can be compared. The line is the border of the mask.
    """
    contributions, shares = parts.contributions(index), parts.shares(index)
    shown = [number for number in parts.order(index) if shares[number] > 0][:count]
    limit = float((contributions.abs() * parts.window(index)).max()) or 1.0
    titles = [f"{n}: {float(parts.coefficients[index, n]):+.2f}, {float(shares[n]):.0%}" for n in shown]
    rest = float(shares.sum() - shares[shown].sum())
    heading = f"prototype: coefficient, share of all that is added (red, up to {limit:.1f}) and taken away"
    heading += f"; not shown: {rest:.0%}" if rest > 0.005 else ""
    return _panels(parts, index, heading, titles, contributions[shown] / limit)


def draw_sum(parts: Explanation, index: int, count: int = MAX_PANELS) -> Drawing:
    """Draw how the contributions to object `index`, added one after another, become its mask; the largest comes first.

    Each of at most `count` panels (from 2 on) is the sigmoid of a sum, with a line at one half, and the IoU inside the
    box of this mask with the final one. They end where the mask hardly changes any more, and with the whole sum.
    """
    order, agreement = parts.order(index), parts.agreement(index)
    steps = [*range(min(parts.num_needed(index), len(order) - 1, count - 1)), len(order) - 1]
    titles = [f"{'+ ' if step else ''}{order[step]}: IoU {float(agreement[step]):.2f}" for step in steps[:-1]]
    heading = "added one after another: sigmoid of the sum (red: 1, blue: 0), IoU of its mask with the final one"
    titles.append(f"all {len(order)}")
    return _panels(parts, index, heading, titles, 2 * parts.running_sums(index)[steps].sigmoid() - 1, own_border=True)


def _panels(
    parts: Explanation, index: int, heading: str, titles: Sequence[str], maps: Tensor, own_border: bool = False
) -> Drawing:
    """Draw the image and maps of -1 (blue) to 1 (red) around an object, twice as wide and high as its box.

    The line is the border of the final mask, or with `own_border` that of what is positive in each map.
    """
    found, box = parts.instances, parts.instances.boxes[index]
    assert found.image is not None
    height, width = found.image_size
    least = MIN_VIEW / 2 * torch.tensor([width / maps.shape[2], height / maps.shape[1]])
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).maximum(least)
    scale = PANEL_SIDE / float(torch.minimum(2 * half, torch.tensor([width, height])).max())
    size = max(1, round(width * scale)), max(1, round(height * scale))  # of the whole image, which is then cut
    left, top = (scale * (middle - half)).floor().clamp(min=0).int().tolist()
    right, bottom = (scale * (middle + half)).ceil().int().tolist()
    view = slice(top, bottom), slice(left, right)
    corners = (scale * box - torch.tensor([left, top, left, top])).round().int().tolist()
    mask = resize_mask(found.regions[index].full(found.image_size), size[::-1])[view]
    panels = []
    for title, values in zip(("image", *titles), (None, *maps.numpy()), strict=True):
        border, paint = mask, WHITE if values is None else DARK
        if values is None:
            panel = cv2.resize(for_people(found.image), size, interpolation=cv2.INTER_AREA)[view]
        else:
            pixels = cv2.resize(values / 2 + 0.5, size, interpolation=cv2.INTER_NEAREST)[view]
            panel = matplotlib.colormaps["RdBu_r"](pixels, bytes=True)[:, :, 2::-1]
            border = cv2.resize(values, size)[view] > 0 if own_border else mask
        contours, _ = cv2.findContours(border.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        panel = cv2.drawContours(panel.copy(), contours, -1, paint, 1, cv2.LINE_AA)
        panels.append(titled(cv2.rectangle(panel, corners[:2], corners[2:], paint, 1), title, 13, TITLE_SIDE))
    return titled(titled(_grid(panels), heading, 13, HEADING_SIDE), parts.title(index), 16).view(Drawing)


def _grid(panels: list[np.ndarray]) -> np.ndarray:
    """Put panels of one size on white, in rows with the fewest empty ones."""
    most = min(len(panels), max(1, ROW_SIDE // panels[0].shape[1]))
    columns = min(range(most, most // 2, -1), key=lambda n: -len(panels) % n)
    panels = panels + [np.full_like(panels[0], 255)] * (-len(panels) % columns)
    panels = [cv2.copyMakeBorder(panel, 0, 6, 4, 4, cv2.BORDER_CONSTANT, value=WHITE) for panel in panels]
    return np.vstack([np.hstack(panels[i : i + columns]) for i in range(0, len(panels), columns)])
