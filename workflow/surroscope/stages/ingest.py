"""Gather the files of one class into a checked Zarr store: state(trajectory, time, channel, y, x), float32.

Read, converted, averaged down, checked and written block by block; no file is ever held in memory. Trajectories are
numbered in the order of (file, row).
"""

import json
import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from surroscope.config import jobs
from surroscope.data import coordinates, expressions
from surroscope.data.checks import Distinct, Faults, Statistics, require_constant, require_physical
from surroscope.data.formats import Fields, Reader, Variable
from surroscope.data.links import require_inside
from surroscope.data.orientation import Orientation
from surroscope.data.selection import Skipping, Source, counted, file_names, shards, told, without
from surroscope.errors import UserError
from surroscope.runtime import cli, progress
from surroscope.runtime.store import flags, names, of_file, writing

SHARD_TRAJECTORIES = 64
BLOCK_BYTES = 64 * 2**20


def stage(
    settings: jobs.Ingest,
    *,
    raw: cli.Owns,
    store: cli.Output,
    listing: Annotated[Path | None, cli.FOREIGN] = None,
    links: str = "inside",
) -> None:
    """links: whether HDF5 files may read others "inside" their folder alone, or "anywhere" """
    for path in raw if links == "inside" else ():
        require_inside(path, wanted(settings))
    reader = Reader(settings.format, settings.dimensions, line=settings.grid[0] == 1, steady=steady(settings))
    sources, times, agreed, origin = inspect(settings, reader, raw)
    if listing is not None:
        origin |= {key: value for key, value in verified(raw, listing).items() if key != "files"}
    sources = selected(settings, reader, sources)
    total, system = settings.trajectories, settings.equations
    rows, frames = block_of(max(source.snapshot_bytes for source in sources), settings.snapshots)
    statistics, seen = Statistics(system.channels), Distinct()
    orientation = Orientation(system, settings.grid, settings.channels)
    with reader, writing(store, cli.provenance("ingest", settings)) as temporary:
        shape = (len(system.channels), *settings.grid)
        state = zarr.open_group(temporary, mode="w").create_array(
            "state",
            shape=(total, settings.snapshots, *shape),
            dtype="float32",
            chunks=(1, 1, *shape),
            shards=(rows, frames, *shape),
            compressors=[BloscCodec(cname="zstd", clevel=5, shuffle="shuffle"), Crc32cCodec()],
            fill_value=float("nan"),
            dimension_names=("trajectory", "time", "channel", "y", "x"),
            attributes={"units": system.units, "long_name": "state"},
        )
        with progress.bar(f"ingest {settings.ic}", total, "trajectory") as bar:
            for start, parts in shards(sources, rows):
                for first in range(0, settings.snapshots, frames):
                    chosen = slice(first, min(first + frames, settings.snapshots))
                    block = np.concatenate(
                        [convert(settings, reader.open(path), taken, chosen) for path, taken in parts]
                    )
                    orientation.add(parts, block, further=first > 0)
                    statistics.add(block)
                    seen.add(start, block)
                    state[start : start + len(block), chosen] = block
                seen.compare(start, [(path, row) for path, taken in parts for row in range(taken.start, taken.stop)])
                bar.update(len(block))
        found = orientation.told()
        described = describe(settings, sources, times, statistics).assign_coords(agreed.axes(settings.grid))
        described["digest"] = ("trajectory", seen.digests, {"long_name": "first 63 bits of the states' SHA-256"})
        if skipped := counted(sources):
            of_files = zip(file_names([source.path for source in sources]), sources, strict=True)
            rows_of = {name: {str(row): why for row, why in source.skipped.items()} for name, source in of_files}
            origin |= {"skipped": skipped, "skipped_rows": {name: rows for name, rows in rows_of.items() if rows}}
        described.assign_attrs(
            origin | {"system": system.name, "boundary": system.boundary, "channels": settings.channels}
        ).to_zarr(temporary, mode="a", zarr_format=3, consolidated=False)
    left_out = f", left out are {told(skipped)}" if skipped else ""
    print(f"{store}: {total} trajectories{left_out}", *found, statistics.table(), sep="\n")


def verified(raw: list[Path], listing: Path) -> dict[str, Any]:
    """The listing of the raw files. Raises UserError if a file is not the one that it lists."""
    content = json.loads(listing.read_text())
    for path in raw:
        digest, expected = of_file(path)["sha256"], content["files"][path.name]["sha256"]
        if digest != expected:
            raise UserError(f"{path}: SHA-256 {digest}, expected {expected} ({listing}); delete the file and run again")
    return content


def expressions_of(settings: jobs.Ingest, fields: Fields) -> dict[str, str]:
    """What each channel is in a file, where a name that the file has stands for itself and is no arithmetic."""
    return {channel: expressions.whole(text, fields.has) for channel, text in settings.channels.items()}


def inspect(
    settings: jobs.Ingest, reader: Reader, raw: list[Path]
) -> tuple[list[Source], np.ndarray, coordinates.Agreement, dict[str, Any]]:
    """What there is in each file, the times of the snapshots, their coordinates, and where the data are from.

    Raises UserError, naming file and variable, for what does not fit the settings or the files before it.
    """
    sources: list[Source] = []
    times: np.ndarray | None = None
    first = ""
    origin, updates = dict(settings.origin), 0
    agreed = coordinates.Agreement(compared=settings.coordinates == "compare")
    for path in raw:
        fields = reader.open(path)
        found, size = {}, 0
        for name in expressions.variables(expressions_of(settings, fields)):
            variable = fields.variable(name)
            require(settings, path, name, variable)
            found[name] = variable
            size += variable.dtype.itemsize * math.prod(variable.sizes.get(axis, 1) for axis in ("channel", "y", "x"))
        own = {name: variable for name, variable in found.items() if not variable.common}
        counts = {name: variable.trajectories for name, variable in own.items()}
        if len(set(counts.values())) > 1 or len({variable.series for variable in own.values()}) > 1:
            raise UserError(f"{path}: its variables differ in their trajectories: {counts}; expected the same of each")
        for place in [place for v in found.values() if "time" in v.axes for place in v.places]:
            at = times_of(settings, fields, place)
            if times is not None and not coordinates.alike(at, times):
                raise UserError(
                    f"{fields.where(place)}: its snapshots are at times {coordinates.short(at)}, those of {first} at "
                    f"{coordinates.short(times)}; a class has one set of times. Where only the start differs, set "
                    "data.time_step, and times count from 0 in every file"
                )
            if times is None:
                times, first = at, fields.where(place)
        for name in found if settings.format != "native" else ():
            timed = settings.time_step is None and "time" in found[name].axes
            for where, said in coordinates.of(fields, name, settings.grid, timed=timed):
                agreed.add(where, said)
        if settings.format == "native":
            made = fields.attributes
            updates += int(made.pop("cell_updates_by_positive_scheme"))
            origin |= made | {"cell_updates_by_positive_scheme": updates}
        sources.append(Source(path, next(iter(counts.values())), size))
    assert times is not None
    return sources, times, agreed, origin | agreed.told()


def selected(settings: jobs.Ingest, reader: Reader, sources: list[Source]) -> list[Source]:
    """The sources as far as they are needed, with what is left out. Raises UserError if they hold too little."""
    sources = without(sources, settings.skip_rows, settings.ic)

    def read(path: Path, rows: slice, times: slice, faults: Faults) -> np.ndarray:
        return convert(settings, reader.open(path), rows, times, faults)

    block = block_of(max(source.snapshot_bytes for source in sources), settings.snapshots)
    skipping = Skipping(settings.skip, block, settings.snapshots, read)
    taken = skipping.select(sources, settings.trajectories)
    held = sum(len(source.rows) for source in taken)
    if held < settings.trajectories:
        skipped = f" without {told(counted(taken))}" if counted(taken) else ""
        raise UserError(
            f"{settings.ic}: {len(sources)} files from {sources[0].path} on hold {held} trajectories{skipped}, "
            f"expected {settings.trajectories} (systems.{settings.equations.name}.trajectories); lower it or add files"
        )
    return taken


def wanted(settings: jobs.Ingest) -> set[str]:
    """Names of all variables and groups that channels may be made of."""
    return {part for name in expressions.read(settings.channels.values()) for part in name.split("/")}


def steady(settings: jobs.Ingest) -> set[str]:
    """Names of variables that may have no time, since only constants are made of them."""
    constants = [settings.channels[name] for name in settings.equations.constants]
    others = [text for name, text in settings.channels.items() if name not in settings.equations.constants]
    return expressions.read(constants) - expressions.read(others)


def times_of(settings: jobs.Ingest, fields: Fields, place: str) -> np.ndarray:
    """The times of an array's snapshots that are taken. Raises UserError unless each has one, in equal steps."""
    snapshots = settings.snapshots
    if settings.time_step is not None:
        return np.arange(snapshots) * settings.time_step
    found, where = fields.beside(place, "time"), fields.where(place)
    if found is None:
        raise UserError(
            f"{where}: holds no times of its snapshots in real numbers; set data.time_step, the time between two"
        )
    every = found.values.astype(np.float64)
    times = every[:snapshots]
    steps = np.diff(times)
    if len(times) < snapshots or not (steps > 0).all() or not np.allclose(steps, steps.mean(), rtol=1e-3, atol=0):
        raise UserError(
            f"{where}: its times are {times.tolist()[:9]} ({len(every)}), expected {snapshots} or more in "
            "equal steps; mend the file, or set data.time_step"
        )
    return times


def require(settings: jobs.Ingest, path: Path, name: str, array: Variable) -> None:
    """Raise UserError unless a variable has the numbers, snapshots and cells that the settings ask for."""

    def refuse(found: object, expected: object, remedy: str) -> UserError:
        return UserError(f"{path}: variable {name!r} has {found}, expected {expected}; {remedy}")

    # The order of bytes is taken as it is: nothing is lost by it.
    told = [settings.dtype] if isinstance(settings.dtype, str) else settings.dtype
    if (kind := array.dtype.newbyteorder("=")) not in [np.dtype(each) for each in told]:
        every = ", ".join([*told, kind.name])
        remedy = f"if that is right, set data.dtype: {kind}, or [{every}] where variables or files differ"
        remedy = remedy if kind.kind == "f" else "write it in floating point"
        remedy = "write its real and imaginary parts as two variables" if kind.kind == "c" else remedy
        raise refuse(f"numbers of type {kind}", " or ".join(told), remedy)
    if array.sizes.get("time", settings.snapshots) < settings.snapshots:
        raise refuse(f"{array.sizes['time']} snapshots", f"{settings.snapshots} or more", "lower data.snapshots")
    grid = (array.sizes.get("y", 1), array.sizes["x"])
    factor = grid[1] // settings.grid[1]
    if not factor or grid != (factor * settings.grid[0] if grid[0] > 1 else 1, factor * settings.grid[1]):
        size = "{} x {} cells (y, x)".format
        expected = f"{size(*settings.grid)} or one whole multiple of both"
        raise refuse(size(*grid), expected, "set data.size to the files', or to a divisor")


def block_of(snapshot_bytes: int, snapshots: int) -> tuple[int, int]:
    """Trajectories and snapshots of a shard, as many as may be in memory at once: whole trajectories if they fit."""
    frames = max(1, min(snapshots, BLOCK_BYTES // snapshot_bytes))
    return max(1, min(SHARD_TRAJECTORIES, BLOCK_BYTES // (snapshot_bytes * snapshots))), frames


def convert(
    settings: jobs.Ingest, fields: Fields, rows: slice, times: slice, faults: Faults | None = None
) -> np.ndarray:
    """Part of a file as states (n, t, F, Y, X) float32: its variables combined, checked, then averaged over cells.

    faults: what is wrong with them is added to, where it is no error
    """
    path, channels = fields.path, expressions_of(settings, fields)
    blocks = {name: fields.read(name, rows, times) for name in expressions.variables(channels)}

    def read(name: str, component: int | None) -> np.ndarray:
        block = blocks[name]
        components = block.shape[2] if block.ndim == 5 else None
        if component is None and components in (None, 1):
            return block if components is None else block[:, :, 0]
        if component is None or components is None or not 0 <= component < components:
            asked = name if component is None else f"{name}[{component}]"
            raise UserError(
                f"variable {name!r} has {components or 'no'} components, found {asked!r} in data.channels; "
                "name one that there is, counted from 0"
            )
        return block[:, :, component]

    state: np.ndarray | None = None
    for number, channel in enumerate(settings.equations.channels):
        try:
            with np.errstate(all="ignore"):  # what is not finite is found below
                values = expressions.evaluate(channels[channel], read)
        except UserError as error:
            raise UserError(f"{path}: channel {channel}: {error}") from None
        positive = channel in settings.equations.positive
        if channel in settings.equations.constants:
            require_constant(values, channel, path, rows.start, times.start)
        if faults is None:
            require_physical(values, channel, path, rows.start, times.start, positive)
        else:
            faults.look(values, positive)
        if state is None:
            cells = settings.grid
            state = np.empty((*values.shape[:2], len(settings.equations.channels), *cells), dtype=np.float32)
        factors = [have // want for have, want in zip(values.shape[2:], settings.grid, strict=True)]
        split = values.reshape(*values.shape[:2], settings.grid[0], factors[0], settings.grid[1], factors[1])
        with np.errstate(all="ignore"):
            state[:, :, number] = split.mean((3, 5), dtype=np.float64) if max(factors) > 1 else values
    assert state is not None
    return state


def describe(settings: jobs.Ingest, sources: list[Source], times: np.ndarray, statistics: Statistics) -> xr.Dataset:
    """Coordinates and statistics of the store: file and row of each trajectory, times, channels."""
    files = np.repeat(np.arange(len(sources)), [len(source.rows) for source in sources])
    rows = np.array([row for source in sources for row in source.rows])
    return xr.Dataset(
        statistics.variables(),
        coords={
            "trajectory": np.arange(len(rows)),
            "file": flags("trajectory", file_names([source.path for source in sources]), files.tolist()),
            "row": ("trajectory", rows, {"long_name": "trajectory's number in its file"}),
            "time": ("time", times, {"units": "1"}),
            "channel": names("channel", settings.equations.channels),
        },
    )


if __name__ == "__main__":
    cli.run(stage)
