"""Symmetries of the equations on the periodic square: quarter turns, the mirror image, and shifts by whole cells.

    (g s)(p) = A s(A⁻¹ (p - d)),   A = Sᵐ Rⁿ,   R = (0 -1; 1 0),   S = (-1 0; 0 1)

A acts on the vectors among the channels, and not on the scalars. R turns counter-clockwise in the (x, y) plane, S
mirrors x, both about the middle of the square; `sr2` is S R R: first two quarter turns, then the mirror. `x8y3` shifts
by 8 cells towards +x and 3 towards +y, round the edge. Every action is a permutation of cells and a change of signs, so
exact on any grid, whether its points are centres or corners of cells.

Names are checked where torch is not imported, so that this module does not.
"""

import re
from dataclasses import dataclass
from typing import Any

from surroscope.errors import UserError
from surroscope.system import System

D4 = ("e", "r", "r2", "r3", "s", "sr", "sr2", "sr3")
Tensor = Any  # torch's


@dataclass(frozen=True)
class Action:
    """An element of the symmetry group: `turns` by 90 degrees, then the mirror, then a shift by cells (x, y)."""

    name: str
    turns: int = 0
    mirrored: bool = False
    shift: tuple[int, int] = (0, 0)

    @classmethod
    def parse(cls, name: str) -> "Action":
        """The action called e, r, r2, r3, s, sr, sr2, sr3, or x16, y16, x8y3. Raises UserError for another name."""
        if name in D4:
            mirrored, turns = divmod(D4.index(name), 4)
            return cls(name, turns, bool(mirrored))
        match = re.fullmatch(r"(?=.)(?:x(\d+))?(?:y(\d+))?", name, re.ASCII)
        if match is None:
            raise UserError(
                f"symmetry {name!r} is unknown; choose from {', '.join(D4)}, or write a shift by whole cells such as "
                "x16, y16 or x8y3"
            )
        x, y = (int(cells or 0) for cells in match.groups())
        return cls(name, shift=(x, y))

    def moves_nothing(self, size: int) -> bool:
        """Whether this is the identity on a grid of size x size cells."""
        return not (self.turns or self.mirrored or self.shift[0] % size or self.shift[1] % size)

    @property
    def matrix(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """A, which maps the components (x, y) of a vector."""
        cosine, sine = ((1, 0), (0, 1), (-1, 0), (0, -1))[self.turns]
        sign = -1 if self.mirrored else 1
        return (sign * cosine, -sign * sine), (sine, cosine)

    def __call__(self, states: Tensor, system: System) -> Tensor:
        """States (..., F, N, N) of a system, transformed. Raises ValueError for another shape."""
        if states.ndim < 3 or states.shape[-3] != len(system.channels) or states.shape[-2] != states.shape[-1]:
            expected = f"(..., {len(system.channels)}, N, N)"
            raise ValueError(f"states of {system.title} must have shape {expected}, found {tuple(states.shape)}")
        x, y = self.shift
        moved = states.rot90(self.turns, (-1, -2))
        moved = (moved.flip(-1) if self.mirrored else moved).roll((y, x), (-2, -1))
        source, signs = list(range(len(system.channels))), [1] * len(system.channels)
        for vector in system.vectors:
            for channel, row in zip(vector, self.matrix, strict=True):
                source[channel], signs[channel] = vector[row.index(sum(row))], sum(row)
        return moved[..., source, :, :] * states.new_tensor(signs)[:, None, None]
