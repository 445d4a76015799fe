"""How far apart two states are, in the scale of the cost function."""

import torch
from torch import Tensor

from surroscope.cost_function import EPSILON


def distance(states: Tensor) -> Tensor:
    """Feature-space distance between every two of N states (N, F, Y, X), in float64: (N, N).

    d(x₁, x₂) = mean over channel and space of (x₁ - x₂)² / (½ (RMS₁ + RMS₂) + 1e-6).
    """
    states = states.double()
    rms = states.square().mean((-2, -1)).sqrt()
    rows = []
    for state, scale in zip(states, rms, strict=True):
        squares = (states - state).square().mean((-2, -1))
        rows.append((squares / (0.5 * (rms + scale) + EPSILON)).mean(-1))
    return torch.stack(rows)
