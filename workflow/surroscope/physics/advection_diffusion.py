"""Advection-diffusion on the periodic unit square, u_t + a · ∇u = ν ∇²u, solved exactly.

Each Fourier mode exp(2πi k · x) is multiplied by exp(-(2πi k · a + ν |2πk|²) t). The step is linear, the same at every
time, and commutes with shifts: what a network can learn of it in one place, class or time holds in all. A kernel of a
few cells nearly represents it, and not exactly.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from surroscope.physics.clock import Solution, unchanged

VELOCITY = (1.7, 0.9)
DIFFUSIVITY = 5e-4


def solve(
    initial: Tensor,
    times: Sequence[float],
    *,
    record: Callable[[Tensor], Tensor] = unchanged,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Solution:
    """u (B, 1, N, N) at the output times, which start at 0, by its Fourier series on this grid.

    On an even grid the wave of the Nyquist frequency has no direction to move in: the series should not hold it.
    """
    size = initial.shape[-1]
    kx = 2 * math.pi * torch.fft.rfftfreq(size, 1 / size, dtype=torch.float64)
    ky = 2 * math.pi * torch.fft.fftfreq(size, 1 / size, dtype=torch.float64)[:, None]
    rate = 1j * (kx * VELOCITY[0] + ky * VELOCITY[1]) + DIFFUSIVITY * (kx**2 + ky**2)
    spectrum = torch.fft.rfft2(initial.double())
    frames = []
    for number, time in enumerate(times, 1):
        state = torch.fft.irfft2(spectrum * torch.exp(-rate * time), s=initial.shape[-2:]) if time else initial
        frames.append(record(state.to(initial.dtype)))
        progress(number / len(times))
    return Solution(torch.stack(frames, dim=1), torch.zeros(len(initial), dtype=torch.int64))
