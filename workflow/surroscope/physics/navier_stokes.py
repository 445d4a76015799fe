"""Incompressible Navier-Stokes equations on the periodic unit square, pseudo-spectral.

    ∂u/∂t + (u·∇)u + ∇p = ν∇²u + spectral viscosity,   ∇·u = 0

solved for the vorticity ω = ∂v/∂x - ∂u/∂y in the form that needs four transforms a stage (Basdevant 1983),

    ∂ω/∂t = -(∂²/∂x² - ∂²/∂y²)(uv) - ∂²/∂x∂y (v² - u²) + viscous terms.

The unknown is iω̂: then every Fourier multiplier is real, and spectra are held as real arrays (..., N, N/2 + 1, 2), on
which single element-wise operations give the same bits whatever the batch.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from surroscope.physics.clock import Clock, Solution, unchanged
from surroscope.physics.errors import SolverError


def wavenumbers(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Angular wavenumbers kx (1, N/2 + 1) and ky (N, 1) of `torch.fft.rfft2` on the unit square."""
    return 2 * np.pi * np.fft.rfftfreq(size, 1 / size)[None, :], 2 * np.pi * np.fft.fftfreq(size, 1 / size)[:, None]


def damping_rate(size: int, viscosity: float, spectral_viscosity: bool) -> np.ndarray:
    """Decay rate of every Fourier mode, (N, N/2 + 1): |k|² (ν + ε Q(k)).

    ε = 0.05 / N and Q = 1 - exp(-(|k| / k₀)¹⁸), k₀ = 2π √N: viscosity on high modes only (Tadmor 1989).
    """
    kx, ky = wavenumbers(size)
    square = kx**2 + ky**2
    rate = viscosity * square
    if spectral_viscosity:
        high = -np.expm1(-((np.sqrt(square) / (2 * np.pi * math.sqrt(size))) ** 18))
        rate = rate + 0.05 / size * high * square
    return rate


class _Spectrum:
    """Fourier multipliers on an N x N grid, and the transforms between velocity and iω̂."""

    def __init__(self, like: Tensor) -> None:
        self.size = like.shape[-1]
        kx, ky = wavenumbers(self.size)
        square = kx**2 + ky**2
        square[0, 0] = 1.0
        cutoff = 2 * np.pi * self.size / 3
        resolved = (np.abs(kx) < cutoff) & (np.abs(ky) < cutoff)

        def multiplier(*values: np.ndarray) -> Tensor:
            stack = np.stack([np.broadcast_to(value * resolved, resolved.shape) for value in values])
            return torch.from_numpy(stack.repeat(2, axis=-1).reshape(*stack.shape, 2)).to(like)

        self.to_velocity = multiplier(ky / square, -kx / square)
        self.from_velocity = multiplier(ky, -kx)
        self.tendency = multiplier(kx**2 - ky**2, kx * ky)

    def forward(self, fields: Tensor) -> Tensor:
        """Spectra (b, 2, N, N/2 + 1, 2) of two fields (b, 2, N, N)."""
        return torch.view_as_real(_each(torch.fft.rfft2, fields))

    def velocity(self, vorticity: Tensor, mean: Tensor) -> Tensor:
        """Velocity (b, 2, N, N) from iω̂ (b, N, N/2 + 1, 2) and the mean velocity (b, 2), which vorticity lacks."""
        spectra = vorticity[:, None] * self.to_velocity
        spectra[:, :, 0, 0, 0] = mean
        sides = (self.size, self.size)
        return _each(lambda each: torch.fft.irfft2(each, s=sides), torch.view_as_complex(spectra))

    def advection(self, velocity: Tensor) -> Tensor:
        """i times the spectrum of the vorticity's advection, dealiased by the 2/3 rule; (b, N, N/2 + 1, 2)."""
        u, v = velocity.unbind(1)
        products = torch.empty_like(velocity)
        torch.mul(u, v, out=products[:, 0])
        torch.sub(v * v, u * u, out=products[:, 1])
        spectra = self.forward(products).mul_(self.tendency)
        # A product with i only moves and negates parts, and is exact.
        return torch.view_as_real(torch.view_as_complex(spectra[:, 0] + spectra[:, 1]).mul_(1j))


def _each(transform: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    """Transform trajectory by trajectory on a CPU, whose FFT rounds differently with the number of transforms."""
    if batch.device.type != "cpu":
        return transform(batch)
    return torch.stack([transform(each) for each in batch.unbind(0)])


def _step(
    spectrum: _Spectrum, vorticity: Tensor, first: Tensor, mean: Tensor, step: np.ndarray, rate: Tensor | None
) -> Tensor:
    """Heun's third-order Runge-Kutta step of each trajectory, damping by an exact integrating factor.

    first: the advection of `vorticity`, its first stage. The nodes 0, 1/3, 2/3 increase, so the factor only decays.
    """
    h = torch.from_numpy(step).to(vorticity)[:, None, None, None]
    decay = torch.ones_like(h)
    if rate is not None:
        decay = torch.stack([torch.exp(rate * (-dt / 3)) for dt in step])[..., None].expand_as(vorticity).contiguous()
    half_way = (first * (h / 3)).add_(vorticity).mul_(decay)
    second = spectrum.advection(spectrum.velocity(half_way, mean))
    damped = vorticity * decay
    late = second.mul_(h * (2 / 3)).add_(damped).mul_(decay)
    third = spectrum.advection(spectrum.velocity(late, mean))
    start = (first * (h / 4)).mul_(decay).add_(damped).mul_(decay)
    return third.mul_(h * (3 / 4)).add_(start).mul_(decay)


def _check(velocity: Tensor, rows: np.ndarray, times: np.ndarray) -> np.ndarray:
    """max(|u| + |v|) of each trajectory, (b,) float64; raises SolverError where it is not finite."""
    speed = velocity.abs().sum(1).amax((-2, -1)).cpu().numpy().astype(np.float64)
    if not np.isfinite(speed).all():
        index = int(np.flatnonzero(~np.isfinite(speed))[0])
        raise SolverError(int(rows[index]), float(times[index]), "the velocity is not finite")
    return speed


def solve(
    initial: Tensor,
    times: Sequence[float],
    *,
    viscosity: float = 0.0,
    spectral_viscosity: bool = True,
    cfl: float = 0.5,
    record: Callable[[Tensor], Tensor] = unchanged,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Solution:
    """Solve from velocities (B, 2, N, N) to each of `times`, which increase from 0.

    The first frame is the initial velocity as the scheme sees it: divergence-free, without the modes that the 2/3 rule
    drops. Each trajectory takes steps cfl · Δx / max(|u| + |v|), shortened to land on the output times; stable for
    cfl < 0.82. The mean velocity is kept. Nothing falls back, so that `fallbacks` is 0.

    record: what is kept of the frames (b, 2, N, N) that landed on an output time
    progress: called with the fraction done whenever a frame is reached

    Raises SolverError, with batch row and time, where a velocity is not finite; ValueError for a wrong shape.
    """
    if initial.ndim != 4 or initial.shape[1] != 2 or initial.shape[2] != initial.shape[3]:
        raise ValueError(f"initial velocities must have shape (B, 2, N, N), found {tuple(initial.shape)}")
    batch, _, _, size = initial.shape
    clock = Clock(times, batch)
    spectrum = _Spectrum(initial)
    rates = damping_rate(size, viscosity, spectral_viscosity)
    rate = torch.from_numpy(rates).to(initial) if rates.any() else None

    _check(initial, np.arange(batch), clock.now)
    spectra = spectrum.forward(initial)
    mean = spectra[:, :, 0, 0, 0].clone()
    spectra.mul_(spectrum.from_velocity)
    vorticity = spectra[:, 0] + spectra[:, 1]
    velocity = spectrum.velocity(vorticity, mean)
    states = clock.frames(record(velocity))
    while clock.rows.size:
        rows = clock.rows
        speed = _check(velocity, rows, clock.now[rows])
        with np.errstate(divide="ignore"):
            step = clock.step(cfl / size / speed)
        vorticity = _step(spectrum, vorticity, spectrum.advection(velocity), mean, step, rate)
        velocity = spectrum.velocity(vorticity, mean)

        lands, going = clock.advance()
        if lands.any():
            index = torch.from_numpy(np.flatnonzero(lands))
            _check(velocity[index], rows[lands], clock.now[rows[lands]])
            states[rows[lands], clock.frame[rows[lands]]] = record(velocity[index])
            progress(clock.fraction)
        if not going.all():
            index = torch.from_numpy(np.flatnonzero(going))
            vorticity, velocity, mean = vorticity[index], velocity[index], mean[index]
    return Solution(states, torch.zeros(batch, dtype=torch.int64))
