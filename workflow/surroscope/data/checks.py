"""What states must be to be stored, and their statistics, block by block."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from surroscope.errors import UserError
from surroscope.runtime.store import STATISTICS


def require_constant(values: np.ndarray, channel: str, path: Path, row: int, snapshot: int) -> None:
    """Raise UserError where a field (n, t, Y, X) that networks do not predict changes from snapshot to snapshot."""
    moved = (values[:, 1:] != values[:, :1]).any(axis=(2, 3))
    if moved.any():
        first, time = np.argwhere(moved)[0]
        raise UserError(
            f"{path}: channel {channel} changes at snapshot {snapshot + time + 1} of trajectory {row + first}, "
            "expected the same at all times, as equations.constants says; list it in equations.channels"
        )


def require_physical(values: np.ndarray, channel: str, path: Path, row: int, snapshot: int, positive: bool) -> None:
    """Raise UserError for values (n, t, Y, X) that no physical state has: file, channel, row, snapshot and cell."""
    low = np.finfo(np.float32).tiny if positive else -np.finfo(np.float32).max
    # The comparisons are false for NaN, so that it is found too.
    if values.min() >= low and values.max() <= np.finfo(np.float32).max:
        return
    n, t, y, x = np.argwhere(~((values >= low) & (values <= np.finfo(np.float32).max)))[0]
    kind = "negative" if positive and np.isfinite(values[n, t, y, x]) and values[n, t, y, x] < low else "nan"
    raise UserError(
        f"{path}: {channel} is {values[n, t, y, x]} in trajectory {row + n}, snapshot {snapshot + t}, "
        f"cell (y={y}, x={x}); expected finite{' and positive' if positive else ''} values. Mend the file, or "
        f"leave such trajectories out by data.skip: [{kind}]"
    )


class Faults:
    """What is wrong with each of some trajectories, gathered block by block where it is no error.

    nan: values that are not finite, or beyond float32; negative: values that are not positive where they must be;
    rest: nothing changes from one snapshot to another
    """

    def __init__(self, trajectories: int) -> None:
        self.nan, self.negative, self.moves = (np.zeros(trajectories, dtype=bool) for _ in range(3))
        self.first: np.ndarray | None = None

    def look(self, values: np.ndarray, positive: bool) -> None:
        """At the values of a channel (n, t, Y, X)."""
        single = np.finfo(np.float32)
        self.nan |= ~(np.abs(values) <= single.max).all((1, 2, 3))
        if positive:
            self.negative |= (values < single.tiny).any((1, 2, 3))

    def follow(self, states: np.ndarray) -> None:
        """Further snapshots (n, t, F, Y, X)."""
        self.first = states[:, :1] if self.first is None else self.first
        self.moves |= (states != self.first).any((1, 2, 3, 4))

    def of(self, number: int, kinds: Sequence[str]) -> str | None:
        """The first of the kinds that a trajectory has."""
        found = {"nan": self.nan[number], "negative": self.negative[number], "rest": not self.moves[number]}
        return next((kind for kind, there in found.items() if there and kind in kinds), None)


class Distinct:
    """Finds trajectories that are stored twice, by the SHA-256 of their states."""

    def __init__(self) -> None:
        self.open: dict[int, Any] = {}
        self.known: dict[bytes, tuple[Path, int]] = {}

    def add(self, start: int, block: np.ndarray) -> None:
        """Further snapshots of the trajectories from number `start` on."""
        for number, states in enumerate(block, start):
            self.open.setdefault(number, hashlib.sha256()).update(np.ascontiguousarray(states).data)

    def digest(self, number: int) -> bytes:
        """Of a trajectory that is whole."""
        return bytes(self.open.pop(number).digest())

    def compare(self, start: int, rows: list[tuple[Path, int]]) -> None:
        """These trajectories, from number `start` on, are whole. Raises UserError if one was there before."""
        for number, (path, row) in enumerate(rows, start):
            digest = self.digest(number)
            if digest in self.known:
                other, first = self.known[digest]
                raise UserError(
                    f"{path}: trajectory {row} is the same as trajectory {first} of {other}; expected different ones, "
                    "since a test would hold what was trained on. Remove one of them, or leave such trajectories out "
                    "by data.skip: [duplicate]"
                )
            self.known[digest] = (path, row)

    @property
    def digests(self) -> list[int]:
        """The first 63 bits of each trajectory's, in order: enough to find it in another class."""
        return [int.from_bytes(digest[:8]) >> 1 for digest in self.known]


class Statistics:
    """Mean, deviation and range of each channel over trajectories, time and space, gathered in float64.

    Means and sums of squares are merged block by block (Chan, Golub & LeVeque 1983).
    """

    def __init__(self, channels: tuple[str, ...]) -> None:
        self.channels, self.count = channels, 0
        self.mean, self.squares = np.zeros(len(channels)), np.zeros(len(channels))
        self.minimum, self.maximum = np.full(len(channels), np.inf), np.full(len(channels), -np.inf)
        self.missing = np.zeros(len(channels), dtype=np.int64)

    def add(self, block: np.ndarray) -> None:
        """Further states (n, t, F, Y, X)."""
        axes, count = (0, 1, 3, 4), block.size // len(self.channels)
        mean, squares = block.mean(axes, dtype=np.float64), np.zeros(len(self.channels))
        for number in range(len(self.channels)):
            values = block[:, :, number]
            squares[number] = np.square(values - mean[number], dtype=np.float64).sum()
            self.missing[number] += np.isnan(values).sum()
        shift, total = mean - self.mean, self.count + count
        self.squares += squares + shift**2 * self.count * count / total
        self.mean, self.count = self.mean + shift * count / total, total
        self.minimum = np.minimum(self.minimum, block.min(axes))
        self.maximum = np.maximum(self.maximum, block.max(axes))

    def variables(self) -> dict[str, Any]:
        """The statistics as variables of a dataset, by the names of STATISTICS."""
        values = (self.mean, np.sqrt(self.squares / self.count), self.minimum, self.maximum, self.missing)
        return {
            name: ("channel", value, {"long_name": f"{name} over trajectories, time and space"})
            for name, value in zip(STATISTICS, values, strict=True)
        }

    def table(self) -> str:
        """The same as text, a line a channel."""
        return xr.Dataset(self.variables(), {"channel": list(self.channels)}).to_dataframe().to_string()
