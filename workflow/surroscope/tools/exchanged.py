"""A negative control: a perfect surrogate of states whose two components were stored along each other's axes.

It is the solver itself, which commutes with every symmetry of the square. On exchanged states it does so with M A M in
place of A, M the exchange of a vector's components: for e, r2, sr and sr3 that is A itself, for r, r3, s and sr2 it is
-A, so that the images of states that anyone would make are those of the flow reversed in time.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from surroscope.diagnostics import equivariance
from surroscope.physics import navier_stokes
from surroscope.physics.simulate import simulate
from surroscope.plots import style
from surroscope.report.draw import draw
from surroscope.symmetry import D4, Action
from surroscope.system import CLASSES, NAVIER_STOKES
from surroscope.tables.rollouts import orbit

SIZE, SNAPSHOTS, TRAJECTORIES = 32, 21, 4
KINDS = {"stored along its axes": False, "components exchanged": True}


class Flow(nn.Module):
    """A step of the solver on velocities (B, 2, N, N), or on those whose components are exchanged."""

    def __init__(self, step: float, *, exchanged: bool) -> None:
        super().__init__()
        self.step, self.exchanged = step, exchanged

    def forward(self, states: Tensor) -> Tensor:
        velocity = states.flip(1) if self.exchanged else states
        moved = navier_stokes.solve(velocity, [0.0, self.step]).states[:, 1]
        return moved.flip(1) if self.exchanged else moved


def errors(ic: str, *, exchanged: bool, trajectories: int = TRAJECTORIES) -> np.ndarray:
    """SMSE of a step of the coarse solver at every image of states that a finer one made, (transitions, images)."""
    made = simulate(
        ic, preset="calibrated", seed=0, indices=range(trajectories), size=SIZE, factor=2, snapshots=SNAPSHOTS
    )
    states = torch.from_numpy(np.concatenate([part.states for part in made]))
    states = states.flip(2) if exchanged else states
    before, after = states[:, :-1].flatten(0, 1), states[:, 1:].flatten(0, 1)
    flow, images = Flow(1 / (SNAPSHOTS - 1), exchanged=exchanged), [Action.parse(name) for name in D4]
    found = equivariance.errors(flow, before[:, None], after, images, NAVIER_STOKES)
    return found.T.numpy()


def picture(file: Path) -> None:
    """The figure `equivariance` of both, over transitions of every class."""
    tables = []
    for name, exchanged in KINDS.items():
        found = np.concatenate([errors(ic, exchanged=exchanged) for ic in CLASSES["NS"]])
        table = orbit(found / found[:, :1], list(D4), np.zeros(len(found)), positive=True)
        tables.append(table.assign(model=name, n_seeds=1, n_probes=TRAJECTORIES))
    style.save(draw("equivariance", pd.concat(tables)), [file], 150)
