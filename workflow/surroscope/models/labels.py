"""Labels of samples as inputs of a network: the index of the class and the index of the time.

A network whose `forward` has a second parameter `labels` is told them, (N, 2), class first, as numbers of the states'
dtype. Everything else goes on handling one tensor a sample: such a network is wrapped so that it takes its labels as
two constant planes behind the F channels of the state, (N, F + 2, Y, X). It predicts F channels like any other.
"""

import inspect

import torch
from torch import Tensor, nn

PLANES = 2


class Labelled(nn.Module):
    """A network that takes labels, as a function of one tensor: (N, F + 2, Y, X) to (N, F, Y, X)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(inputs[:, :-PLANES], inputs[:, -PLANES:, 0, 0])


def accepting(network: nn.Module) -> nn.Module:
    """The network itself, or wrapped if it asks for labels; further on they are targets, as for transformers."""
    second = [*inspect.signature(network.forward).parameters][1:2]
    return Labelled(network) if second == ["labels"] else network


def inputs(network: nn.Module, states: Tensor, labels: Tensor | None) -> Tensor:
    """What a network is given: states (N, F, Y, X), with their labels (N, 2) behind them if it asks for labels.

    Raises ValueError for a network that asks for labels where there are none.
    """
    if not isinstance(network, Labelled):
        return states
    if labels is None:
        raise ValueError(f"{type(network.network).__name__} asks for labels, found none; give each state its own")
    planes = labels.to(states)[:, :, None, None].expand(-1, -1, *states.shape[-2:])
    return torch.cat([states, planes], dim=1)


def fields(network: nn.Module, inputs: Tensor) -> Tensor:
    """The states (N, F, Y, X) in what a network is given."""
    return inputs[:, :-PLANES] if isinstance(network, Labelled) else inputs
