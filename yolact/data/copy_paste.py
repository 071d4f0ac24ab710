"""Simple copy-paste (Ghiasi et al. 2021): objects of one training sample are laid over another."""

from typing import Literal

import numpy as np
import torch
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
        sample: uint8 [C, H, W] and its target, with masks uint8 [N, H, W] of 0 and 1; both may be changed.
        source: likewise; neither is changed.

    Returns:
        The image and its target: the remaining objects, then the copied ones; the image's id is that of `sample`.
    """
    (image, target), (other_image, other) = sample, source
    masks, other_masks = (one["masks"].numpy().view(np.bool_) for one in (target, other))  # bools are fast to count
    taken = (rng.random(len(other_masks)) < 0.5) & ~other["iscrowd"].numpy()
    taken[taken] = [mask.any() for mask in other_masks[taken]]  # an object can be too small to have a pixel
    if not taken.any():
        return image, target
    covered = other_masks[taken].any(axis=0)
    np.copyto(image.numpy(), other_image.numpy(), where=covered)
    kept = np.ones(len(masks), np.bool_)
    for number, mask in enumerate(masks):
        area = np.count_nonzero(mask)
        mask &= ~covered
        left = np.count_nonzero(mask)
        if left < area:
            kept[number] = left >= max(1, SMALLEST_SHARE * area)
            if kept[number]:
                rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
                box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]  # pixel j covers [j, j + 1)
                target["boxes"][number] = torch.tensor(box, dtype=torch.float32)

    def joined(key: Literal["boxes", "labels", "masks", "iscrowd"]) -> Tensor:
        return torch.cat([target[key][torch.from_numpy(kept)], other[key][torch.from_numpy(taken)]])

    return image, Target(
        boxes=joined("boxes"),
        labels=joined("labels"),
        masks=joined("masks"),
        iscrowd=joined("iscrowd"),
        image_id=target["image_id"],
    )
