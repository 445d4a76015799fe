"""What the surrogates share: the grid and convolution on it, normalisation, self-attention.

Everything here is built from operations that have a reverse, a forward-mode and a batched derivative in torch.func,
because influence needs per-sample gradients and Jacobian-vector products of the whole network.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BOUNDARIES = ("periodic", "open")


def require(holds: bool, option: str, found: object, expected: str, remedy: str) -> None:
    """Raise ValueError naming the option, what was found, what was expected and what to do, unless `holds`."""
    if not holds:
        raise ValueError(f"{option}: found {found}, expected {expected}; {remedy}")


def require_positive(**options: object) -> None:
    """Raise ValueError for the first option that is not an integer of at least 1."""
    for option, found in options.items():
        counts = isinstance(found, int) and not isinstance(found, bool) and found >= 1
        require(counts, option, repr(found), "an integer of at least 1", f"set {option} to a positive whole number")


@dataclass(frozen=True)
class Grid:
    """What a layer knows of its grid.

    line: the states are (F, 1, X), and what works along both axes of a plane works along x alone
    boundary: "periodic", or "open", where the nearest cell stands for those beyond the edge
    """

    line: bool = False
    boundary: str = "periodic"

    def along(self, cells: int) -> tuple[int, int]:
        """So many cells along each axis that there is: (y, x)."""
        return 1 if self.line else cells, cells


PLANE = Grid()


def grid_of(size: int | tuple[int, int], boundary: str) -> tuple[Grid, tuple[int, ...]]:
    """The grid that a factory's arguments mean, and the cells along each of its axes: (Y, X), on a line (X,).

    size: Y = X, or (Y, X), where Y = 1 is a line
    Raises ValueError, naming the argument.
    """
    require(boundary in BOUNDARIES, "boundary", repr(boundary), " or ".join(map(repr, BOUNDARIES)), "use one of them")
    if not isinstance(size, Sequence):
        require_positive(size=size)
        return Grid(False, boundary), (size, size)
    counts = len(size) == 2 and all(isinstance(cells, int) and cells >= 1 for cells in size)
    require(counts, "size", size, "a whole number of at least 1, or two of them (Y, X)", "set size to the grid's")
    line = size[0] == 1 < size[1]
    return Grid(line, boundary), tuple(size[1:] if line else size)


def pad(x: Tensor, before: int, after: int, grid: Grid = PLANE) -> Tensor:
    """Extend each axis of the grid by what lies beyond its edge: (..., X) -> (..., before + X + after), Y alike.

    Written with torch.cat, since torch.func.linearize gives NaN through F.pad(mode="circular").
    """
    for axis in (-1,) if grid.line else (-1, -2):
        size = x.shape[axis]
        if grid.boundary == "open":
            low, high = [x.narrow(axis, 0, 1)] * before, [x.narrow(axis, size - 1, 1)] * after
        else:
            # Narrowing to nothing would still copy the whole array in cat.
            low = [x.narrow(axis, size - before, before)] if before else []
            high = [x.narrow(axis, 0, after)] if after else []
        x = torch.cat([*low, x, *high], axis) if low or high else x
    return x


def pixel_shuffle(x: Tensor, factor: int, grid: Grid = PLANE) -> Tensor:
    """Channels to `factor` times the resolution: (B, f² C, Y, X) -> (B, C, f Y, f X); on a line (B, f C, 1, X)."""
    if not grid.line:
        return F.pixel_shuffle(x, factor)
    return x.unflatten(1, (-1, factor)).movedim(2, -1).flatten(-2)


class Conv(nn.Module):
    """Convolution on a grid, (B, I, Y, X) -> (B, O, Y / stride, X / stride); on a line kernel and stride are along x.

    padding: cells added (before, after) each axis; `None` centres an odd kernel.
    gain: of the Kaiming-normal initialisation (He et al. 2015): sqrt 2 behind a SiLU, 1 behind a linear map
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: tuple[int, int] | None = None,
        gain: float = 1.0,
        grid: Grid = PLANE,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.stride = grid.along(stride)
        self.padding = (kernel // 2, kernel // 2) if padding is None else padding
        shape = inputs, *grid.along(kernel)
        self.weight = nn.Parameter(torch.randn(outputs, *shape) * (gain / math.sqrt(math.prod(shape))))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(pad(x, *self.padding, self.grid), self.weight, self.bias, self.stride)


class Linear(nn.Module):
    """Affine map of the last axis, (..., I) -> (..., O), with the initialisation of `Conv`."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * (gain / math.sqrt(inputs)))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        # As one matrix, so that the products of all tangents of the weight fold into one under vmap.
        return F.linear(x.flatten(0, -2), self.weight, self.bias).unflatten(0, x.shape[:-1])


class RMSNorm(nn.Module):
    """x / sqrt(mean x² + ε) · gain over the channels of each token, (..., C) -> (..., C). Zhang & Sennrich 2019."""

    def __init__(self, channels: int, epsilon: float = 1e-6) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * (x.square().mean(-1, keepdim=True) + self.epsilon).rsqrt() * self.gain


class SpatialNorm(nn.Module):
    """x / sqrt(mean x² + ε) · gain + shift, the mean over space for each sample and channel, (B, C, Y, X) -> same.

    The spatial mean is not subtracted: it is physics (the sound speed depends on the mean density), and removing it
    before every nonlinearity would leave the network blind to it.
    """

    def __init__(self, channels: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.gain = nn.Parameter(torch.ones(channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        scale = (x.square().mean((-2, -1), keepdim=True) + self.epsilon).rsqrt() * self.gain
        return torch.addcmul(self.shift, x, scale)


class Attention(nn.Module):
    """Multi-head self-attention softmax(q kᵀ / sqrt d) v over tokens, (B, T, C) -> (B, T, C). Dosovitskiy et al. 2021.

    Written out, since scaled_dot_product_attention has no forward-mode derivative on every backend. Without biases:
    the one of the keys would drop out of the softmax and have a gradient of exactly zero.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project_in = Linear(channels, 3 * channels, bias=False)
        self.project_out = Linear(channels, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, channels = x.shape
        split = self.project_in(x).view(batch, tokens, 3, self.heads, channels // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax((query * query.shape[-1] ** -0.5) @ key.mT, dim=-1)
        return self.project_out((weights @ value).transpose(1, 2).reshape(x.shape))
