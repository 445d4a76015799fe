"""Cell-updates a second of the embedded solvers, side by side with Clawpack's classic Euler solver.

    python benchmarks/solvers.py              (or `make bench-solvers`, which also installs Clawpack where it can)

Calibrated CE-RP and NS-Sines initial conditions on 128 x 128 cells, 21 frames of t = 0 .. 1, one thread; solvers take
turns and the least processor time counts. A cell-update is one whole time step of one cell. What a step is:

- ours, Euler: MUSCL and HLLC, unsplit, SSP-RK2, so two evaluations of both fluxes; CFL 0.45; trajectories in the
  workflow's batches of 65,536 cells
- Clawpack: one sweep an axis of second-order wave propagation (Godunov splitting) with the limiter MC, Riemann solver
  HLLE or that of Roe with an entropy fix; CFL 0.9 desired, 1.0 at most, a step above is done again; float64, one
  trajectory at a time
- ours, Navier-Stokes: third-order Runge-Kutta, three evaluations of four Fourier transforms; CFL 0.5

Clawpack fails a trajectory where density or pressure is not positive and finite at a frame; its numbers are of those
that it finished. Where there is a GPU, ours runs on it with all trajectories at once, by wall time.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from surroscope import device
from surroscope.physics import euler, navier_stokes
from surroscope.physics.clock import Clock, Solution
from surroscope.physics.initial_conditions import sample
from surroscope.physics.simulate import BATCH_CELLS
from surroscope.runtime import environment

SIZE, TRAJECTORIES, SEED, TURNS = 128, 16, 10, 3
TIMES = np.linspace(0.0, 1.0, 21)
ROOT = Path(__file__).resolve().parents[1]
CLAWPACK = ROOT / ".venv-clawpack"
INSTALLED = CLAWPACK / "ready"
EQUATIONS: dict[str, Callable[..., Solution]] = {"CE-RP": euler.solve, "NS-Sines": navier_stokes.solve}
HEADS = "| solver | million cell-updates / s | steps a trajectory | s a trajectory | time / ours | failed, seen at |\n"
HEADS += "|---|--:|--:|--:|--:|---|"


@dataclass(frozen=True)
class Run:
    """Seconds and steps of `finished` trajectories, and the frames at which the others were found to have failed."""

    seconds: float
    steps: int
    finished: int
    failed: tuple[float, ...] = ()

    def row(self, name: str, own: float) -> str:
        times = ", ".join(f"{time:.2f}" for time in self.failed)
        failures = f"{len(self.failed)} of {self.finished + len(self.failed)}" + (f": {times}" if times else "")
        if not self.finished:
            return f"| {name} | | | | | {failures} |"
        each, steps = self.seconds / self.finished, self.steps / self.finished
        rate = steps * SIZE**2 / each / 1e6
        return f"| {name} | {rate:.1f} | {steps:.0f} | {each:.3f} | {each / own:.2f} | {failures} |"


def ours(name: str, initial: Tensor, batch: int, clock: Callable[[], float]) -> Run:
    """Solve from (B, C, Y, X) in batches."""
    steps = 0
    own = Clock.step

    def counted(self: Clock, limit: np.ndarray) -> np.ndarray:
        nonlocal steps
        steps += len(limit)
        return own(self, limit)

    with mock.patch.object(Clock, "step", counted):
        start = clock()
        for part in initial.split(batch):
            EQUATIONS[name](part, TIMES.tolist())
        return Run(clock() - start, steps, len(initial))


def clawpack(case: Path, riemann: str) -> Run:
    """In its own process and folder: PyClaw writes a log where it is started."""
    command = [str(CLAWPACK / "bin" / "python"), str(ROOT / "benchmarks" / "clawpack_euler.py"), str(case), riemann]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=case.parent)
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    good = [run for run in runs if run["failed"] is None]
    failed = tuple(run["failed"] for run in runs if run["failed"] is not None)
    return Run(sum(run["seconds"] for run in good), sum(run["steps"] for run in good), len(good), failed)


def on_gpu() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def solvers(name: str, folder: Path) -> dict[str, Callable[[], Run]]:
    """What is compared for one class; ours, as the workflow uses it, first."""
    initial = np.stack([sample(name, "calibrated", SEED, index, SIZE) for index in range(TRAJECTORIES)])
    states, batch = torch.from_numpy(initial), BATCH_CELLS // SIZE**2
    found: dict[str, Callable[[], Run]] = {
        "ours, float32": lambda: ours(name, states.float(), batch, time.process_time),
        "ours, float64": lambda: ours(name, states, batch, time.process_time),
    }
    if name.startswith("CE") and INSTALLED.exists():
        case = folder / "case.npz"
        np.savez(case, initial=initial, times=TIMES)
        for riemann in ("Roe", "HLLE"):
            found[f"Clawpack, {riemann}, float64"] = partial(clawpack, case, riemann.lower())
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_name()
        found[f"ours, float32, {gpu}"] = lambda: ours(name, states.float().cuda(), TRAJECTORIES, on_gpu)
    return found


def main() -> None:
    device.pick()
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread")
    if not INSTALLED.exists():
        print(f"Clawpack is not installed ({INSTALLED} is missing; pip compiles it with gfortran): ours alone")
    with tempfile.TemporaryDirectory() as folder:
        for name in EQUATIONS:
            compared = solvers(name, Path(folder))
            turns = [{label: solve() for label, solve in compared.items()} for _ in range(TURNS)]
            least = {label: min((turn[label] for turn in turns), key=lambda run: run.seconds) for label in compared}
            own = next(iter(least.values()))
            print(f"\n{name}, {TRAJECTORIES} trajectories\n\n{HEADS}")
            for label, run in least.items():
                print(run.row(label, own.seconds / own.finished), flush=True)


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in environment.FIXED.items()):
        # The allocator and the thread pools read their settings when the process starts.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | environment.FIXED)
    main()
