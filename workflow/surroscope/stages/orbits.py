"""Gradients at the images of probe samples under the symmetries -> their products with the gradients of the steps."""

from pathlib import Path

import numpy as np
import torch
import xarray as xr

from surroscope import device
from surroscope.config import jobs
from surroscope.cost_function import smse
from surroscope.influence.functional import inner
from surroscope.models import context
from surroscope.runtime import cli, progress, store
from surroscope.stages.checkpoint import inputs, linearization, linearizing, method_of, probe_batches, require_finite
from surroscope.symmetry import Action

COLUMNS = 2**20


def stage(
    settings: jobs.Orbits,
    *,
    stores: list[Path],
    split: Path,
    weights: Path,
    orbits: cli.Output,
    calibration: Path | None = None,
) -> None:
    """overlap[p, g, j, i] = ∇C(g s_j) · ∇C(s_i) over the N samples of probe batch p, with C the SMSE"""
    place, system = device.pick(), settings.equations
    batches = probe_batches(settings, stores, split, settings.probes)
    linear = linearization(settings, weights, batches[0], place)
    method = method_of(settings, calibration, linear, batches[0])
    samples = len(batches[0].inputs)
    overlap = np.empty((len(batches), len(settings.actions), samples, samples))
    title = f"images of {settings.model} epoch {settings.epoch}"
    with (
        progress.bar(title, overlap[..., 0, 0].size, "image") as bar,
        linearizing(settings.model, settings.system),
    ):
        for p, probe in enumerate(batches):
            snapshots, targets = (torch.from_numpy(part).to(place) for part in (probe.snapshots, probe.targets))
            perturbations = linear.gradients(smse, inputs(linear.network, probe, place), targets, method)
            for g, name in enumerate(settings.actions):
                action = Action.parse(name)
                moved = context.of(linear.network, action(snapshots, system), torch.from_numpy(probe.labels))
                responses = linear.gradients(smse, moved, action(targets, system), method)
                require_finite(responses, "gradients", settings, probe, f"smse of {name}", zero=False)
                overlap[p, g] = inner(responses, perturbations, COLUMNS)
                bar.update(1)
    dataset = xr.Dataset(
        {"overlap": (("probe", "action", "sample", "other"), overlap)},
        coords={"probe": settings.probes, "action": store.names("action", settings.actions)},
        attrs={key: getattr(settings, key) for key in ("system", "model", "seed", "epoch")}
        | {"weights": store.manifest(weights)["digest"]},
    )
    made = cli.provenance("orbits", settings) | {"method": str(method)}
    with store.writing(orbits, made) as temporary:
        dataset.to_zarr(temporary, zarr_format=3, consolidated=False)


if __name__ == "__main__":
    cli.run(stage)
