"""Misfits of what a flow is known by and does not conserve: its kinetic energy, its enstrophy."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from surroscope.cost_function import EPSILON, Observable
from surroscope.observables.moments import mean
from surroscope.observables.spectral import squared, wave_numbers
from surroscope.system import System

Quantity = Callable[[Tensor], Tensor]


def kinetic_energy_misfit(system: System, *, channels: list[str]) -> Observable:
    """Of the velocity, or of momentum density and density, in the channels that are named."""
    return misfit(kinetic_energy(*map(system.channels.index, channels)))


def enstrophy_misfit(system: System, *, channels: list[str]) -> Observable:
    """Of the velocity in the channels that are named."""
    return misfit(enstrophy(*map(system.channels.index, channels)))


def misfit(quantity: Quantity) -> Observable:
    """(E[ŷ] - E[y])² / (E[y] + 1e-6) of a quantity E >= 0 that is not conserved: the target says what it becomes."""

    def residual(prediction: Tensor, target: Tensor, state: Tensor) -> Tensor:
        expected = quantity(target)
        return (quantity(prediction) - expected).square() / (expected + EPSILON)

    return residual


def kinetic_energy(x: int, y: int, density: int | None = None) -> Quantity:
    """⟨|u|²⟩ / 2 of a velocity, ⟨|m|² / ρ⟩ / 2 of a momentum density: (B, F, Y, X) to (B,).

    Without bound where a predicted density passes through zero, which no physical state does.
    """

    def quantity(states: Tensor) -> Tensor:
        square = states[..., x, :, :].square() + states[..., y, :, :].square()
        return mean(square if density is None else square / states[..., density, :, :]) / 2

    return quantity


def enstrophy(x: int, y: int) -> Quantity:
    """⟨ω²⟩ / 2 of the vorticity ω = ∂v/∂x - ∂u/∂y on the periodic unit square: (B, F, Y, X) to (B,).

    Derivatives are spectral, exact for every wave that the grid resolves: central differences would damp the short
    waves, which carry most of the enstrophy and are what a surrogate gets wrong first. At the Nyquist wave number,
    where a real field has no derivative on the grid, it is 0. By Parseval no inverse transform is needed.
    """

    def quantity(states: Tensor) -> Tensor:
        ky, kx = (k * (2 * k.abs() < k.numel()) for k in wave_numbers(states))
        u, v = (torch.fft.fft2(states[..., component, :, :], norm="forward") for component in (x, y))
        curl = kx.to(states) * v - ky.to(states) * u
        return 2 * math.pi**2 * squared(curl).sum((-2, -1))

    return quantity
