"""Contract the shards of one checkpoint with Dask -> the small Gram matrices that every solver of the span needs."""

from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr
from dask import compute

from surroscope.config import jobs
from surroscope.config.sections import Dask
from surroscope.diagnostics.fronts import fronts
from surroscope.errors import UserError
from surroscope.influence.gram import by_sample_and_channel, columns_within, gram
from surroscope.runtime import cli, store
from surroscope.runtime.dask_cluster import scheduler
from surroscope.stages.shards import blocks, open_shards

FRONT_SHARE = 0.1


def stage(
    settings: jobs.Reduce, *, shards: list[Path], grams: cli.Output, threads: int, memory_mb: int, dask: Dask
) -> None:
    opened = open_shards(shards)
    first = opened[0]
    rows, parameters = first["gradients"].shape[1:]
    directions = first.sizes["direction"]
    samples, outputs = first["cotangents"].shape[1:]
    channels = first.sizes["channel"]
    cells = outputs // channels
    try:
        wide = columns_within(memory_mb, rows, threads)
        narrow = columns_within(memory_mb, directions, threads)
    except ValueError as error:
        raise UserError(str(error)) from None
    found = {}
    for shard in opened:
        states = shard["state"].values.reshape(-1, *shard["state"].shape[2:])
        masks = fronts(states, FRONT_SHARE, first.attrs["boundary"])
        masks = masks.reshape(-1, samples, cells)
        for b, index in enumerate(shard["index"].values):
            gradients, tangents = (shard[name].data[b] for name in ("gradients", "tangents"))
            parts = {"k": gram(blocks(gradients, wide)), "b": gram(blocks(tangents, narrow))}
            if "adam" in shard:
                parts["adam"] = gram(blocks(gradients, wide), 1 / shard["adam"].data)
            own = tangents[:samples].reshape(samples, samples, channels, cells)
            own = own.rechunk({0: -1, 1: 1, 2: 1, 3: min(narrow, cells)})
            w = shard["cotangents"].data[b].reshape(samples, channels, cells)
            parts["by_sample"], parts["on_fronts"], parts["by_channel"] = by_sample_and_channel(
                own, w, da.from_array(masks[b], chunks=(1, -1))
            )
            found[int(index)] = parts
    with scheduler(dask, threads, memory_mb, grams.with_suffix(".workers"), "contract"):
        (computed,) = compute(found)
    order = sorted(computed)
    stacked = {name: np.stack([computed[index][name] for index in order]) for name in computed[order[0]]}
    dims = {
        "k": ("row", "row_too"),
        "adam": ("row", "row_too"),
        "b": ("direction", "direction_too"),
        "by_sample": ("sample", "step", "step_too"),
        "on_fronts": ("sample", "step", "step_too"),
        "by_channel": ("sample", "channel", "step"),
    }
    positions = {int(index): (shard, b) for shard in opened for b, index in enumerate(shard["index"].values)}
    distance = np.stack([positions[index][0]["distance"].values[positions[index][1]] for index in order])
    dataset = xr.Dataset(
        {name: (("probe", *dims[name]), values) for name, values in stacked.items()}
        | {"distance": (("probe", "sample", "other"), distance)},
        coords={"probe": order, "time": first["time"].values}
        | {name: store.names(name, [str(v) for v in first[name].values]) for name in ("class", "channel")},
        attrs=first.attrs
        | {"outputs": samples * outputs, "parameters": parameters, "front_share": FRONT_SHARE}
        | {"precision": str(first["gradients"].dtype)},
    )
    dataset["b"] = dataset["b"] / dataset.attrs["outputs"]
    with store.writing(grams, cli.provenance("reduce", settings)) as temporary:
        dataset.to_zarr(temporary, zarr_format=3, consolidated=False)


if __name__ == "__main__":
    cli.run(stage)
