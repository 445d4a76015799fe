"""Differentiable per-sample scalars: the cost, and how far a prediction breaks a conservation law.

Each is a function of (prediction, target, state), all (B, F, Y, X), and gives (B,).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from surroscope.system import System

Observable = Callable[[Tensor, Tensor, Tensor], Tensor]
EPSILON = 1e-6


def smse(prediction: Tensor, target: Tensor, state: Tensor) -> Tensor:
    """Scaled mean squared error: mean over channel and space of (ŷ_c - y_c)² / (RMS_c(y) + 1e-6).

    RMS_c = sqrt(mean over space of y_c²) of the target. The error is squared, the scale is not
    (arXiv 2509.00024, training loss).
    """
    scale = target.square().mean((-2, -1), keepdim=True).sqrt() + EPSILON
    return ((prediction - target).square() / scale).mean((-3, -2, -1))


def conservation(channel: int) -> Observable:
    """(⟨ŷ_c⟩ - ⟨x_c⟩)² / (⟨x_c⟩ + 1e-6), ⟨·⟩ the spatial mean: mass for density, energy for energy density."""

    def residual(prediction: Tensor, target: Tensor, state: Tensor) -> Tensor:
        predicted, kept = (field[..., channel, :, :].mean((-2, -1)) for field in (prediction, state))
        return (predicted - kept).square() / (kept + EPSILON)

    return residual


CONSERVED_CHANNEL = {"mass": "density", "energy": "energy"}


def observable(name: str, system: System) -> Observable:
    """The observable called `name` for a system, as listed in ``system.observables``."""
    if name == "smse":
        return smse
    return conservation(system.channels.index(CONSERVED_CHANNEL[name]))


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
