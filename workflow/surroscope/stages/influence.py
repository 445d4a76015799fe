"""Reduce the shards of one checkpoint with Dask -> labelled influence matrices, spectra, ranks, distances."""

from dataclasses import dataclass
from pathlib import Path

import dask
import dask.array
import xarray as xr
from dask.callbacks import Callback

from surroscope import store
from surroscope.errors import UserError
from surroscope.response.gram import gram
from surroscope.response.labelled import ProbeGrams, label
from surroscope.stages import cli, progress


@dataclass(frozen=True)
class Settings:
    discarded_share: float
    damping: float
    chunk_mb: float


def stage(settings: Settings, *, shards: list[Path], influence: Path, threads: int) -> None:
    opened = [store.read(path, chunks={}) for path in shards]
    first = opened[0]
    for path, shard in zip(shards, opened, strict=True):
        if shard.attrs != first.attrs:
            raise UserError(
                f"{path}: a shard of {shard.attrs}, but {shards[0]} is of {first.attrs}; delete both and run again"
            )
    grams = [
        (int(probe), gram(blocks(shard["gradients"][row], settings)), gram(blocks(shard["tangents"][row], settings)))
        for shard in opened
        for row, probe in enumerate(shard["probe"].values)
    ]
    with progress.bar("contract", 0, "task") as bar:
        shown = Callback(
            start_state=lambda graph, state: bar.reset(len(state["waiting"]) + len(state["ready"])),
            posttask=lambda *task: bar.update(1),
        )
        with dask.config.set(scheduler="threads", num_workers=threads), shown:
            (computed,) = dask.compute(grams)
    distances = {
        int(probe): shard["distance"][row].values for shard in opened for row, probe in enumerate(shard["probe"].values)
    }
    observables, classes = ([str(name) for name in first[key].values] for key in ("observable", "class"))
    try:
        dataset = label(
            [ProbeGrams(probe, k, b, distances[probe]) for probe, k, b in computed],
            observables=observables,
            classes=classes,
            times=first["time"].values,
            outputs=first.sizes["output"],
            discarded_share=settings.discarded_share,
            damping=settings.damping,
        )
    except ValueError as error:
        raise UserError(f"{shards[0].parent}: {error}; the gradients are unfit, look at the weights") from None
    named = {"observable": observables, "response_class": classes, "perturbation_class": classes}
    dataset = dataset.assign_coords({name: store.names(name, labels) for name, labels in named.items()})
    with store.writing(influence, cli.provenance("influence", settings)) as temporary:
        dataset.assign_attrs(first.attrs).to_zarr(temporary, zarr_format=3, consolidated=False)


def blocks(matrix: xr.DataArray, settings: Settings) -> dask.array.Array:
    """A (row, column) matrix in blocks of whole rows and at most `chunk_mb`."""
    columns = max(1, int(settings.chunk_mb * 2**20 / (4 * matrix.shape[0])))
    return matrix.data.rechunk({1: min(columns, matrix.shape[1])})


if __name__ == "__main__":
    cli.run(stage, Settings, paths=("influence",), lists=("shards",), numbers=("threads",))
