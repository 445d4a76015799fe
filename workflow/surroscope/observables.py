"""Differentiable per-sample scalars: what a prediction fails to conserve, and what else it gets wrong.

Each is a function of (prediction, target, state), all (B, F, Y, X), and gives (B,). The value of a sample depends on
that sample alone. A study takes them by name (`observable`) or by the import path of a factory (`load`).
"""

import importlib
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from surroscope.cost_function import EPSILON, Observable, smse
from surroscope.errors import UserError
from surroscope.system import System

Quantity = Callable[[Tensor], Tensor]


def _mean(field: Tensor) -> Tensor:
    return field.mean((-2, -1))


def _rms(field: Tensor) -> Tensor:
    return field.square().mean((-2, -1)).sqrt()


def spectral_band(system: System, *, low: float, high: float = math.inf) -> Observable:
    """The part of the SMSE at wave numbers low <= |k| < high, where |k|² = kx² + ky² in whole periods a side.

    mean over c of Σ_k |FT(ŷ_c - y_c)|² / (RMS_c(y) + 1e-6): by Parseval, bands that tile [0, ∞) sum to the SMSE.
    Raises UserError if low >= high or low < 0, if the boundary is not periodic, and when called on a grid that has no
    such wave number.
    """
    if system.boundary != "periodic":
        raise UserError(
            f"spectral_band: needs a periodic boundary, and that of {system.title} is {system.boundary}; leave it out"
        )
    if not 0 <= low < high:
        raise UserError(f"spectral_band: expected 0 <= low < high, found low {low} and high {high}; mend the options")

    def error(prediction: Tensor, target: Tensor, state: Tensor) -> Tensor:
        rows, columns = _wave_numbers(prediction)
        length = (rows**2 + columns**2).double().sqrt()
        band = (length >= low) & (length < high)
        if not band.any():
            largest = f"{length.max():.4g}"
            raise UserError(
                f"spectral_band: no wave number of the grid, up to {largest}, is in [{low}, {high}); mend it"
            )
        power = _square(torch.fft.fft2(prediction - target, norm="forward"))
        return ((power * band.to(power)).sum((-2, -1)) / (_rms(target) + EPSILON)).mean(-1)

    return error


def conservation(channel: int, scale: Quantity = _mean) -> Observable:
    """(⟨ŷ_c⟩ - ⟨x_c⟩)² / (scale(x_c) + 1e-6), ⟨·⟩ the spatial mean, which is also the scale of a positive channel.

    A channel that may change sign takes the RMS as its scale: its mean may be zero or negative.
    """

    def residual(prediction: Tensor, target: Tensor, state: Tensor) -> Tensor:
        predicted, kept = (field[..., channel, :, :] for field in (prediction, state))
        return (_mean(predicted) - _mean(kept)).square() / (scale(kept) + EPSILON)

    return residual


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
        return _mean(square if density is None else square / states[..., density, :, :]) / 2

    return quantity


def enstrophy(x: int, y: int) -> Quantity:
    """⟨ω²⟩ / 2 of the vorticity ω = ∂v/∂x - ∂u/∂y on the periodic unit square: (B, F, Y, X) to (B,).

    Derivatives are spectral, exact for every wave that the grid resolves: central differences would damp the short
    waves, which carry most of the enstrophy and are what a surrogate gets wrong first. At the Nyquist wave number,
    where a real field has no derivative on the grid, it is 0. By Parseval no inverse transform is needed.
    """

    def quantity(states: Tensor) -> Tensor:
        ky, kx = (k * (2 * k.abs() < k.numel()) for k in _wave_numbers(states))
        u, v = (torch.fft.fft2(states[..., component, :, :], norm="forward") for component in (x, y))
        curl = kx.to(states) * v - ky.to(states) * u
        return 2 * math.pi**2 * _square(curl).sum((-2, -1))

    return quantity


def _wave_numbers(fields: Tensor) -> tuple[Tensor, Tensor]:
    """Whole wave numbers along y (Y, 1) and along x (1, X), in the order of `torch.fft.fft2`, on the CPU."""
    ky, kx = ((torch.arange(size) + size // 2) % size - size // 2 for size in fields.shape[-2:])
    return ky[:, None], kx[None, :]


def _square(modes: Tensor) -> Tensor:
    return modes.real.square() + modes.imag.square()


# Every other observable that a system knows is the conservation of the one channel that it reads.
BUILTIN: dict[str, Callable[..., Observable]] = {
    "smse": lambda: smse,
    "kinetic_energy": lambda *channels: misfit(kinetic_energy(*channels)),
    "enstrophy": lambda *channels: misfit(enstrophy(*channels)),
}


def observable(name: str, system: System) -> Observable:
    """The observable that a system knows by this name. Raises UserError if it is unknown or lacks a channel."""
    channels = system.reads(name)
    if name in BUILTIN:
        return BUILTIN[name](*channels)
    (channel,) = channels
    return conservation(channel, scale=_mean if system.channels[channel] in system.positive else _rms)


def load(factory: str, options: dict[str, Any], system: System) -> Observable:
    """Call a user's ``factory(system, **options)``, given by import path ``package.module:function``.

    Raises UserError if it cannot be imported, refuses the options, fails, or gives nothing that can be called.
    """
    module, _, function = factory.partition(":")
    try:
        make = getattr(importlib.import_module(module), function)
    except Exception as error:  # a user's module may fail in any way
        raise UserError(
            f"observable {factory!r}: cannot be imported ({error}); expected package.module:function"
        ) from None
    try:
        made = make(system, **options)
    except UserError:
        raise
    except Exception as error:  # a user's factory may fail in any way
        raise UserError(f"observable {factory!r}: function(system, **{options}) fails: {error}") from None
    if not callable(made):
        raise UserError(f"observable {factory!r}: gives {made!r}; expected a function of (prediction, target, state)")
    return made


def check(observable: Observable, name: str, system: System, states: Tensor, targets: Tensor) -> None:
    """Call an observable on a few states and targets (B, F, Y, X), B >= 2, the way that influence will.

    Raises UserError, naming it, unless it gives one finite real number a sample, of shape (B,), that depends on that
    sample alone and has a finite gradient with respect to the prediction.
    """

    def failure(problem: str) -> UserError:
        return UserError(f"observable {name!r} of {system.title}: {problem}")

    # A multiple of the RMS state, another one in every cell: it has waves of all lengths, and keeps a state physical
    # (by the Cauchy-Schwarz inequality the RMS state is, and sums of physical states are).
    noise = torch.rand(targets.shape[-2:], generator=torch.Generator().manual_seed(0)).to(targets)
    predictions = (targets + 0.1 * _rms(targets)[..., None, None] * noise).requires_grad_()

    def alone(prediction: Tensor, target: Tensor, state: Tensor) -> Tensor:
        return observable(prediction[None], target[None], state[None])[0]

    try:
        values = torch.as_tensor(observable(predictions, targets, states))
    except UserError:
        raise
    except Exception as error:  # a user's observable may fail in any way
        raise failure(f"fails on states {tuple(states.shape)}: {error}") from None
    if values.shape != (len(states),) or not values.is_floating_point():
        found = f"{values.dtype} of shape {tuple(values.shape)}"
        raise failure(f"gives {found}; expected one real number a sample, shape ({len(states)},)")
    if not torch.isfinite(values).all():
        raise failure(f"gives {values.tolist()} on physical states; expected finite numbers")
    if not values.requires_grad:
        raise failure("has no gradient with respect to the prediction; compute it in torch, without detach() or item()")
    try:
        gradients, single = vmap(grad_and_value(alone))(predictions.detach(), targets, states)
    except Exception as error:
        raise failure(f"cannot be differentiated by torch.func, one sample at a time: {error}") from None
    values = values.detach()
    if not torch.allclose(values, single, rtol=1e-3, atol=1e-6 * float(values.abs().max())):
        found = f"{values.tolist()} together, {single.tolist()} alone"
        raise failure(f"depends on the other samples of a batch ({found}); reduce over channel and space only")
    if not torch.isfinite(gradients).all() or (values.any() and not gradients.any()):
        raise failure("has a gradient with respect to the prediction that is zero or not finite on physical states")


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
