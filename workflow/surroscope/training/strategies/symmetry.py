"""Transitions moved by the symmetries of the equations: g s to g s'."""

from dataclasses import replace

import torch

from surroscope.errors import UserError
from surroscope.symmetry import D4, Action, actions
from surroscope.system import System
from surroscope.training.strategy import Forward, Strategy, Window


def build(system: System) -> Strategy:
    """C(f(g s), g s'), g drawn for each batch: a turn or mirror image, a shift by whole cells, as the system has them.

    Raises UserError for a system without symmetries.
    """
    shifts = "shifts" in system.symmetries and system.boundary == "periodic"
    if not (shifts or "turns" in system.symmetries):
        raise UserError(f"training.strategy: {system.title} has no symmetries; say them in equations.symmetries")

    def drawn(count: int) -> int:
        return int(torch.randint(count, ()))

    def loss(forward: Forward, window: Window) -> torch.Tensor:
        rows, columns = window.snapshots.shape[-2:]
        fitting = [name for name in actions((rows, columns), system) if name in D4]
        moved = Action.parse(fitting[drawn(len(fitting))])(window.snapshots, system)
        if shifts:
            moved = Action("shift", shift=(drawn(columns), drawn(rows)))(moved, system)
        window = replace(window, snapshots=moved)
        return window.error(forward(window.given()))

    return Strategy(loss)
