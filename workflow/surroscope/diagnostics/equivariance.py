"""Does the network commute with the symmetries of its equations? Forward passes alone (arXiv 2601.20172)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from surroscope.cost_function import smse
from surroscope.symmetry import Action
from surroscope.system import System

BATCH = 64


@torch.no_grad()
def errors(
    network: nn.Module,
    states: Tensor,
    targets: Tensor,
    actions: Sequence[Action],
    system: System,
    progress: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """SMSE of the prediction from g s for the target g s', of every action g: (A, N) float64.

    states, targets: (N, F, Y, X). Divided by the identity's error this is how many times worse the network is at the
    image. A prediction that left the floating-point numbers has error infinity.
    """
    found = []
    for action in actions:
        moved = [
            (action(s, system), action(y, system))
            for s, y in zip(states.split(BATCH), targets.split(BATCH), strict=True)
        ]
        error = torch.cat([smse(network(s), y, s) for s, y in moved]).double().cpu()
        found.append(torch.where(torch.isfinite(error), error, torch.inf))
        progress(1)
    return torch.stack(found)
