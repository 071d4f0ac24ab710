"""Simple copy-paste (Ghiasi et al. 2021): objects of one training sample are laid over another."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from yolact.structures import Target

# An object stays while so much of what was seen of it is still seen. The paper removes only what is covered entirely;
# but hardly anyone could tell what a last sliver belongs to.
SMALLEST_SHARE = 0.1


def paste_objects(
    rng: np.random.Generator, sample: tuple[Tensor, Target], source: tuple[Tensor, Target]
) -> tuple[Tensor, Target]:
    """Copy a random subset of the objects of `source`, each with probability 1/2, onto `sample`.

    Crowd regions are not copied. Masks of covered objects and crowds lose the covered pixels, and their boxes follow;
    those of which too little is left are removed. Edges are not blended, which the paper found to make no difference.

    Args:
        rng: random numbers.
        sample: uint8 [3, S, S] RGB and its target, with masks uint8 [N, S, S] of 0 and 1; both may be changed.
        source: likewise; neither is changed.

    Returns:
        The image and its target: the remaining objects, then the copied ones; the image's id is that of `sample`.
    """
    (image, target), (other_image, other) = sample, source
    taken = (rng.random(len(other["labels"])) < 0.5) & ~other["iscrowd"].numpy()
    for number in np.flatnonzero(taken):
        taken[number] = _masks(other)[number].any()  # an object can be too small to have a pixel
    if not taken.any():
        return image, target
    pasted = _select(other, taken)
    covered = np.asarray(np.bitwise_or.reduce(_masks(pasted)), np.bool_)
    np.copyto(image.numpy(), other_image.numpy(), where=covered)
    return image, _join(_cover(target, covered), pasted)


def _masks(target: Target) -> NDArray[np.bool_]:
    """Return the masks [N, S, S] of a target, the same memory as truth values: those are fast to count."""
    return target["masks"].numpy().view(np.bool_)


def _cover(target: Target, covered: NDArray[np.bool_]) -> Target:
    """Take the pixels `covered` [S, S] from the objects of a target, whose masks and boxes are changed."""
    seen = ~covered
    stays = np.ones(len(target["labels"]), np.bool_)
    for number, mask in enumerate(_masks(target)):
        area = np.count_nonzero(mask)
        mask &= seen
        left = np.count_nonzero(mask)
        if left < area:
            stays[number] = left >= max(1, SMALLEST_SHARE * area)
            if stays[number]:
                target["boxes"][number] = torch.from_numpy(_box_of(mask))
    return target if stays.all() else _select(target, stays)


def _box_of(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the tight box xyxy of a mask [S, S] that has a pixel; pixel j covers [j, j + 1)."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def _select(target: Target, rows: NDArray[np.bool_]) -> Target:
    chosen = torch.from_numpy(rows)
    return Target(
        boxes=target["boxes"][chosen],
        labels=target["labels"][chosen],
        masks=target["masks"][chosen],
        iscrowd=target["iscrowd"][chosen],
        image_id=target["image_id"],
    )


def _join(first: Target, second: Target) -> Target:
    return Target(
        boxes=torch.cat((first["boxes"], second["boxes"])),
        labels=torch.cat((first["labels"], second["labels"])),
        masks=torch.cat((first["masks"], second["masks"])),
        iscrowd=torch.cat((first["iscrowd"], second["iscrowd"])),
        image_id=first["image_id"],
    )
