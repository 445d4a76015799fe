"""Does the network commute with the symmetries of its equations? Forward passes alone (arXiv 2601.20172)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from surroscope.cost_function import smse
from surroscope.models import context
from surroscope.symmetry import Action
from surroscope.system import System

BATCH = 64


@torch.no_grad()
def errors(
    network: nn.Module,
    snapshots: Tensor,
    targets: Tensor,
    actions: Sequence[Action],
    system: System,
    progress: Callable[[int], None] = lambda done: None,
    told: Tensor | None = None,
) -> Tensor:
    """SMSE of the prediction from g s for the target g s', of every action g: (A, N) float64.

    snapshots: (N, T, C, Y, X); targets: (N, F, Y, X); told: indices of class and time (N, 2), for a network that asks
    for labels.
    Divided by the identity's error this is how many times worse the network is at the
    image. A prediction that left the floating-point numbers has error infinity.
    """
    found = []
    for action in actions:
        moved = [
            (context.of(network, action(snapshots[part], system), None if told is None else told[part]), part)
            for part in torch.arange(len(snapshots)).split(BATCH)
        ]
        errors = [smse(network(c), action(targets[part], system), context.state(network, c)) for c, part in moved]
        error = torch.cat(errors).double().cpu()
        found.append(torch.where(torch.isfinite(error), error, torch.inf))
        progress(1)
    return torch.stack(found)
