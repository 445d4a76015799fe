"""Training without some transitions, so that nothing changes for the others: when they are seen, what they count.

What influence estimates is the loss of the terms of some transitions in the cost. Batches filled up with others would
show these more often, and mix what they gain by that into what the missing ones had given.
"""

from dataclasses import replace

import torch
from torch import Tensor

from surroscope.errors import UserError
from surroscope.training.strategy import Forward, Strategy, Window, in_order
from surroscope.training.windows import Without


def masked(strategy: Strategy, left_out: Without, *, draws: bool = True) -> Strategy:
    """The strategy, where the loss of a window that holds a transition of `left_out` is 0.

    Batches are those of all windows; the gradient of each is the sum over the others, over the number of all. One
    without any others is a step by a gradient of 0.

    draws: whether the strategy or the network draws at random; if so they are called with all windows, so that what is
        drawn for the others is the same, if not with the others alone, which takes less time

    Raises UserError for a strategy that makes batches of its own: what is left out could change these.
    """
    if strategy.batches is not in_order:
        raise UserError(
            "retraining: the training.strategy chooses the windows of a batch itself, which may depend on those that "
            "are left out; leave the model out of retraining.models"
        )

    def loss(forward: Forward, window: Window) -> Tensor:
        kept = torch.ones(len(window.labels), dtype=torch.bool, device=window.labels.device)
        for ic, first, last in left_out:
            time = window.labels[:, 1]
            kept &= (window.labels[:, 0] != ic) | (time + strategy.following - 1 < first) | (time > last)
        if draws or not kept.any():
            found = strategy.loss(forward, window)
            return torch.where(kept, found, torch.zeros_like(found))
        found = strategy.loss(forward, Window(window.network, window.snapshots[kept], window.labels[kept]))
        return torch.zeros(len(kept), dtype=found.dtype, device=found.device).masked_scatter(kept, found)

    return replace(strategy, loss=loss)
