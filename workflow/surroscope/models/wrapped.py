"""Networks around a network, which a factory of its own makes: told its lead time, conserving, one a group of samples.

factory: surroscope.models.wrapped:conserving
options: {factory: "surroscope.models.unet:build", options: {width: 8}}
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from surroscope.importing import imported
from surroscope.models.controls import Groups


def inner(factory: str, options: dict[str, Any], **known: Any) -> nn.Module:
    """The network of a factory, which is told what it has parameters for and the options do not say."""
    make = imported(factory, "factory")
    wanted = inspect.signature(make).parameters
    return make(**{name: value for name, value in known.items() if name in wanted} | options)


class Told(nn.Module):
    """A network that is given its lead time as one more channel, of which it predicts the first ones."""

    def __init__(self, network: nn.Module, channels: int) -> None:
        super().__init__()
        self.network, self.channels = network, channels

    def forward(self, states: Tensor, lead: Tensor) -> Tensor:
        plane = lead[:, None, None, None].expand(-1, -1, *states.shape[-2:]).to(states)
        return self.network(torch.cat([states, plane], dim=1))[:, : self.channels]


class Conserving(nn.Module):
    """A network whose prediction has the means over space of some channels of the state that it was given."""

    def __init__(self, network: nn.Module, kept: Sequence[int], channels: int) -> None:
        super().__init__()
        self.network = network
        choice = torch.zeros(channels)
        choice[list(kept)] = 1
        self.register_buffer("kept", choice[:, None, None], persistent=False)

    def forward(self, states: Tensor) -> Tensor:
        found = self.network(states)
        return found - self.kept * (found - states).mean((-2, -1), keepdim=True)


class Experts(nn.Module):
    """A network for each group of samples, of which the others' outputs count as 0: it memorises by construction.

    Each sample goes through all of them, so that what the others do is exactly 0 in gradients and tangents.
    """

    def __init__(self, networks: Sequence[nn.Module], groups: Groups) -> None:
        super().__init__()
        self.networks, self.groups = nn.ModuleList(networks), groups

    def forward(self, states: Tensor, labels: Tensor) -> Tensor:
        found = torch.stack([network(states) for network in self.networks], dim=1)
        return (found * self.groups(labels)[..., None, None, None]).sum(1)


def told(channels: int, size: Any, boundary: str, factory: str, options: dict[str, Any]) -> nn.Module:
    """A network that is told how far to predict, in snapshots; its `call` says ``lead: {lead: 1.0}``."""
    return Told(inner(factory, options, channels=channels + 1, size=size, boundary=boundary), channels)


def conserving(
    channels: int, size: Any, boundary: str, factory: str, options: dict[str, Any], kept: list[int] | None = None
) -> nn.Module:
    """A network that cannot change the means of some channels. kept: their numbers, unless given all"""
    network = inner(factory, options, channels=channels, size=size, boundary=boundary)
    return Conserving(network, range(channels) if kept is None else kept, channels)


def experts(
    channels: int,
    size: Any,
    boundary: str,
    factory: str,
    options: dict[str, Any],
    by: str = "time",
    groups: int = 2,
    window: int = 8,
) -> nn.Module:
    """A network a group: of "class" or "time" by its index, `window` consecutive ones each; it shares nothing."""
    networks = [inner(factory, options, channels=channels, size=size, boundary=boundary) for _ in range(groups)]
    return Experts(networks, Groups(by, groups, window))
