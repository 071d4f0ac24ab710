"""3 x 3 convolutions with fewer multiplications, for inference on a CPU.

Winograd's minimal filtering F(4 x 4, 3 x 3) (Lavin and Gray 2016, arXiv 1509.09308): tiles of 6 x 6 pixels that overlap
by two become 36 sums of pixels, each of these is multiplied with a matrix over the channels, and from the 36 products
come 4 x 4 pixels of the output. That is a quarter of what a plain convolution multiplies.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeGuard

import torch
from torch import Tensor, nn

OUT, IN = 4, 6  # pixels on the side of a tile of the output and of the input
LEAST_CHANNELS = 96  # below, the sums cost more than the products that they save
MOST_CHANNELS = 256  # above, filters take much memory, and the maps are so small that little is gained
LEAST_PIXELS = 200  # below, it takes as long to read the matrices of the filter as to convolve
LEAST_PRODUCTS = 15_000_000  # pixels x channels x outputs; below, starting the sums costs more than all is worth
STRIP = 3_000_000  # numbers in the sums that are made at once: few enough for the cache

FILTER = torch.tensor(  # G of the paper: from the three rows of a filter to six
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    dtype=torch.float64,
)


class WinogradConv2d(nn.Module):
    """A convolution of 3 x 3 with stride 1 and padding 1, in float32 and without gradient.

    Rounding errors are about five times those of the convolution that it is made from, 1e-5 of the largest result.
    Small maps go through that convolution.
    """

    filters: Tensor  # [36, in_channels, out_channels]

    def __init__(self, conv: nn.Conv2d, scratch: list[Tensor]) -> None:
        """Compute what `conv` does; `scratch` is memory that the convolutions of a network share."""
        super().__init__()
        self.conv, self._scratch = conv, scratch
        filters = torch.einsum("ai,kcij,bj->abck", FILTER, conv.weight.double(), FILTER)
        self.register_buffer("filters", filters.flatten(0, 1).float().contiguous(), persistent=False)

    @staticmethod
    def suits(conv: nn.Module) -> TypeGuard[nn.Conv2d]:
        """Tell whether this computes what `conv` does, and faster."""
        return (
            type(conv) is nn.Conv2d
            and conv.weight.dtype == torch.float32
            and (conv.kernel_size, conv.stride, conv.padding) == ((3, 3), (1, 1), (1, 1))
            and (conv.dilation, conv.groups, conv.padding_mode) == ((1, 1), 1, "zeros")
            and min(conv.in_channels, conv.out_channels) >= LEAST_CHANNELS
            and max(conv.in_channels, conv.out_channels) <= MOST_CHANNELS
        )

    @torch.compiler.disable  # it works in memory that is not its own, which a compiler cannot follow
    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [B, C, H, W] to [B, K, H, W], in channels-last format."""
        height, width = x.shape[2:]
        channels, outputs = self.filters.shape[1:]
        if height * width < LEAST_PIXELS or height * width * channels * outputs < LEAST_PRODUCTS:
            filtered: Tensor = self.conv(x)
            return filtered
        output = x.new_empty(len(x), height, width, outputs)
        with _lent_memory(self._scratch) as memory:
            strip = _Strip(self.filters, height, width, memory)
            for image, target in zip(x.permute(0, 2, 3, 1), output, strict=True):
                for top in range(0, height, strip.height):
                    strip.convolve(image, target, top, self.conv.bias)
        return output.permute(0, 3, 1, 2)


@contextmanager
def _lent_memory(scratch: list[Tensor]) -> Iterator[Tensor]:
    """Lend the memory of an earlier convolution: to get fresh one can take longer than the convolution.

    `scratch` holds what no convolution works in now; each thread that convolves at the same time gets its own.
    """
    try:
        memory = scratch.pop()
    except IndexError:
        with torch.inference_mode(False):  # so that it can be used with and without that mode
            memory = torch.empty(0)
    try:
        yield memory
    finally:
        scratch.append(memory)


class _Strip:
    """Convolves some rows of tiles at a time."""

    def __init__(self, filters: Tensor, height: int, width: int, memory: Tensor) -> None:
        """Take room for strips of maps of `height` times `width` pixels from `memory`, which grows if it must."""
        channels, outputs = filters.shape[1:]
        num_rows, columns = -(-height // OUT), -(-width // OUT)
        num_strips = -(-len(filters) * num_rows * columns * max(channels, outputs) // STRIP)
        rows = -(-num_rows // num_strips)
        self.filters, self.height = filters, OUT * rows
        shapes: list[tuple[int, ...]] = [
            (OUT * rows + 2, OUT * columns + 2, channels),
            (IN, rows, OUT * columns + 2, channels),
            (IN, IN, rows, columns, channels),
            (IN, IN, rows, columns, outputs),
            (OUT, IN, rows, columns, outputs),
            (rows, OUT, columns, OUT, outputs),
            (4, IN * rows * (columns + 1) * max(channels, outputs)),
        ]
        sizes = [math.prod(shape) for shape in shapes]
        memory.resize_(max(len(memory), sum(sizes)))
        parts = memory[: sum(sizes)].split(sizes)
        (
            self.pixels, self.sums_of_rows, self.sums, self.products, self.rows_of_result, self.result, self.spare
        ) = (part.view(shape) for part, shape in zip(parts, shapes, strict=True))  # fmt: skip

    def convolve(self, image: Tensor, target: Tensor, top: int, bias: Tensor | None) -> None:
        """Write rows `top` to `top` + `height` - 1 of the convolved `image` [H, W, C] into `target` [H, W, K]."""
        self._fill(image, top)
        height, width, places = self.height - OUT + 1, self.pixels.shape[1] - IN + 1, range(IN)
        self._add([self.pixels[i : i + height : OUT] for i in places], list(self.sums_of_rows))
        columns = [self.sums_of_rows[:, :, i : i + width : OUT] for i in places]
        self._add(columns, [self.sums[:, i] for i in places])
        torch.bmm(self.sums.flatten(2, 3).flatten(0, 1), self.filters, out=self.products.flatten(2, 3).flatten(0, 1))
        if bias is not None:
            self.products[1, 1] += bias  # the product that every pixel of the result has in it once
        self._combine(list(self.products), list(self.rows_of_result))
        tiles = self.result.permute(1, 3, 0, 2, 4)
        self._combine([self.rows_of_result[:, i] for i in places], [tiles[:, i] for i in range(OUT)])
        result = self.result.flatten(2, 3).flatten(0, 1)
        wanted = target[top : top + self.height]
        wanted.copy_(result[: len(wanted), : wanted.shape[1]])

    def _fill(self, image: Tensor, top: int) -> None:
        """Take the rows from `top` - 1 on, with zeros around the image."""
        height, width = image.shape[:2]
        first, stop = max(top - 1, 0), min(top + self.height + 1, height)
        above, below = first - (top - 1), stop - (top - 1)
        self.pixels[above:below, 1 : width + 1] = image[first:stop]
        for outside in (self.pixels[:above], self.pixels[below:], self.pixels[:, :1], self.pixels[:, width + 1 :]):
            outside.zero_()

    def _add(self, x: list[Tensor], out: list[Tensor]) -> None:
        """Fill `out` with the six sums of six pixels each (B of the paper, transposed)."""
        a, b, *_ = self._spare_like(x[0])
        torch.sub(x[4], x[2], alpha=4, out=a)
        torch.sub(x[3], x[1], alpha=4, out=b)
        torch.add(a, b, out=out[1])
        torch.sub(a, b, out=out[2])
        torch.sub(x[4], x[2], out=a)
        torch.sub(x[3], x[1], out=b)
        torch.add(a, b, alpha=2, out=out[3])
        torch.sub(a, b, alpha=2, out=out[4])
        torch.sub(x[4], x[2], alpha=5, out=a)
        torch.add(a, x[0], alpha=4, out=out[0])
        torch.sub(x[5], x[3], alpha=5, out=a)
        torch.add(a, x[1], alpha=4, out=out[5])

    def _combine(self, x: list[Tensor], out: list[Tensor]) -> None:
        """Fill `out` with the four pixels of six products each (A of the paper, transposed)."""
        a, b, c, d = self._spare_like(x[0])
        torch.add(x[1], x[2], out=a)
        torch.sub(x[1], x[2], out=b)
        torch.add(x[3], x[4], out=c)
        torch.sub(x[3], x[4], out=d)
        torch.add(x[0], a, out=out[0]).add_(c)
        torch.add(b, d, alpha=2, out=out[1])
        torch.add(a, c, alpha=4, out=out[2])
        torch.add(b, d, alpha=8, out=out[3]).add_(x[5])

    def _spare_like(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(part[: x.numel()].view(x.shape) for part in self.spare)
