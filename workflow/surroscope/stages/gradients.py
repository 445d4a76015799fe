"""Linearize one checkpoint at its probe batches -> per-sample gradients G and tangents J Gᵀ, as a Zarr shard."""

import json
from pathlib import Path

import numpy as np
import torch
import xarray as xr
import zarr
from torch import Tensor

from surroscope import device
from surroscope.config import jobs
from surroscope.data import transitions
from surroscope.diagnostics.distance import distance
from surroscope.influence.responses import Responses
from surroscope.models import surrogate
from surroscope.runtime import cli, progress, store
from surroscope.stages.checkpoint import (
    cotangents,
    functions_of,
    gradients,
    inputs,
    linearization,
    linearizing,
    method_of,
    require_finite,
)
from surroscope.system import System

CHUNK_BYTES = 32 * 2**20


def stage(
    settings: jobs.Gradients,
    *,
    stores: list[Path],
    split: Path,
    weights: Path,
    shard: cli.Output,
    calibration: Path | None = None,
) -> None:
    place = device.pick()
    system = settings.equations
    batches, pool = (
        transitions.probes(stores, split, chosen, settings.snapshots, settings.every, **settings.given)
        for chosen in (settings.batches, settings.directions)
    )
    linear = linearization(settings, weights, batches[0], place)
    method = method_of(settings, calibration, linear, batches[0])
    rows = Responses(settings.responses)
    functions = functions_of(rows, settings.observables, system, batches[0])
    samples, outputs = len(batches[0].inputs), batches[0].inputs[0].size
    pushed = rows.names if settings.span == "joint" else rows.names[: rows.perturbations]
    blocks = len(pushed) * (len(pool) or 1)
    shapes = {
        "gradients": ("parameter", len(rows.names) * samples, linear.size),
        "tangents": ("output", blocks * samples, samples * outputs),
        "cotangents": ("cell", samples, outputs),
    }
    total = len(batches) * blocks * samples**2
    made = cli.provenance("gradients", settings) | {"method": str(method)}
    with (
        store.writing(shard, made) as temporary,
        progress.bar(f"tangents of {settings.model} epoch {settings.epoch}", total, "tangent") as bar,
        linearizing(settings.model, settings.system),
    ):
        dataset = describe(settings, batches, system)
        dataset.attrs["weights"] = store.manifest(weights)["digest"]
        if surrogate.moments_of(weights, settings.epoch).is_file():
            moments = surrogate.load_moments(weights, settings.epoch)
            parts = [moments.get(name, torch.ones_like(p)).flatten().cpu() for name, p in linear.parameters.items()]
            dataset["adam"] = ("parameter", torch.cat(parts).numpy())
        dataset.to_zarr(temporary, zarr_format=3, consolidated=False)
        group = zarr.open_group(temporary)
        arrays = {
            name: group.create_array(
                name,
                shape=(len(batches), height, width),
                dtype="float32",
                chunks=(1, samples, min(width, max(1, CHUNK_BYTES // (4 * samples)))),
                compressors=None,
                fill_value=float("nan"),
                dimension_names=("batch", {"gradients": "row", "tangents": "direction"}.get(name, "sample"), dimension),
            )
            for name, (dimension, height, width) in shapes.items()
        }

        def keep(name: str, values: Tensor, number: int, block: int, probe: transitions.Probe, where: str) -> None:
            require_finite(values, name, settings, probe, where, zero=name != "gradients")
            arrays[name][number, block * samples : (block + 1) * samples] = values.cpu().numpy()

        for number, probe in enumerate(batches):
            states = inputs(linear.network, probe, place)
            keep("cotangents", cotangents(linear, probe, place), number, 0, probe, "smse")
            own = gradients(linear, probe, rows.names, functions, place, method)
            for block, (name, values) in enumerate(zip(rows.names, own, strict=True)):
                keep("gradients", values, number, block, probe, name)
                if name in pushed and not pool:
                    tangents = linear.tangents(states, values, method, progress=bar.update).flatten(1)
                    keep("tangents", tangents, number, block, probe, name)
            for block, other in enumerate(pool):
                (values,) = gradients(linear, other, pushed, functions, place, method)
                tangents = linear.tangents(states, values, method, progress=bar.update).flatten(1)
                keep("tangents", tangents, number, block, probe, pushed[0])


def describe(settings: jobs.Gradients, batches: list[transitions.Probe], system: System) -> xr.Dataset:
    """The small part of a shard: labels of rows and samples, input states, and distances between them."""
    states = np.stack([probe.inputs for probe in batches])
    distances = [distance(torch.from_numpy(part)).numpy() for part in states]
    keys = ("system", "model", "seed", "epoch", "span")
    return xr.Dataset(
        {
            "distance": (("batch", "sample", "other"), np.stack(distances)),
            "state": (("batch", "sample", "channel", "y", "x"), states),
            "trajectory": (("batch", "class"), [probe.trajectories for probe in batches]),
            "part": ("batch", [part != "test" for part, _ in settings.batches]),
            "index": ("batch", [index for _, index in settings.batches]),
        },
        coords={
            "class": store.names("class", batches[0].classes),
            "time": list(batches[0].times),
            "channel": store.names("channel", system.channels),
        },
        attrs={key: getattr(settings, key) for key in keys}
        | {"boundary": system.boundary, "responses": json.dumps([vars(response) for response in settings.responses])},
    )


if __name__ == "__main__":
    cli.run(stage)
