"""Influence between starts and lead times, of a network that is told how far to predict -> one matrix a probe batch."""

from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from surroscope import device
from surroscope.config import jobs
from surroscope.cost_function import smse
from surroscope.influence.compute import Rules, influence
from surroscope.influence.functional import COLUMNS, inner
from surroscope.influence.responses import Grams
from surroscope.runtime import cli, progress, store
from surroscope.stages.checkpoint import inputs, linearization, linearizing, method_of, probe_batches, require_finite

SIDE = ("class", "time", "lead")


def stage(
    settings: jobs.Leads,
    *,
    stores: list[Path],
    split: Path,
    weights: Path,
    leads: cli.Output,
    calibration: Path | None = None,
) -> None:
    """Samples are (c, t, dt): the network is given the snapshots up to t and is to predict that at t + dt."""
    place = device.pick()
    batches = [probe.at_leads(settings.steps) for probe in probe_batches(settings, stores, split, settings.probes)]
    first = batches[0][0]
    linear = linearization(settings, weights, first, place)
    method = method_of(settings, calibration, linear, first)
    rules = Rules("perturbation", settings.discarded_share, settings.damping, settings.damping_scale)
    shape = (len(first.classes), len(first.times), len(settings.steps))
    samples, found = int(np.prod(shape)), []
    title = f"lead times of {settings.model} epoch {settings.epoch}"
    with progress.bar(title, len(batches) * samples, "sample") as bar, linearizing(settings.model, settings.system):
        for probes in batches:
            contexts = together([inputs(linear.network, probe, place) for probe in probes])
            targets = together([torch.from_numpy(probe.targets).to(place) for probe in probes])
            g = linear.gradients(smse, contexts, targets, method)
            for probe, of_lead in zip(probes, g.unflatten(0, (-1, len(probes))).unbind(1), strict=True):
                require_finite(of_lead, "gradients", settings, probe, f"smse {probe.lead} snapshots ahead")
            b = np.zeros((samples, samples))
            for sample in contexts.split(1):
                pushed = linear.tangents(sample, g, method).flatten(1)
                b += inner(pushed, pushed, COLUMNS)
                bar.update(1)
            grams = Grams(inner(g, g, COLUMNS), b / targets.numel(), precision="float32")
            rows = np.arange(samples)
            h, _ = influence(grams, rows, rows, rules, rules.absolute(grams, samples))
            still = linear.fields(contexts)
            with torch.no_grad():
                predicted = torch.cat([linear.predict(linear.parameters, part) for part in contexts.split(16)])
            errors = (smse(each, targets, targets).double().cpu().numpy() for each in (predicted, still))
            found.append((h.reshape(*shape, *shape), *(error.reshape(shape) for error in errors)))
    matrices, error, persistence = (np.stack(part) for part in zip(*found, strict=True))
    sides = [[f"{kind}_{axis}" for axis in SIDE] for kind in ("response", "perturbation")]
    names = [str(name) for name in first.classes]
    dataset = xr.Dataset(
        {
            "influence": (("probe", *sides[0], *sides[1]), matrices),
            "error": (("probe", *SIDE), error, {"long_name": "SMSE of one prediction"}),
            "persistence": (("probe", *SIDE), persistence, {"long_name": "SMSE of no change"}),
        },
        coords={f"{kind}_class": store.names(f"{kind}_class", names) for kind in ("response", "perturbation")}
        | {"class": store.names("class", names), "probe": settings.probes}
        | {f"{kind}time": list(first.times) for kind in ("", "response_", "perturbation_")}
        | {f"{kind}lead": settings.steps for kind in ("", "response_", "perturbation_")},
        attrs={key: getattr(settings, key) for key in ("system", "model", "seed", "epoch")},
    )
    with store.writing(leads, cli.provenance("leads", settings) | {"method": str(method)}) as temporary:
        dataset.to_zarr(temporary, zarr_format=3, consolidated=False)


def together(parts: list[Tensor]) -> Tensor:
    """One part a lead, (N, ...) each, with the leads of a sample next to each other."""
    return torch.stack(parts, dim=1).flatten(0, 1)


if __name__ == "__main__":
    cli.run(stage)
