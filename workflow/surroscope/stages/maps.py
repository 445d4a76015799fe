"""Sum the tangents of one checkpoint into response fields δŷ_n = -J_n η⁻¹ g_i of chosen pairs, without a network.

`between` has those of the first channel between all transitions of a grid, for the page to point at.
"""

from pathlib import Path

import numpy as np
import xarray as xr

from surroscope.config import jobs
from surroscope.errors import UserError
from surroscope.influence import decompose
from surroscope.influence.compute import Rules
from surroscope.influence.matrices import grams_of
from surroscope.runtime import cli, store


def stage(settings: jobs.Maps, *, shard: Path, grams: Path, maps: cli.Output) -> None:
    source = store.read(grams).load()
    # The first shard holds probe batch 0 first.
    batch = store.read(shard, chunks={}).isel(batch=0)
    classes = [str(name) for name in source["class"].values]
    times = [int(time) for time in source["time"].values]
    samples = len(classes) * len(times)
    rules = Rules("perturbation", settings.discarded_share, settings.damping, settings.damping_scale)
    try:
        span, k, damping = decompose.cost_span(grams_of(source, 0), samples, rules)
    except ValueError as error:
        raise UserError(f"{grams}: {error}") from None
    coefficients = span.coefficients(k, damping)
    shape = tuple(batch.sizes[name] for name in ("channel", "y", "x"))
    outputs = int(np.prod(shape))
    fields, states = [], []
    for response_class, response_time, step_class, step_time in settings.pairs:
        n = classes.index(response_class) * len(times) + times.index(response_time)
        i = classes.index(step_class) * len(times) + times.index(step_time)
        tangents = batch["tangents"].data[:samples, n * outputs : (n + 1) * outputs]
        fields.append(
            -(coefficients[:, i] @ tangents.astype(np.float64)).compute(scheduler="synchronous").reshape(shape)
        )
        states.append(batch["state"].values[n])
    grid = [classes.index(name) * len(times) + times.index(time) for name, time in settings.grid]
    steps, cells = coefficients[:, grid].T.astype(np.float64), shape[1] * shape[2]
    between = [
        -(steps @ batch["tangents"].data[:samples, n * outputs : n * outputs + cells].astype(np.float64))
        .compute(scheduler="synchronous")
        .reshape(len(grid), *shape[1:])
        for n in grid
    ]
    flags = {
        "grid_class": store.flags("responds", classes, [classes.index(name) for name, _ in settings.grid]),
        "response_class": store.flags("pair", classes, [classes.index(pair[0]) for pair in settings.pairs]),
        "perturbation_class": store.flags("pair", classes, [classes.index(pair[2]) for pair in settings.pairs]),
    }
    dataset = xr.Dataset(
        {
            "response": (("pair", "channel", "y", "x"), np.stack(fields)),
            "state": (("pair", "channel", "y", "x"), np.stack(states)),
            "between": (("responds", "steps", "y", "x"), np.stack(between).astype(np.float32)),
            "grid_time": ("responds", [time for _, time in settings.grid]),
            "response_time": ("pair", [pair[1] for pair in settings.pairs]),
            "perturbation_time": ("pair", [pair[3] for pair in settings.pairs]),
        },
        coords=flags | {"channel": store.names("channel", [str(v) for v in source["channel"].values])},
        attrs={key: source.attrs[key] for key in ("system", "model", "seed", "epoch")} | {"damping": damping},
    )
    with store.writing(maps, cli.provenance("maps", settings)) as temporary:
        dataset.to_zarr(temporary, zarr_format=3, consolidated=False)


if __name__ == "__main__":
    cli.run(stage)
