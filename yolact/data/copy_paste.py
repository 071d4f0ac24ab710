"""Simple copy-paste (Ghiasi et al. 2021): objects of one training sample are laid over another."""

from typing import Literal

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
    covered = np.zeros(image.shape[1:], np.bool_)
    for number in np.flatnonzero(taken):
        mask = _masks(other)[number]
        taken[number] = mask.any()  # an object can be too small to have a pixel
        covered |= mask
    if not taken.any():
        return image, target
    np.copyto(image.numpy(), other_image.numpy(), where=covered)
    return image, _join((target, _cover(target, covered)), (other, taken))


def _masks(target: Target) -> NDArray[np.bool_]:
    """Return the masks [N, S, S] of a target, the same memory as bool: that is fast to count."""
    return target["masks"].numpy().view(np.bool_)


def _cover(target: Target, covered: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Take the pixels `covered` [S, S] from masks and boxes of a target; return which of its objects stay, [N]."""
    seen = ~covered
    stays = np.ones(len(target["labels"]), np.bool_)
    for number, mask in enumerate(_masks(target)):
        area = np.count_nonzero(mask)
        mask &= seen
        left = np.count_nonzero(mask)
        if left < area:
            stays[number] = left >= max(1, SMALLEST_SHARE * area)
            if stays[number]:
                rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
                box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]  # pixel j covers [j, j + 1)
                target["boxes"][number] = torch.from_numpy(np.array(box, np.float32))
    return stays


def _join(*parts: tuple[Target, NDArray[np.bool_]]) -> Target:
    """Return the chosen objects of each target; the image's id is that of the first."""

    def joined(key: Literal["boxes", "labels", "masks", "iscrowd"]) -> Tensor:
        return torch.cat([target[key][torch.from_numpy(chosen)] for target, chosen in parts])

    return Target(
        boxes=joined("boxes"),
        labels=joined("labels"),
        masks=joined("masks"),
        iscrowd=joined("iscrowd"),
        image_id=parts[0][0]["image_id"],
    )
