"""The vision-transformer surrogate."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surroscope.models.layers import (
    PLANE,
    Attention,
    Conv,
    Grid,
    Linear,
    RMSNorm,
    grid_of,
    pixel_shuffle,
    require,
    require_positive,
)


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)) with SiLU, tokens (B, T, C) -> (B, T, C)."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm_attention = RMSNorm(width)
        self.attention = Attention(width, heads)
        self.norm_mlp = RMSNorm(width)
        self.expand = Linear(width, hidden)
        self.contract = Linear(hidden, width, gain=math.sqrt(2))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_attention(x))
        return x + self.contract(F.silu(self.expand(self.norm_mlp(x))))


class ViT(nn.Module):
    """The network of `build`, (B, F, Y, X) -> (B, F, Y, X)."""

    def __init__(
        self,
        channels: int,
        tokens: int,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: int,
        grid: Grid = PLANE,
    ) -> None:
        super().__init__()
        self.patch, self.grid = patch, grid
        # One pixel before the patch, none after: a token sees all of the patch that it predicts.
        self.embed = Conv(channels, width, patch + 1, stride=patch, padding=(1, 0), grid=grid)
        self.position = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.blocks = nn.Sequential(*[TransformerBlock(width, heads, mlp_ratio * width) for _ in range(depth)])
        self.norm = RMSNorm(width)
        self.unpatch = Linear(width, channels * math.prod(grid.along(patch)))

    def forward(self, x: Tensor) -> Tensor:
        patches = self.embed(x)
        tokens = self.norm(self.blocks(patches.flatten(-2).mT + self.position))
        pixels = self.unpatch(tokens).mT.unflatten(-1, patches.shape[-2:])
        return pixel_shuffle(pixels, self.patch, self.grid)


def build(
    channels: int,
    size: int | tuple[int, int],
    *,
    boundary: str = "periodic",
    patch: int = 4,
    width: int = 256,
    depth: int = 6,
    heads: int = 8,
    mlp_ratio: int = 4,
) -> ViT:
    """A vision transformer (Dosovitskiy et al. 2021) for a grid: (B, F, Y, X) -> (B, F, Y, X).

    The network predicts the next state itself, not its change.
    - patch embedding: convolution, kernel patch + 1, stride patch, F -> width; plus a learned position
    - `depth` blocks: RMS normalisation (Zhang & Sennrich 2019) before self-attention and before a SiLU MLP
    - RMS normalisation, linear map of each token to the F x patch x patch values of its patch
    With four channels on a 128 x 128 grid the defaults have 5.03 M parameters.

    On a line (Y = 1) a patch is `patch` cells along x. Beyond an open edge the embedding sees the nearest cell.

    Samples of a batch do not interact. Kaiming-normal initialisation (He et al. 2015) draws from torch's global
    generator: seed it first.

    channels: F, fields of a state
    size: grid points along an axis, Y = X, or (Y, X)
    boundary: "periodic" or "open"
    patch: grid points along a patch, a divisor of size
    width: channels of a token
    depth: number of blocks
    heads: of the attention, a divisor of width
    mlp_ratio: hidden channels of the MLP over width

    Raises ValueError, naming the option, for a combination that cannot be built.
    """
    grid, axes = grid_of(size, boundary)
    require_positive(channels=channels, patch=patch, width=width, depth=depth, heads=heads, mlp_ratio=mlp_ratio)
    for cells in axes:
        require(cells % patch == 0, "patch", patch, f"a divisor of size = {cells}", "change patch or size")
    require(width % heads == 0, "heads", heads, f"a divisor of width = {width}", "change heads or width")
    return ViT(channels, math.prod(cells // patch for cells in axes), patch, width, depth, heads, mlp_ratio, grid)
