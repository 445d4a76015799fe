"""Control networks, of which it is known what they share between classes and between times.

They are what a measure of sharing is tried on: one that cannot memorise, one that shares nothing, and a dial
between the two. All are translation-invariant convolutions on a periodic grid; those with groups are told the class
and the time of a sample (see `labels`) and choose the parameters of its group by them. What belongs to one group alone
has a gradient of exactly zero at the samples of the others.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surroscope.models.layers import pad, require, require_positive

# What groups are of -> its place among the labels.
KINDS = {"class": 0, "time": 1}


class Groups(nn.Module):
    """Which group a sample is of: its class, or a window of consecutive times; labels (N, 2) to one-hot (N, G).

    A class or a time past the last group counts to it, so that rollouts go on with the last window's parameters.
    """

    def __init__(self, by: str, groups: int, window: int) -> None:
        super().__init__()
        require(by in KINDS, "by", repr(by), " or ".join(map(repr, KINDS)), "say what the groups are of")
        require_positive(groups=groups, window=window)
        self.by, self.groups, self.window = by, groups, window

    def forward(self, labels: Tensor) -> Tensor:
        index = (labels[:, KINDS[self.by]] / self.window).floor().clamp(max=self.groups - 1)
        return (index[:, None] == torch.arange(self.groups, device=labels.device)).to(labels)


class Convolution(nn.Module):
    """A circular k x k convolution with a bias, one a group: (N, I, Y, X) to (N, O, Y, X).

    The weights of a sample are a sum over groups, of which all but its own are multiplied by 0: what another group's
    parameters do is exactly 0, in gradients and in tangents.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, groups: int = 1) -> None:
        super().__init__()
        reach = 1 / (inputs * kernel**2) ** 0.5
        self.weight = nn.Parameter(torch.empty(groups, outputs, inputs, kernel, kernel).uniform_(-reach, reach))
        self.bias = nn.Parameter(torch.zeros(groups, outputs))
        self.kernel = kernel

    def forward(self, states: Tensor, choice: Tensor | None = None) -> Tensor:
        """choice: the group of each sample, one-hot (N, G); None where there is one group"""
        x = pad(states, self.kernel // 2, self.kernel // 2)
        if choice is None:
            return F.conv2d(x, self.weight[0], self.bias[0])
        weight = (choice @ self.weight.flatten(1)).reshape(-1, *self.weight.shape[2:])
        # Each sample by its own weights: they stand beside each other as groups of channels.
        found = F.conv2d(x.flatten(0, 1)[None], weight, groups=len(states))
        return found.unflatten(1, (len(states), -1))[0] + (choice @ self.bias)[..., None, None]


class Trunk(nn.Module):
    """Convolutions with SiLU between them, one trunk a group: (N, F, Y, X) to the same shape."""

    def __init__(self, channels: int, width: int, depth: int, kernel: int, groups: int = 1) -> None:
        super().__init__()
        widths = [channels, *[width] * (depth - 1), channels]
        self.layers = nn.ModuleList(Convolution(before, after, kernel, groups) for before, after in pairwise(widths))

    def forward(self, states: Tensor, choice: Tensor | None = None) -> Tensor:
        for layer in self.layers[:-1]:
            states = F.silu(layer(states, choice))
        return self.layers[-1](states, choice)


class Dial(nn.Module):
    """The sum of a trunk that all samples share and of the trunk of a sample's group; either may be missing."""

    def __init__(self, shared: Trunk | None, private: Trunk | None, groups: Groups) -> None:
        super().__init__()
        self.shared, self.private, self.groups = shared, private, groups

    def forward(self, states: Tensor, labels: Tensor) -> Tensor:
        parts = [] if self.shared is None else [self.shared(states)]
        if self.private is not None:
            parts.append(self.private(states, self.groups(labels)))
        return torch.stack(parts).sum(0)


class Split(nn.Module):
    """One convolution a group."""

    def __init__(self, layer: Convolution, groups: Groups) -> None:
        super().__init__()
        self.layer, self.groups = layer, groups

    def forward(self, states: Tensor, labels: Tensor) -> Tensor:
        return self.layer(states, self.groups(labels))


def convolution(channels: int, size: Any, kernel: int = 5) -> nn.Module:
    """ONE circular convolution with a bias: 26 parameters for one channel and 5 x 5. It cannot memorise.

    Its share is 1 between classes and between times.
    """
    require_odd(kernel)
    return Convolution(channels, channels, kernel)


def split_convolution(
    channels: int, size: Any, by: str = "class", groups: int = 2, window: int = 1, kernel: int = 5
) -> nn.Module:
    """One such convolution a group: it shares nothing between the groups.

    by: "class" or "time"; groups: how many; window: consecutive classes or times of one group
    """
    require_odd(kernel)
    return Split(Convolution(channels, channels, kernel, groups), Groups(by, groups, window))


def dial(
    channels: int,
    size: Any,
    share: float,
    by: str = "class",
    groups: int = 3,
    window: int = 1,
    width: int = 24,
    depth: int = 3,
    kernel: int = 3,
) -> nn.Module:
    """A network of which a known share of the width is used by all samples, the rest by those of one group.

    share: 0, nothing is shared between groups: influence there is exactly zero; 1, nothing is private
    by: what groups are of, "class" or "time"; groups: how many; window: consecutive classes or times of one group
    width: of each sample's hidden layers, over both trunks, of which share * width are to be a whole number
    depth: convolutions of a trunk; kernel: cells of each along either axis, odd
    """
    require_odd(kernel)
    require_positive(width=width, depth=depth)
    shared = round(share * width)
    require(
        0 <= share <= 1 and abs(shared - share * width) < 1e-6,
        "share",
        share,
        f"a number from 0 to 1 that makes a whole number of the width, {width}",
        "choose another share or width",
    )
    chooses = Groups(by, groups, window)
    trunk = Trunk(channels, shared, depth, kernel) if shared else None
    private = Trunk(channels, width - shared, depth, kernel, groups) if shared < width else None
    return Dial(trunk, private, chooses)


def require_odd(kernel: int) -> None:
    require(kernel % 2 == 1, "kernel", kernel, "an odd number", "set kernel to 3 or 5")
