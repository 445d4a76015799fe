"""Pairs of snapshots further apart, for networks that are told their lead time."""

import torch

from surroscope.errors import UserError
from surroscope.training.strategy import Forward, Strategy, Window, require, require_counts


def build(steps: tuple[int, ...] = (1, 2, 4)) -> Strategy:
    """C(f(s_t, k), s_t+k) with k drawn from `steps`, and t from the window, for each sample.

    Raises UserError for a network that is not told k (`call.lead`).
    """
    require(len(steps) > 0, "steps is empty", "numbers of snapshots")
    require_counts(**{f"steps[{n}]": step for n, step in enumerate(steps)})
    longest = max(steps)

    def loss(forward: Forward, window: Window) -> torch.Tensor:
        if not getattr(window.network, "leads", False):
            raise UserError(
                "training.strategy: strides are for networks that are told how far to predict; give the model "
                "call.lead, as docs/surrogates.md says"
            )
        place, count = window.snapshots.device, len(window.snapshots)
        lead = torch.tensor(steps, device=place)[torch.randint(len(steps), (count,), device=place)]
        # So that transitions at the end of a trajectory are trained on too.
        start = (torch.rand(count, device=place) * (longest - lead + 1)).long()
        return window.error(forward(window.given(start, lead)), start + lead)

    return Strategy(loss, following=longest)
