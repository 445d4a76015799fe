"""Reduce the shards of one checkpoint with Dask -> labelled influence matrices, spectra, ranks, distances."""

from dataclasses import dataclass
from pathlib import Path

import dask
import dask.array
import numpy as np
import xarray as xr
from dask.diagnostics import ProgressBar

from surroscope import store
from surroscope.errors import UserError
from surroscope.response import subspace
from surroscope.response.gram import gram
from surroscope.stages import cli

MATRIX = ("response_class", "response_time", "perturbation_class", "perturbation_time")


@dataclass(frozen=True)
class Settings:
    solver: str
    discarded_share: float
    damping: float
    chunk_mb: float


def stage(settings: Settings, *, shards: list[Path], influence: Path, threads: int) -> None:
    opened = [store.read(path, chunks={}) for path in shards]
    if len(labels := {tuple(sorted(shard.attrs.items())) for shard in opened}) > 1:
        raise UserError(f"{shards[0].parent}: shards of different checkpoints, {labels}; delete them and run again")
    grams = [
        {
            "probe": int(probe),
            "k": gram(blocks(shard["gradients"][row], settings)),
            "b": gram(blocks(shard["tangents"][row], settings)),
            "distance": shard["distance"][row].data,
        }
        for shard in opened
        for row, probe in enumerate(shard["probe"].values)
    ]
    with dask.config.set(scheduler="threads", num_workers=threads), ProgressBar(dt=10.0):
        (computed,) = dask.compute(grams)
    probes = sorted(computed, key=lambda entry: entry["probe"])
    first = opened[0]
    observables = [str(name) for name in first["observable"].values]
    classes, times = [str(name) for name in first["class"].values], first["time"].values
    samples = len(classes) * len(times)
    outputs = first.sizes["output"]
    shape = (len(observables), len(probes))
    matrices = np.empty((*shape, samples, samples))
    eigenvalues = np.full((*shape, 2 * samples), np.nan)
    rank, share = np.empty(shape, int), np.empty(shape)
    ket = np.arange(samples)
    for p, entry in enumerate(probes):
        for o, name in enumerate(observables):
            try:
                matrices[o, p], response = subspace.cross(
                    entry["k"],
                    entry["b"] / outputs,
                    ket + o * samples,
                    ket,
                    discarded_share=settings.discarded_share,
                    damping=settings.damping,
                )
            except ValueError as error:
                raise UserError(f"{shards[0].parent}: probe {entry['probe']}, observable {name}: {error}") from None
            eigenvalues[o, p, : response.rank] = response.eigenvalues
            rank[o, p], share[o, p] = response.rank, response.discarded_share

    lead, block = ("observable", "probe"), (len(classes), len(times)) * 2
    dataset = xr.Dataset(
        {
            "influence": ((*lead, *MATRIX), matrices.reshape(*shape, *block)),
            "eigenvalue": ((*lead, "mode"), eigenvalues),
            "rank": (lead, rank),
            "discarded_share": (lead, share),
            "distance": (
                ("probe", *MATRIX),
                np.stack([entry["distance"] for entry in probes]).reshape(len(probes), *block),
            ),
        },
        coords={
            "observable": store.names("observable", observables),
            "probe": [entry["probe"] for entry in probes],
            "response_class": store.names("response_class", classes),
            "response_time": times,
            "perturbation_class": store.names("perturbation_class", classes),
            "perturbation_time": times,
        },
        attrs=first.attrs
        | {
            "quantity": "influence in the joint span of cost and observable gradients (subspace)",
            "outputs": outputs,
            "discarded_share": settings.discarded_share,
            "damping": settings.damping,
        },
    )
    with store.writing(influence, cli.provenance("influence", settings)) as temporary:
        dataset.to_zarr(temporary, zarr_format=3, consolidated=False)


def blocks(matrix: xr.DataArray, settings: Settings) -> dask.array.Array:
    """A (row, column) matrix in blocks of whole rows and at most `chunk_mb`."""
    columns = max(1, int(settings.chunk_mb * 2**20 / (4 * matrix.shape[0])))
    return matrix.data.rechunk({1: min(columns, matrix.shape[1])})


if __name__ == "__main__":
    cli.run(stage, Settings, paths=("influence",), lists=("shards",), numbers=("threads",))
