"""Which trajectories of which files are taken, and which are left out and why."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from surroscope.data.checks import Distinct, Faults
from surroscope.errors import UserError

# A part of a file, its rows and snapshots, as states (n, t, F, Y, X); what is wrong with them is noted, and no error.
Read = Callable[[Path, slice, slice, Faults], np.ndarray]


@dataclass(frozen=True)
class Source:
    """A raw file.

    trajectories: how many of its trajectories are looked at; snapshot_bytes: of a snapshot of all its variables
    skipped: which of them are left out, and why
    """

    path: Path
    trajectories: int
    snapshot_bytes: int
    skipped: Mapping[int, str] = field(default_factory=dict)

    @property
    def rows(self) -> list[int]:
        """Those that are taken."""
        return [row for row in range(self.trajectories) if row not in self.skipped]

    def runs(self) -> list[slice]:
        """The same, as ranges of neighbours."""
        rows = np.array(self.rows, dtype=int)
        parts = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
        return [slice(int(part[0]), int(part[-1]) + 1) for part in parts if len(part)]


@dataclass(frozen=True)
class Skipping:
    """What is left out. kinds: of Faults, and "duplicate": of equal trajectories the first is taken

    block: how many trajectories and snapshots are read at once, where there are kinds; snapshots: of a trajectory
    """

    kinds: Sequence[str]
    block: tuple[int, int]
    snapshots: int
    read: Read

    def select(self, sources: Sequence[Source], wanted: int) -> list[Source]:
        """The sources up to the one that has the last of so many trajectories that are taken, or as far as they go."""
        known: set[bytes] = set()
        found = []
        for source in sources:
            skipped, looked_at = {}, 0
            for row, reason in enumerate(self._reasons(source, known) if wanted else ()):
                looked_at = row + 1
                if reason:
                    skipped[row] = reason
                else:
                    wanted -= 1
                if not wanted:
                    break
            if looked_at:
                found.append(replace(source, trajectories=looked_at, skipped=skipped))
        return found

    def _reasons(self, source: Source, known: set[bytes]) -> Iterator[str | None]:
        """Why each trajectory of a file is left out, None if it is not; known: digests of those that were taken."""
        if not self.kinds:
            yield from map(source.skipped.get, range(source.trajectories))
            return
        rows, frames = self.block
        for start in range(0, source.trajectories, rows):
            taken = slice(start, min(start + rows, source.trajectories))
            faults, seen = Faults(taken.stop - start), Distinct()
            for first in range(0, self.snapshots, frames):
                block = self.read(source.path, taken, slice(first, min(first + frames, self.snapshots)), faults)
                seen.add(start, block)
                faults.follow(block)
            for row in range(taken.start, taken.stop):
                digest = seen.digest(row)
                reason = source.skipped.get(row) or faults.of(row - start, self.kinds)
                if not reason and digest in known and "duplicate" in self.kinds:
                    reason = "duplicate"
                if not reason:
                    known.add(digest)
                yield reason


def shards(sources: Sequence[Source], rows: int) -> Iterator[tuple[int, list[tuple[Path, slice]]]]:
    """The first trajectory of each shard and where its trajectories lie: a shard may reach over several files."""
    parts: list[tuple[Path, slice]] = []
    start, room = 0, rows
    for path, run in ((source.path, run) for source in sources for run in source.runs()):
        row = run.start
        while row < run.stop:
            taken = min(room, run.stop - row)
            parts.append((path, slice(row, row + taken)))
            row, room = row + taken, room - taken
            if not room:
                yield start, parts
                start, room, parts = start + rows, rows, []
    if parts:
        yield start, parts


def counted(sources: Sequence[Source]) -> dict[str, int]:
    """How many trajectories are left out for each reason."""
    return dict(sorted(Counter(reason for source in sources for reason in source.skipped.values()).items()))


def told(skipped: Mapping[str, int]) -> str:
    """The same in words."""
    return ", ".join(f"{count} {reason}" for reason, count in skipped.items())


def without(sources: Sequence[Source], rows: Mapping[str, Sequence[int]], ic: str) -> list[Source]:
    """The sources of a class without these rows of files, named by their paths, or by their names alone.

    Raises UserError, naming file and row, for what there is not.
    """
    found = list(sources)
    for name, asked in rows.items():
        place = Path(name).expanduser()
        numbers = [n for n, source in enumerate(found) if place in (source.path, Path(source.path.name))]
        held = found[numbers[0]].trajectories if len(numbers) == 1 else 0
        if len(numbers) != 1 or max(asked, default=0) >= held:
            there = f"rows 0 to {held - 1}" if held else f"{len(numbers)} files of this name"
            raise UserError(
                f"data.skip_rows.{ic}: {name}: {list(asked)} asked for, found {there}; expected the path of a file of "
                "the class, and numbers of its trajectories, counted from 0"
            )
        found[numbers[0]] = replace(found[numbers[0]], skipped=dict.fromkeys(asked, "by hand"))
    return found


def file_names(paths: list[Path]) -> list[str]:
    """Paths below the folder that all have in common, without white space, each another."""
    common = Path(os.path.commonpath([path.resolve().parent for path in paths]))
    own = [path.resolve().relative_to(common).as_posix() for path in paths]
    known, names = set(own), dict[str, None]()
    for name in own:
        label = re.sub(r"\s", "_", name)
        while label in names or (label != name and label in known):
            label += "~"
        names[label] = None
    return list(names)
