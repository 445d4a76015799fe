"""Statistics of the calibrated classes beside those of the released PDEGym data, from the embedded solvers.

    python benchmarks/class_statistics.py     (or `make bench-statistics`)

96 trajectories a class on 64 x 64 cells (NS-Sines, whose released deviation needs the resolution: 128 x 128), 21
snapshots of t = 0 .. 1; means and standard deviations are over space, time and trajectories. Another seed moves a
deviation by up to 5 %. Takes about three minutes of one core. The released numbers are of the whole data sets.
"""

import numpy as np
import torch

from surroscope import device
from surroscope.physics import euler
from surroscope.physics.simulate import simulate

TRAJECTORIES, SEED = 96, 10
RELEASED = {
    "CE-RP": {"mean ρ": 1.252, "std ρ": 0.547, "std u": 0.258, "mean p": 0.209, "std p": 0.114},
    "CE-CRP": {"mean ρ": 0.552, "std ρ": 0.323, "std u": 0.275, "mean p": 0.552, "std p": 0.170},
    "CE-RPUI": {"mean ρ": 0.544, "std ρ": 0.362, "std u": 0.211, "mean p": 0.549, "std p": 0.200},
    "NS-Sines": {"std u": 0.335, "std v": 0.335},
    "NS-Gauss": {"std u": 0.615, "std v": 0.608},
}
SIZES = {"NS-Sines": 128}


def statistics(name: str) -> dict[str, float]:
    """By the name of the statistic; the u of a compressible class is both components, which are drawn alike."""
    size = SIZES.get(name, 64)
    parts = simulate(name, preset="calibrated", seed=SEED, indices=range(TRAJECTORIES), size=size, factor=1)
    states = torch.cat([torch.from_numpy(part.states) for part in parts]).double()
    if name.startswith("NS"):
        u, v = states.numpy().std(axis=(0, 1, 3, 4))
        return {"std u": u, "std v": v}
    values = euler.primitive(states).numpy()
    found = {
        f"{kind} {symbol}": getattr(np, kind)(values[:, :, n])
        for n, symbol in ((0, "ρ"), (3, "p"))
        for kind in ("mean", "std")
    }
    return found | {"std u": values[:, :, 1:3].std()}


def main() -> None:
    device.pick()
    print("| class | statistic | released | ours | ratio |\n|---|---|--:|--:|--:|")
    for name, released in RELEASED.items():
        ours = statistics(name)
        for key, value in released.items():
            print(f"| {name} | {key} | {value:.3f} | {ours[key]:.3f} | {ours[key] / value:.3f} |", flush=True)


if __name__ == "__main__":
    main()
