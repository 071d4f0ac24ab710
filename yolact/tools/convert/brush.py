"""The run lengths in which Label Studio keeps what a brush has painted."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolact.errors import DatasetError
from yolact.tools.convert.common import check

WORD_BITS = 8  # of the values that are repeated: red, green, blue and alpha in turn
CURE = "export JSON from Label Studio again, or PNG masks, for `yolact convert masks`"


def decode_rle(values: Any, image_size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """Decode Label Studio's run lengths of an image in RGBA, row by row, bool [H, W]; what is not transparent is True.

    `values` are bytes. As bits they are: the number of words in 32 bits, the bits of a word - 1 in 5, and four lengths
    - 1 in 4 bits each; then blocks of a bit, two bits that choose one of the lengths, and in as many bits the number of
    words - 1. After a bit of 1 follows one word, which is repeated; after a 0 all words. DatasetError where the values
    are others, or not of `image_size`.
    """
    expected = 4 * image_size[0] * image_size[1]
    is_right = isinstance(values, list) and all(type(value) is int and 0 <= value < 256 for value in values)
    check(is_right, where, "rle", "a list of bytes", values)
    data = bytes(values)
    bits, at = np.unpackbits(np.frombuffer(data, np.uint8)), 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        if at > bits.size:
            raise DatasetError(f"'rle' of {where} ends too early; {CURE}.")
        first, last = (at - count) // 8, -(-at // 8)
        return int.from_bytes(data[first:last], "big") >> (8 * last - at) & ((1 << count) - 1)

    number, word = take(32), take(5) + 1
    if number != expected or word != WORD_BITS:
        raise DatasetError(
            f"'rle' of {where} is of {number:,} values of {word} bits, expected 4 of 8 bits for each of the image's "
            f"{image_size[1]} x {image_size[0]} pixels, {expected:,}; {CURE}."
        )
    lengths = [take(4) + 1 for _ in range(4)]
    words, filled = np.zeros(expected, np.uint8), 0
    while filled < expected:
        is_run, count = take(1), take(lengths[take(2)]) + 1
        if filled + count > expected:
            raise DatasetError(f"'rle' of {where} has more than {expected:,} values; {CURE}.")
        if is_run:
            words[filled : filled + count] = take(word)
        else:
            start = at
            take(count * word)
            words[filled : filled + count] = np.packbits(bits[start:at])
        filled += count
    return words.reshape(*image_size, 4)[..., 3] > 0
