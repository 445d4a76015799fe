"""Influence among many batches of one checkpoint, probes and training trajectories -> one matrix, and leverage."""

from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr
from dask import compute

from surroscope.config import jobs
from surroscope.config.sections import Dask
from surroscope.errors import UserError
from surroscope.influence.compute import Rules, grams, influence
from surroscope.influence.gram import columns_within, squares
from surroscope.runtime import cli, store
from surroscope.runtime.dask_cluster import scheduler
from surroscope.stages.shards import blocks, open_shards

PARTS = ("test", "train")


def stage(
    settings: jobs.Cross, *, shards: list[Path], cross: cli.Output, threads: int, memory_mb: int, dask: Dask
) -> None:
    opened = open_shards(shards)
    first = opened[0]
    samples = sum(shard["gradients"].shape[1] for shard in opened)
    try:
        width = columns_within(memory_mb, samples, threads)
    except ValueError as error:
        raise UserError(str(error)) from None
    rows = blocks(da.concatenate([shard["gradients"].data[0] for shard in opened]), width)
    tangents = [blocks(shard["tangents"].data[0], width) for shard in opened]
    outputs = sum(part.shape[1] for part in tangents)
    with scheduler(dask, threads, memory_mb, cross.with_suffix(".workers"), "contract"):
        products, everything = grams(rows, tangents), np.arange(samples)
        rules = Rules("perturbation", settings.discarded_share, settings.damping, settings.damping_scale)
        damping = rules.absolute(products, samples)
        try:
            matrix, span = influence(products, everything, everything, rules, damping)
        except ValueError as error:
            raise UserError(f"{shards[0].parent}: {error}") from None
        scaled = span.basis / np.sqrt(span.eigenvalues + damping)
        leverage = compute(
            *(squares(part, scaled, shard.sizes["sample"]) for part, shard in zip(tangents, opened, strict=True))
        )
    classes, times = first.sizes["class"], first["time"].values
    per = classes * len(times)
    dataset = xr.Dataset(
        {
            "influence": (("sample", "step"), matrix),
            "leverage": ("sample", np.concatenate(leverage) / outputs),
            "state": (("sample", "y", "x"), np.concatenate([shard["state"].values[0, :, 0] for shard in opened])),
            "trajectory": (
                "sample",
                np.concatenate([np.repeat(shard["trajectory"].values[0], len(times)) for shard in opened]),
            ),
            "time": ("sample", np.tile(times, classes * len(opened))),
            "batch": ("sample", np.repeat(np.arange(len(opened)), per)),
            "eigenvalue": ("mode", span.eigenvalues),
        },
        coords={
            "class": store.flags(
                "sample",
                [str(v) for v in first["class"].values],
                np.tile(np.repeat(np.arange(classes), len(times)), len(opened)).tolist(),
            ),
            "part": store.flags(
                "sample", PARTS, np.repeat([int(shard["part"].values[0]) for shard in opened], per).tolist()
            ),
        },
        attrs={key: first.attrs[key] for key in ("system", "model", "seed", "epoch")}
        | {"damping": damping, "discarded_share": span.discarded_share, "channel": str(first["channel"].values[0])},
    )
    with store.writing(cross, cli.provenance("cross", settings)) as temporary:
        dataset.to_zarr(temporary, zarr_format=3, consolidated=False)


if __name__ == "__main__":
    cli.run(stage)
