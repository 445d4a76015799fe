"""Noise on what the network is given, so that it learns to pull back what its own errors will do in rollouts."""

from dataclasses import replace

import torch

from surroscope.training.strategy import Forward, Strategy, Window, require


def build(sigma: float = 3e-3) -> Strategy:
    """C(f(s + σ |s| ξ), s'): |s| the root mean square of each channel over its cells, ξ white.

    sigma: σ; Hao et al. 2024 (DPOT) take 5e-4
    """
    require(sigma >= 0, f"sigma is {sigma!r}", "a number, 0 or more")

    def loss(forward: Forward, window: Window) -> torch.Tensor:
        snapshots = window.snapshots.clone()
        states = snapshots[:, : window.history, : window.state(0).shape[1]]
        scale = states.square().mean((-2, -1), keepdim=True).sqrt()
        states += sigma * scale * torch.randn_like(states)
        return window.error(forward(replace(window, snapshots=snapshots).given()))

    return Strategy(loss)
