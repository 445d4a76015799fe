"""Autoregressive rollouts from every start time, past the training horizon."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from surroscope.cost_function import smse
from surroscope.models import context


@torch.no_grad()
def rollout(network: nn.Module, contexts: Tensor, steps: int) -> Tensor:
    """The states that the network predicts from contexts (B, ...), see `context`, step by step: (B, steps, F, Y, X)."""
    predictions = []
    for _ in range(steps):
        predictions.append(network(contexts))
        contexts = context.advance(network, contexts, predictions[-1])
    return torch.stack(predictions, dim=1)


def drift(trajectory: Tensor, predictions: Tensor) -> Tensor:
    """|mean ŷ_k - mean s_0| / mean |s| of every channel of a rollout, means over space, the last over time also.

    trajectory: the true s_0, s_1, ... (B, S, F, Y, X); predictions: ŷ_1, ŷ_2, ... (B, steps, F, Y, X), as `rollout`
    gives them from s_0. Returns (B, steps, F) float64: 0 where nothing moved, infinite where a channel moved that is
    zero throughout, and where a prediction left the floating-point numbers.
    """
    true, later = trajectory.double(), predictions.double()
    moved = (later.mean(dim=(-2, -1)) - true[:, :1].mean(dim=(-2, -1))).abs()
    found = moved / true.abs().mean(dim=(1, -2, -1))[:, None]
    return torch.where(moved == 0, 0.0, torch.where(torch.isfinite(found), found, torch.inf))


@torch.no_grad()
def errors(
    network: nn.Module,
    trajectories: Tensor,
    progress: Callable[[int], None] = lambda done: None,
    classes: Tensor | None = None,
    *,
    history: int = 1,
    constants: int = 0,
) -> tuple[Tensor, Tensor]:
    """Per-step SMSE of rollouts and of persistence, for every start and every later snapshot.

    trajectories: (B, S, C, Y, X); classes: the index of each one's class (B,), for a network that
    asks for labels; history, constants: of `context`. Returns two (B, S-1, S) float64 tensors indexed by start and by
    snapshot, NaN where snapshot <= start, and before a network has all the snapshots that it is given. A rollout that
    left the floating-point numbers has error infinity.
    """
    count, snapshots = trajectories.shape[:2]
    states = trajectories[:, :, : trajectories.shape[2] - constants]
    shape = (count, snapshots - 1, snapshots)
    surrogate, persistence = (torch.full(shape, torch.nan, dtype=torch.float64) for _ in range(2))
    for start in range(history - 1, snapshots - 1):
        targets = states[:, start + 1 :]
        told = None if classes is None else torch.stack([classes, torch.full_like(classes, start)], dim=1)
        contexts = context.of(network, trajectories[:, start + 1 - history : start + 1], told)
        predicted = rollout(network, contexts, snapshots - 1 - start)
        kept = states[:, start : start + 1].expand_as(targets)
        for result, prediction in ((surrogate, predicted), (persistence, kept)):
            error = smse(prediction, targets, targets).double().cpu()
            result[:, start, start + 1 :] = torch.where(torch.isfinite(error), error, torch.inf)
        progress(1)
    return surrogate, persistence
