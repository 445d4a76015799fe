"""Linearize one checkpoint at its probe batches -> per-sample gradients G and tangents J Gᵀ, as a Zarr shard."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
import zarr

from surroscope import device, observables, store, transitions
from surroscope.errors import UserError
from surroscope.models import loading
from surroscope.response.linearize import Linearization
from surroscope.stages import cli, progress
from surroscope.system import SYSTEMS

CHUNK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Settings:
    system: str
    model: str
    factory: str
    options: dict[str, Any]
    seed: int
    epoch: int
    observables: list[str]
    snapshots: int
    probes: list[int]
    sample_chunk: int
    direction_chunk: int


def stage(settings: Settings, *, stores: list[Path], split: Path, weights: Path, shard: Path) -> None:
    place = device.pick()
    system = SYSTEMS[settings.system]
    batches = transitions.probes(stores, split, settings.probes, settings.snapshots)
    samples, channels, _, size = batches[0].inputs.shape
    network = loading.build(settings.factory, settings.options, channels=channels, size=size, seed=settings.seed)
    loading.load_weights(network, weights, settings.epoch)
    linear = Linearization(network.to(place))
    rows = len(settings.observables) * samples
    outputs = batches[0].inputs[0].size

    with store.writing(shard, cli.provenance("gradients", settings, loading.module_of(settings.factory))) as temporary:
        describe(settings, batches).to_zarr(temporary, zarr_format=3, consolidated=False)
        group = zarr.open_group(temporary)
        shapes = {"gradients": ("parameter", (rows, linear.size)), "tangents": ("output", (rows, samples * outputs))}
        arrays = {
            name: group.create_array(
                name,
                shape=(len(batches), *shape),
                dtype="float32",
                chunks=(1, rows, min(shape[1], max(1, CHUNK_BYTES // (4 * rows)))),
                compressors=None,
                fill_value=float("nan"),
                dimension_names=("probe", "row", dimension),
            )
            for name, (dimension, shape) in shapes.items()
        }
        total = len(batches) * rows * samples
        with progress.bar(f"tangents of {settings.model} epoch {settings.epoch}", total, "tangent") as bar:
            for number, probe in enumerate(batches):
                states, targets = (torch.from_numpy(part).to(place) for part in (probe.inputs, probe.targets))
                gradients = torch.cat(
                    [
                        linear.gradients(
                            observables.observable(name, system), states, targets, chunk=settings.sample_chunk
                        )
                        for name in settings.observables
                    ]
                )
                tangents = linear.tangents(states, gradients, chunk=settings.direction_chunk, progress=bar.update)
                for name, values in (("gradients", gradients), ("tangents", tangents.flatten(1))):
                    require_finite(values, name, settings, probe)
                    arrays[name][number] = values.cpu().numpy()


def describe(settings: Settings, batches: list[transitions.Probe]) -> xr.Dataset:
    """The small part of a shard: labels of rows and samples, and distances between the probe's input states."""
    classes, times = batches[0].classes, settings.snapshots - 1
    distances = [observables.distance(torch.from_numpy(probe.inputs)).numpy() for probe in batches]
    keys = ("system", "model", "seed", "epoch")
    return xr.Dataset(
        {"distance": (("probe", "response", "perturbation"), np.stack(distances))},
        coords={
            "probe": settings.probes,
            "class": store.names("class", classes),
            "time": np.arange(times),
            "observable": store.names("observable", settings.observables),
        },
        attrs={key: getattr(settings, key) for key in keys},
    )


def require_finite(values: torch.Tensor, name: str, settings: Settings, probe: transitions.Probe) -> None:
    finite = torch.isfinite(values).all(dim=1)
    if not finite.all():
        observable, sample = divmod(int(torch.nonzero(~finite)[0]), len(probe.inputs))
        label, time = divmod(sample, settings.snapshots - 1)
        raise UserError(
            f"{settings.model} seed {settings.seed} epoch {settings.epoch}: {name} of "
            f"{settings.observables[observable]} at class {probe.classes[label]}, time {time} are not finite; "
            "the network or its weights are broken there"
        )


if __name__ == "__main__":
    cli.run(stage, Settings, paths=("split", "weights", "shard"), lists=("stores",))
