"""The UNet surrogate: BigGAN-like residual blocks on a grid."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surroscope.models.layers import (
    PLANE,
    Attention,
    Conv,
    Grid,
    SpatialNorm,
    grid_of,
    pixel_shuffle,
    require,
    require_positive,
)


class ResidualBlock(nn.Module):
    """(shortcut(x) + conv(SiLU(norm(conv(SiLU(norm(x))))))) / sqrt 2, (B, I, Y, X) -> (B, O, Y, X). Brock et al. 2019.

    The shortcut is the identity, or a 1x1 convolution where the number of channels changes.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, grid: Grid = PLANE) -> None:
        super().__init__()
        self.norm_first = SpatialNorm(inputs)
        self.conv_first = Conv(inputs, outputs, kernel, gain=math.sqrt(2), grid=grid)
        self.norm_second = SpatialNorm(outputs)
        self.conv_second = Conv(outputs, outputs, kernel, gain=math.sqrt(2), grid=grid)
        self.shortcut = nn.Identity() if inputs == outputs else Conv(inputs, outputs, 1, grid=grid)

    def forward(self, x: Tensor) -> Tensor:
        change = self.conv_first(F.silu(self.norm_first(x)))
        change = self.conv_second(F.silu(self.norm_second(change)))
        return (self.shortcut(x) + change) * math.sqrt(0.5)


class AttentionBlock(nn.Module):
    """(x + attention(norm(x))) / sqrt 2 over all grid points, (B, C, Y, X) -> (B, C, Y, X).

    No position embedding: it would break the equivariance to shifts.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm = SpatialNorm(channels)
        self.attention = Attention(channels, heads)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(-2).mT
        return (x + self.attention(tokens).mT.reshape(x.shape)) * math.sqrt(0.5)


class UNet(nn.Module):
    """The network of `build`, (B, F, Y, X) -> (B, F, Y, X)."""

    def __init__(
        self,
        channels: int,
        width: int,
        stages: int,
        kernels: Sequence[int],
        heads: int,
        blocks: int,
        grid: Grid = PLANE,
    ) -> None:
        super().__init__()
        self.grid = grid
        widths = [width * 2**depth for depth in range(stages + 1)]
        by_depth = [*kernels[1 : stages + 1], kernels[-1]]

        def level(inputs: int, depth: int, count: int) -> nn.Sequential:
            sources = [inputs, *[widths[depth]] * (count - 1)]
            return nn.Sequential(*[ResidualBlock(source, widths[depth], by_depth[depth], grid) for source in sources])

        self.embed = Conv(channels, width, kernels[0], grid=grid)
        self.down = nn.ModuleList(level(widths[max(depth - 1, 0)], depth, blocks) for depth in range(stages + 1))
        self.attention = AttentionBlock(widths[-1], heads)
        self.bottom = level(widths[-1], stages, 1)
        # The shuffle turns the 2w channels of the level below into w / 2, on a line w, at twice the resolution; the
        # skip brings w.
        joined = [own + below // math.prod(grid.along(2)) for own, below in pairwise(widths)]
        self.up = nn.ModuleList(level(joined[depth], depth, blocks) for depth in reversed(range(stages)))
        self.head = Conv(width, channels, kernels[0], grid=grid)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        skips: list[Tensor] = []
        for depth, level in enumerate(self.down):
            x = level(F.avg_pool2d(x, self.grid.along(2)) if depth else x)
            skips.append(x)
        x = self.bottom(self.attention(skips.pop()))
        for level in self.up:
            x = level(torch.cat([pixel_shuffle(x, 2, self.grid), skips.pop()], 1))
        return self.head(x)


def build(
    channels: int,
    size: int | tuple[int, int],
    *,
    boundary: str = "periodic",
    width: int = 24,
    stages: int = 4,
    kernels: Sequence[int] = (11, 9, 7, 5, 3),
    heads: int = 4,
    blocks: int = 2,
) -> UNet:
    """A UNet (Ronneberger et al. 2015) of BigGAN-like blocks (Brock et al. 2019): (B, F, Y, X) -> (B, F, Y, X).

    The network predicts the next state itself, not its change. Depth d = 0 .. stages works on a grid of size / 2^d
    with w_d = width 2^d channels and kernel k_d = kernels[d + 1]; the bottom, d = stages, takes the last kernel.
    - embedding: convolution with kernels[0], F -> w_0
    - down, each d: 2x2 average pooling (d > 0), then `blocks` residual blocks; the first maps w_{d-1} -> w_d
    - bottom: self-attention over all grid points, one more residual block
    - up, d = stages - 1 .. 0: pixel shuffle w_{d+1} -> w_d / 2, joined with the skip w_d, then `blocks` residual
      blocks; the first maps 3/2 w_d -> w_d
    - head: convolution with kernels[0], w_0 -> F, of the residual stream itself: a normalisation here would hide the
      amplitude of the state from the prediction
    With four channels on a 128 x 128 grid the defaults have 13.9 M parameters.

    On a line (Y = 1) kernels, pooling and shuffle act along x alone, and the shuffle gives w_{d+1} / 2 = w_d channels.
    Beyond an open edge convolutions see the nearest cell. On a periodic grid a shift of the input by a multiple of
    2^stages pixels shifts the output alike, exactly.

    Samples of a batch do not interact. Kaiming-normal initialisation (He et al. 2015) draws from torch's global
    generator: seed it first.

    channels: F, fields of a state
    size: grid points along an axis, Y = X, or (Y, X)
    boundary: "periodic" or "open"
    width: channels after the embedding, even on a plane
    stages: number of down-samplings, each by 2
    kernels: odd widths of the convolutions: embedding and head, then one a depth from the finest; the last one also
        serves the bottom, so at least stages + 1 of them
    heads: of the attention; divides width 2^stages
    blocks: residual blocks at a depth, on the way down and on the way up

    Raises ValueError, naming the option, for a combination that cannot be built.
    """
    grid, axes = grid_of(size, boundary)
    require_positive(channels=channels, width=width, stages=stages, heads=heads, blocks=blocks)
    stride, bottom = 2**stages, width * 2**stages
    for cells in axes:
        fits = cells % stride == 0
        require(fits, "size", cells, f"a multiple of 2**stages = {stride}", "change size or lower stages")
    even = grid.line or width % 2 == 0
    require(even, "width", width, "an even number", "the pixel shuffle halves it: use the next even width")
    require(bottom % heads == 0, "heads", heads, f"a divisor of width * 2**stages = {bottom}", "change heads or width")
    require(
        len(kernels) > stages,
        "kernels",
        f"{len(kernels)} of them, {tuple(kernels)}",
        f"at least stages + 1 = {stages + 1}: embedding and head, then one a depth",
        "add kernels or lower stages",
    )
    depths = [0, *range(stages + 1)]
    for kernel, depth in zip([*kernels[: stages + 1], kernels[-1]], depths, strict=True):
        left = [cells // 2**depth for cells in axes]
        odd = isinstance(kernel, int) and kernel >= 1 and kernel % 2 == 1
        require(odd, "kernels", f"{kernel} in {tuple(kernels)}", "odd positive integers", "use an odd kernel")
        require(
            kernel <= min(left),
            "kernels",
            f"{kernel} at a depth of {' x '.join(map(str, left))} grid points",
            f"at most {min(left)}, so that the kernel fits on the grid",
            "use a smaller kernel, fewer stages or a larger size",
        )
    return UNet(channels, width, stages, kernels, heads, blocks, grid)
