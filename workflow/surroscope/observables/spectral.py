"""Errors by wave number."""

import math

import torch
from torch import Tensor

from surroscope.cost_function import EPSILON, Observable
from surroscope.errors import UserError
from surroscope.observables.moments import rms
from surroscope.system import System


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
        rows, columns = wave_numbers(prediction)
        length = (rows**2 + columns**2).double().sqrt()
        band = (length >= low) & (length < high)
        if not band.any():
            largest = f"{length.max():.4g}"
            raise UserError(
                f"spectral_band: no wave number of the grid, up to {largest}, is in [{low}, {high}); mend it"
            )
        power = squared(torch.fft.fft2(prediction - target, norm="forward"))
        return ((power * band.to(power)).sum((-2, -1)) / (rms(target) + EPSILON)).mean(-1)

    return error


def wave_numbers(fields: Tensor) -> tuple[Tensor, Tensor]:
    """Whole wave numbers along y (Y, 1) and along x (1, X), in the order of `torch.fft.fft2`, on the CPU."""
    ky, kx = ((torch.arange(size) + size // 2) % size - size // 2 for size in fields.shape[-2:])
    return ky[:, None], kx[None, :]


def squared(modes: Tensor) -> Tensor:
    return modes.real.square() + modes.imag.square()
