"""Do the components of a vector field lie along the axes that they are stored on? Two laws tell, from the states alone.

    ∂u/∂x + r ∂v/∂y = 0                 an incompressible velocity
    ∂ρ/∂t + s (∂u/∂x + r ∂v/∂y) = 0     a density and its flux, which is (u, v), or ρ (u, v) where that is a velocity

r and s are fitted, since cells need not be square and times may have any unit; they have to be positive, and a negative
one says that a component counts against its axis. Where a law holds with u and v exchanged and not as they are stored,
each was stored along the other's axis. No scalar shows that, but turns of such states are wrong.

Shocks have no derivatives, so the laws are taken in their weak form: multiplied by the waves φ = sin(πax) sin(πby),
which vanish at the edges whatever the boundary is, and integrated by parts. Only long waves are taken: what they see
changes little between two snapshots, so that the flux in between is the mean of both.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from surroscope.errors import UserError
from surroscope.system import System

WAVES = 6
DIVERGENCE = "zero divergence"
# A law holds where it leaves no more than this; exchanged components leave so many times less than stored ones.
HOLDS, MARGIN = 0.4, 2.0
# Zero divergence is a law of every snapshot by itself, and motion with much symmetry comes near it by chance.
HOLDS_AT_ONCE = 0.2
# Trajectories that are judged together: fewer that change little look like any law by chance.
ENOUGH = 4


class Fit(NamedTuple):
    """left: root mean square of what a law leaves over that of what it is about, ∂ρ/∂t or ∂u/∂x: 0 where it holds, 1
    where it says nothing; against: the components that count against their axes in it"""

    left: float
    against: tuple[str, ...]

    def __str__(self) -> str:
        signs = f" with {' and '.join(self.against)} reversed" if self.against and self.left <= HOLDS else ""
        return f"{self.left:.2g}{signs}"


class Balance(NamedTuple):
    """A law for a vector (u, v), as stored and with u along y and v along x."""

    law: str
    stored: Fit
    exchanged: Fit

    @property
    def limit(self) -> float:
        return HOLDS_AT_ONCE if self.law == DIVERGENCE else HOLDS

    @property
    def holds(self) -> bool:
        return self.stored.left <= self.limit and not self.stored.against

    @property
    def swapped(self) -> bool:
        """Whether it holds exchanged and not as stored. Exchanged and reversed, zero divergence is zero curl."""
        better = self.exchanged.left <= min(self.limit, self.stored.left / MARGIN) and self.stored.left > HOLDS
        return better and not (self.law == DIVERGENCE and self.exchanged.against)

    @property
    def reversed(self) -> bool:
        """Whether it holds as stored but for signs, and in no way exchanged, as where curl and strain are zero."""
        return self.stored.left <= self.limit and bool(self.stored.against) and self.exchanged.left > HOLDS

    def __str__(self) -> str:
        return f"{self.law} leaves {self.stored} as stored, and exchanged {self.exchanged}"


class Orientation:
    """Gathers what the laws are about from the states of a class, and refuses files whose components are exchanged.

    Of vectors of two components on grids in two dimensions; of others nothing is said. Densities are the channels that
    are positive.
    texts: what every channel is in the files
    """

    def __init__(self, system: System, grid: tuple[int, int], texts: Mapping[str, str]) -> None:
        self.channels, self.texts = system.channels, texts
        self.vectors = [(v[0], v[1]) for v in system.vectors if len(v) == 2 and min(grid) >= 8]
        self.densities = list(system.positive)
        size = len(self.densities) + 4 * len(self.vectors) * (1 + len(self.densities))
        self.of_file, self.of_class = np.zeros((size, size)), np.zeros((size, size))
        self.paths: list[Path] = []
        self.rows = 0
        self.last = np.zeros((0, size, 0))
        self.waves = [_waves(cells) for cells in grid]

    def add(self, parts: Sequence[tuple[Path, slice]], block: np.ndarray, *, further: bool = False) -> None:
        """Snapshots (n, t, F, Y, X) of trajectories, of each file so many rows; further: of those that came last, the
        ones that follow, where it is one trajectory.

        Raises UserError, naming the file, where components are exchanged or count against their axes.
        """
        if not self.vectors:
            return
        count, start = len(self.densities), 0
        for path, rows in parts:
            if path not in self.paths[-1:]:
                if self.rows >= ENOUGH:
                    self.paths, self.rows, self.of_file = [], 0, np.zeros_like(self.of_file)
                self.paths.append(path)
            trajectories, start = block[start:][: rows.stop - rows.start], start + rows.stop - rows.start
            for states in trajectories:
                seen = self._seen(states)
                seen = np.concatenate([self.last, seen]) if further else seen
                self.last = seen[-1:]
                changes, fluxes = np.diff(seen[:, :count], axis=0), (seen[1:, count:] + seen[:-1, count:]) / 2
                terms = np.concatenate([changes, fluxes], axis=1).swapaxes(0, 1).reshape(seen.shape[1], -1)
                self.of_file += terms @ terms.T
                self.of_class += terms @ terms.T
            self.rows += 0 if further else len(trajectories)
            if self.rows >= ENOUGH:
                self._require(self.of_file)

    def told(self) -> list[str]:
        """What was found of the class, a line a vector. Raises UserError as `add` does."""
        self._require(self.of_class)
        lines = []
        for vector in self.vectors:
            best = min(self._balances(self.of_class, vector), key=_least, default=None)
            known = best is not None and best.holds and best.exchanged.left > HOLDS
            lines.append(f"{' and '.join(vector)}: {'along x and y' if known else 'axes cannot be told'} ({best})")
        return lines

    def _seen(self, states: np.ndarray) -> np.ndarray:
        """Of snapshots (t, F, Y, X) ∫ρφ for every density, and for every vector (u, v), alone and carrying each,
        ∫u ∂φ/∂x, ∫v ∂φ/∂y, ∫v ∂φ/∂x and ∫u ∂φ/∂y: (t, terms, waves)."""
        field = {name: states[:, number].astype(np.float64) for number, name in enumerate(self.channels)}
        (sine_y, slope_y), (sine_x, slope_x) = self.waves
        found = [sine_y @ field[name] @ sine_x.T for name in self.densities]
        for vector in self.vectors:
            for density in [None, *self.densities]:
                u, v = (field[name] if density is None else field[density] * field[name] for name in vector)
                found += [
                    sine_y @ u @ slope_x.T,
                    slope_y @ v @ sine_x.T,
                    sine_y @ v @ slope_x.T,
                    slope_y @ u @ sine_x.T,
                ]
        return np.stack(found, axis=1).reshape(len(states), len(found), -1)

    def _balances(self, gram: np.ndarray, vector: tuple[str, str]) -> Iterator[Balance]:
        """Every law that may hold for a vector, but for those about what does not change at all."""
        (u, v), count = vector, len(self.densities)
        for number, carried in enumerate([None, *self.densities]):
            first = count + 4 * ((1 + count) * self.vectors.index(vector) + number)
            stored, exchanged = (first, first + 1), (first + 2, first + 3)
            if carried is None and gram[first, first] > 0 and gram[first + 2, first + 2] > 0:
                fits = _fit(gram, stored[0], stored[1:], (v,), -1), _fit(gram, exchanged[0], exchanged[1:], (u,), -1)
                yield Balance(DIVERGENCE, *fits)
            for target, density in enumerate(self.densities):
                if carried in (None, density) and gram[target, target] > 0:
                    law = f"{density} {'carried by the vector' if carried else 'with the vector as its flux'}"
                    yield Balance(law, _fit(gram, target, stored, (u, v)), _fit(gram, target, exchanged, (v, u)))

    def _require(self, gram: np.ndarray) -> None:
        for vector in self.vectors:
            balances = sorted(self._balances(gram, vector), key=lambda b: (b.law == DIVERGENCE, _least(b)))
            wrong = [balance for balance in balances if balance.swapped or balance.reversed]
            if not wrong or any(balance.holds for balance in balances):
                continue
            (u, v), best = vector, wrong[0]
            fit, sources = (best.exchanged, (v, u)) if best.swapped else (best.stored, (u, v))
            found = [f"{u} lies along y and {v} along x"] * best.swapped
            # Divergence does not tell which of the two.
            against = [f"{u} or {v}"] if fit.against and best.law == DIVERGENCE else fit.against
            found += [f"{name} counts against its axis" for name in against]
            texts = (f"-({self.texts[name]})" if name in fit.against else self.texts[name] for name in sources)
            mended = ", ".join(f"{name}: {text!r}" for name, text in zip(vector, texts, strict=True))
            other = "give axes that descend their coordinate"
            if best.swapped:
                other = "exchange y and x in data.dimensions or the two in equations.vectors"
            where = " to ".join(dict.fromkeys(map(str, (self.paths[0], self.paths[-1]))))
            raise UserError(
                f"{where}: {', and '.join(found)}: {best} (0: the law holds, 1: it says nothing). Set data.channels: "
                f"{{{mended}}}, or {other} (files of your own), or accept them by data.orientation: accept"
            )


def _least(balance: Balance) -> float:
    return min(balance.stored.left, balance.exchanged.left)


def _fit(gram: np.ndarray, target: int, terms: Sequence[int], names: tuple[str, ...], sign: int = 1) -> Fit:
    """How well a sum of terms times factors is another one, and the names of those whose factor has the wrong sign."""
    matrix, side, whole = gram[np.ix_(terms, terms)], gram[terms, target], gram[target, target]
    factors = np.linalg.lstsq(matrix, side)[0]
    left = np.sqrt(max(whole - side @ factors, 0.0) / whole)
    return Fit(float(left), tuple(name for name, factor in zip(names, factors, strict=True) if sign * factor < 0))


def _waves(cells: int) -> tuple[np.ndarray, np.ndarray]:
    """sin(πax) and its slope at the centres of cells, (waves, cells)."""
    number = np.pi * np.arange(1, min(WAVES, cells // 2) + 1)[:, None]
    angle = number * (np.arange(cells) + 0.5) / cells
    return np.sin(angle), number * np.cos(angle)
