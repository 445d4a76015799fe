"""What the surrogates share: circular convolution, normalisation, self-attention.

Everything here is built from operations that have a reverse, a forward-mode and a batched derivative in torch.func,
because influence needs per-sample gradients and Jacobian-vector products of the whole network.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def require(holds: bool, option: str, found: object, expected: str, remedy: str) -> None:
    """Raise ValueError naming the option, what was found, what was expected and what to do, unless `holds`."""
    if not holds:
        raise ValueError(f"{option}: found {found}, expected {expected}; {remedy}")


def require_positive(**options: object) -> None:
    """Raise ValueError for the first option that is not an integer of at least 1."""
    for option, found in options.items():
        counts = isinstance(found, int) and not isinstance(found, bool) and found >= 1
        require(counts, option, repr(found), "an integer of at least 1", f"set {option} to a positive whole number")


def circular_pad(x: Tensor, before: int, after: int) -> Tensor:
    """Extend both axes of the periodic grid: (..., Y, X) -> (..., before + Y + after, before + X + after).

    Written with torch.cat, since torch.func.linearize gives NaN through F.pad(mode="circular").
    """
    for axis in (-1, -2):
        size = x.shape[axis]
        # Narrowing to nothing would still copy the whole array in cat.
        wrapped = [x.narrow(axis, size - before, before)] if before else []
        wrapped.append(x)
        if after:
            wrapped.append(x.narrow(axis, 0, after))
        x = torch.cat(wrapped, axis) if len(wrapped) > 1 else x
    return x


class CircularConv(nn.Module):
    """Convolution on the periodic grid, (B, I, Y, X) -> (B, O, Y / stride, X / stride).

    padding: pixels wrapped (before, after) each axis; `None` centres an odd kernel.
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
    ) -> None:
        super().__init__()
        self.stride = stride
        self.padding = (kernel // 2, kernel // 2) if padding is None else padding
        deviation = gain / math.sqrt(inputs * kernel * kernel)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel) * deviation)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(circular_pad(x, *self.padding), self.weight, self.bias, self.stride)


class Linear(nn.Module):
    """Affine map of the last axis, (..., I) -> (..., O), with the initialisation of `CircularConv`."""

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
