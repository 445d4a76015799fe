"""Symmetries of the equations on a grid (Y, X): quarter turns, the mirror image, and shifts by whole cells.

    (g s)(p) = A s(A⁻¹ (p - d)),   A = Sᵐ Rⁿ,   R = (0 -1; 1 0),   S = (-1 0; 0 1)

A acts on the vectors among the channels, and not on the scalars. R turns counter-clockwise in the (x, y) plane, S
mirrors x, both about the middle of the grid; `sr2` is S R R: first two quarter turns, then the mirror. `x8y3` shifts
by 8 cells towards +x and 3 towards +y, round the edge. Every action is a permutation of cells and a change of signs, so
exact on any grid that it fits, whether its points are centres or corners of cells: odd numbers of quarter turns need a
square grid, and shifts a periodic boundary. On a line, Y = 1, there is one axis to mirror and to shift along.

Names are checked where torch is not imported, so that this module does not.
"""

import re
from dataclasses import dataclass
from typing import Any

from surroscope.errors import UserError
from surroscope.system import System

D4 = ("e", "r", "r2", "r3", "s", "sr", "sr2", "sr3")
IDENTITY = D4[0]
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

    def moves_nothing(self, grid: tuple[int, int], system: System) -> bool:
        """Whether this is the identity on a system's states on a grid (Y, X)."""
        x, y = (bool(cells % size) for cells, size in zip(self.shift, grid[::-1], strict=True))
        if self.turns % 2 or x or y:
            return False
        # Along an axis of one cell there is nothing to mirror but the component of a vector.
        return not any(
            self.matrix[i][i] < 0 and (size > 1 or any(len(vector) > i for vector in system.vectors))
            for i, size in enumerate(grid[::-1])
        )

    def misfit(self, grid: tuple[int, int], system: System) -> str | None:
        """Why this does not act on a system's states on a grid (Y, X); None if it does."""
        if any(self.shift) and system.boundary != "periodic":
            return f"shifts go round the edge, and the boundary of {system.title} is {system.boundary}"
        if self.turns % 2 and grid[0] != grid[1]:
            return (
                f"quarter turns and diagonal mirrors need a square grid, and this one has {grid[0]} x {grid[1]} cells"
            )
        if lone := [vector[0] for vector in system.vectors if len(vector) == 1 and self.turns % 2]:
            return f"quarter turns and diagonal mirrors need both components of a vector, and {lone[0]} stands alone"
        return None

    @property
    def matrix(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """A, which maps the components (x, y) of a vector."""
        cosine, sine = ((1, 0), (0, 1), (-1, 0), (0, -1))[self.turns]
        sign = -1 if self.mirrored else 1
        return (sign * cosine, -sign * sine), (sine, cosine)

    def __call__(self, states: Tensor, system: System) -> Tensor:
        """States (..., F, Y, X) of a system, transformed, or snapshots with its constants behind, which are scalars.

        Raises ValueError for another shape, and for a misfit.
        """
        if states.ndim < 3 or states.shape[-3] not in (len(system.channels), len(system.stored)):
            expected = f"(..., {len(system.channels)}, Y, X)"
            raise ValueError(f"states of {system.title} must have shape {expected}, found {tuple(states.shape)}")
        if reason := self.misfit(tuple(states.shape[-2:]), system):
            raise ValueError(f"symmetry {self.name!r} does not fit states {tuple(states.shape)}: {reason}")
        x, y = self.shift
        moved = states.rot90(self.turns, (-1, -2))
        moved = (moved.flip(-1) if self.mirrored else moved).roll((y, x), (-2, -1))
        source, signs = list(range(states.shape[-3])), [1] * states.shape[-3]
        for vector in system.vectors:
            components = [system.channels.index(name) for name in vector]
            # A lone x component has no turns, so that only its sign may change.
            for channel, row in zip(components, self.matrix, strict=False):
                source[channel], signs[channel] = components[row.index(sum(row))], sum(row)
        return moved[..., source, :, :] * states.new_tensor(signs)[:, None, None]


def actions(grid: tuple[int, int], system: System, line: int = 0, box: int = 0) -> list[str]:
    """The actions that a study looks at, the identity first, without those that do not fit or move nothing.

    Those of D4 if the equations commute with turns; if they do with shifts, on a periodic grid also shifts by 1 to
    `line` cells along either axis, and by 0 to `box` cells along both
    """
    rows, columns = grid
    x_line, x_box = (range(1, min(furthest + 1, columns)) for furthest in (max(line, box), box))
    y_line, y_box = (range(1, min(furthest + 1, rows)) for furthest in (max(line, box), box))
    along = [*(f"x{cells}" for cells in x_line), *(f"y{cells}" for cells in y_line)]
    both = [f"x{x}y{y}" for x in x_box for y in y_box]
    turns, shifts = (name in system.symmetries for name in ("turns", "shifts"))
    wanted = {name: Action.parse(name) for name in (*D4[1:] * turns, *(*along, *both) * shifts)}
    fits = [name for name, a in wanted.items() if not a.misfit(grid, system) and not a.moves_nothing(grid, system)]
    return [IDENTITY, *fits]
