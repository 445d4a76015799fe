"""Several steps in a row, with the gradient through all of them."""

import torch

from surroscope.models import context
from surroscope.training.strategy import Forward, Strategy, Window, require_counts


def build(steps: int = 2) -> Strategy:
    """Σ_k C(f^k(s_t), s_t+k) over k = 1 ... steps."""
    require_counts(steps=steps)

    def loss(forward: Forward, window: Window) -> torch.Tensor:
        given, losses = window.given(), []
        for step in range(1, steps + 1):
            prediction = forward(given)
            losses.append(window.error(prediction, step))
            given = context.advance(window.network, given, prediction)
        return torch.stack(losses).sum(0)

    return Strategy(loss, following=steps)
