"""Kernel transfer from few random draws against its exact value, which takes the whole basis of the outputs.

Two small networks as they are initialised, at two classes of random fields, smooth and rough, that move over 8 times;
10 sets of draws each. Prints a table in Markdown: exact, then mean and standard deviation of the sets.
"""

import numpy as np
import torch
from torch import Tensor, nn

from surroscope.diagnostics.coupling import relative
from surroscope.influence import coupling
from surroscope.influence.linearize import DEFAULT, Linearization
from surroscope.models import vit
from surroscope.models.controls import Trunk

CELLS, CHANNELS, TIMES = 8, 2, 8
OUTPUTS, SAMPLES = CHANNELS * CELLS**2, 2 * TIMES
NOISES, DRAWS, SETS = (1.0, 0.3, 0.1, 0.01), (12, 24), 10
LABELS = {
    "classes": np.arange(SAMPLES) // TIMES,
    "first and last times": np.arange(SAMPLES) % TIMES * coupling.WINDOWS // TIMES,
}


def field(roughness: float) -> Tensor:
    wavenumber = torch.fft.fftfreq(CELLS) * CELLS
    spectrum = torch.exp(-torch.hypot(wavenumber[:, None], wavenumber) / roughness)
    found = torch.fft.ifft2(torch.fft.fft2(torch.randn(CHANNELS, CELLS, CELLS)) * spectrum).real
    return found / found.std()


def states() -> Tensor:
    """(SAMPLES, CHANNELS, CELLS, CELLS), class by class."""
    torch.manual_seed(0)
    moving = []
    for roughness in (1.0, 3.0):
        first = field(roughness)
        moving += [
            torch.roll(first, (t, t // 2), (1, 2)) * (1 - 0.05 * t) + 0.3 * field(roughness) for t in range(TIMES)
        ]
    return torch.stack(moving)


def transfer(gram: np.ndarray, observed: np.ndarray, asked: np.ndarray, label: np.ndarray, noise: float) -> float:
    """Between the first and the last group, mean of both directions."""
    share = relative(coupling.explained(gram, observed, asked, label, noise))
    return float((share[0, -1] + share[-1, 0]) / 2)


def main() -> None:
    inputs = states()
    print("| network | noise | between | exact |" + "".join(f" {count} draws |" for count in DRAWS))
    print("|---|--:|---|--:|" + "---|" * len(DRAWS))
    for name, make in {
        "ViT": lambda: vit.build(CHANNELS, (CELLS, CELLS), patch=2, width=16, depth=2, heads=2),
        "convolutions": lambda: Trunk(CHANNELS, 16, 3, 3),
    }.items():
        torch.manual_seed(1)
        compare(name, make(), inputs)


def compare(name: str, network: nn.Module, inputs: Tensor) -> None:
    """Print the rows of one network."""
    linear, basis = Linearization(network), torch.eye(OUTPUTS).reshape(OUTPUTS, *inputs.shape[1:])
    jacobian = torch.stack([torch.cat([rows for _, rows in linear.pullbacks(x, basis, DEFAULT)]) for x in inputs])
    jacobian = jacobian.double().numpy()
    everything = np.einsum("nop,mup->nomu", jacobian, jacobian, optimize=True)
    largest = np.linalg.eigvalsh(everything.reshape(SAMPLES * OUTPUTS, -1) / SAMPLES)[-1]
    grams = {}
    for count in DRAWS:
        draws = np.random.default_rng(count).normal(size=(SETS, count, OUTPUTS))
        grams[count] = [np.einsum("ko,nomu,lu->nkml", u, everything, u, optimize=True) for u in draws]
    for noise in NOISES:
        for between, label in LABELS.items():
            # The basis, scaled so that its outer products have the mean of standard normal draws.
            whole = np.arange(OUTPUTS)
            cells = [f"{transfer(OUTPUTS * everything, whole, whole, label, noise * largest):.3f}"]
            for count in DRAWS:
                one, two = np.array_split(np.arange(count), 2)
                halves = (one, two), (two, one)
                ways = [[transfer(g, a, b, label, noise * largest) for a, b in halves] for g in grams[count]]
                found = np.mean(ways, axis=1)
                cells.append(f"{found.mean():.3f} ± {found.std(ddof=1):.3f}")
            print(f"| {name} | {noise:g} | {between} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
