"""What a network is given of a sample, as one tensor: its last snapshots, and what else it is told of it.

A context is (N, T C + p, Y, X): T snapshots of C channels, the oldest first, and p constant planes behind them, of
numbers that the network asks for: the index of the sample's class and of its time, and its lead time in snapshots. Of
the C channels a network predicts the first F; the others are constant, as a coefficient of the equations. Everything
but the network takes contexts as they are, whose state (N, F, Y, X) is the last snapshot.
"""

from typing import Any

import torch
from torch import Tensor, nn

LABELS = 2


class Contextual(nn.Module):
    """A network that says what its contexts hold; any other takes states, (N, F, Y, X) to the same.

    history: T; constants: C - F; labelled: whether it is told class and time; leads: whether it is told its lead time
    """

    def __init__(self, *, history: int = 1, constants: int = 0, labelled: bool = False, leads: bool = False) -> None:
        super().__init__()
        self.history, self.constants, self.labelled, self.leads = history, constants, labelled, leads

    @property
    def planes(self) -> int:
        return LABELS * self.labelled + self.leads

    def snapshots(self, contexts: Tensor) -> Tensor:
        """(N, T C + p, Y, X) to (N, T, C, Y, X)."""
        end = contexts.shape[1] - self.planes
        return contexts[:, :end].unflatten(1, (self.history, -1))


def of(network: nn.Module, snapshots: Tensor, labels: Tensor | None = None, lead: Any = 1) -> Tensor:
    """Contexts of snapshots (N, T, C, Y, X), with their labels (N, 2) and lead times, if the network asks for them.

    Raises ValueError for a network that asks for labels where there are none.
    """
    contexts = snapshots.flatten(1, 2)
    told: list[Tensor] = []
    if getattr(network, "labelled", False):
        if labels is None:
            raise ValueError("the network asks for labels, found none; give each state its own")
        told.append(labels.to(contexts))
    if getattr(network, "leads", False):
        told.append(torch.as_tensor(lead).to(contexts).expand(len(contexts))[:, None])
    planes = [values[:, :, None, None].expand(-1, -1, *contexts.shape[-2:]) for values in told]
    return torch.cat([contexts, *planes], dim=1) if planes else contexts


def state(network: nn.Module, contexts: Tensor) -> Tensor:
    """The states (N, F, Y, X) in contexts."""
    if not isinstance(network, Contextual):
        return contexts
    last = network.snapshots(contexts)[:, -1]
    return last[:, : last.shape[1] - network.constants]


def advance(network: nn.Module, contexts: Tensor, prediction: Tensor) -> Tensor:
    """The contexts of the next step, whose state is the prediction (N, F, Y, X)."""
    if not isinstance(network, Contextual):
        return prediction
    snapshots = network.snapshots(contexts)
    constant = snapshots[:, -1, prediction.shape[1] :]
    planes = contexts[:, contexts.shape[1] - network.planes :]
    if network.labelled:  # class, and time, which goes on
        planes = planes + planes.new_tensor([0.0, 1.0, 0.0][: network.planes])[:, None, None]
    return torch.cat([snapshots[:, 1:].flatten(1, 2), prediction, constant, planes], dim=1)
