"""The network's own predictions as input, without a gradient through them (Brandstetter et al. 2022)."""

import torch

from surroscope.models import context
from surroscope.training.strategy import Forward, Strategy, Window, require_share


def build(share: float = 0.5) -> Strategy:
    """C(f(f(s_t) as a constant), s_t+2) for a share of the batches, drawn at random; one step for the others."""
    require_share(share=share)

    def loss(forward: Forward, window: Window) -> torch.Tensor:
        given = window.given()
        if float(torch.rand(())) >= share:
            # From either transition of the window, so that those at the end of a trajectory count too.
            start = torch.randint(2, (len(given),), device=given.device)
            return window.error(forward(window.given(start)), start + 1)
        with torch.no_grad():
            later = context.advance(window.network, given, forward(given))
        return window.error(forward(later), 2)

    return Strategy(loss, following=2)
