"""Pull random cotangents back at one checkpoint's probe batches -> what the network shares between them, and untrained.

The same network as it was initialised stands beside the trained one: an architecture shares before it has seen data.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from surroscope import device, seeding
from surroscope.config import jobs
from surroscope.data import transitions
from surroscope.diagnostics.distance import distance
from surroscope.influence import coupling as kernel
from surroscope.influence.linearize import Linearization, Method
from surroscope.influence.responses import MATRIX
from surroscope.runtime import cli, progress, store
from surroscope.stages.checkpoint import (
    cotangents,
    inputs,
    linearization,
    linearizing,
    method_of,
    probe_batches,
    require_finite,
)

# Of the rows that are multiplied in float32 at a time; what they sum to is added in float64.
COLUMNS = 2**13


def stage(
    settings: jobs.Coupling,
    *,
    stores: list[Path],
    split: Path,
    weights: Path,
    coupling: cli.Output,
    calibration: Path | None = None,
) -> None:
    place = device.pick()
    batches = probe_batches(settings, stores, split, settings.probes)
    trained = linearization(settings, weights, batches[0], place)
    method = method_of(settings, calibration, trained, batches[0])
    networks = {"trained": (trained, batches)}
    if settings.untrained_probes:
        untrained = linearization(settings, weights, batches[0], place, untrained=True)
        networks["untrained"] = (untrained, batches[: settings.untrained_probes])
    draws = settings.draws + settings.patterns
    samples = len(batches[0].inputs)
    total = sum(len(probes) for _, probes in networks.values()) * samples * draws
    title = f"kernel of {settings.model} epoch {settings.epoch}"
    parts = []
    with progress.bar(title, total, "row") as bar, linearizing(settings.model, settings.system):
        for linear, probes in networks.values():
            each = [of_batch(settings, linear, probe, place, method, coupling, bar.update) for probe in probes]
            parts.append(xr.concat(each, dim="probe").assign_coords(probe=settings.probes[: len(probes)]))
    # The untrained network is looked at in fewer batches, and has NaN in the others.
    dataset = xr.concat(parts, dim="weights", join="outer")
    names = list(batches[0].classes)
    dataset = dataset.assign_coords(
        {f"{kind}_class": store.names(f"{kind}_class", names) for kind in ("response", "perturbation")}
        | {f"{kind}_time": list(batches[0].times) for kind in ("response", "perturbation")}
        | {"weights": store.names("weights", list(networks)), "noise": settings.noises}
    ).assign_attrs({key: getattr(settings, key) for key in ("system", "model", "seed", "epoch", "draws", "patterns")})
    made = cli.provenance("coupling", settings) | {"method": str(method)}
    with store.writing(coupling, made) as temporary:
        dataset.to_zarr(temporary, zarr_format=3, consolidated=False)


def of_batch(
    settings: jobs.Coupling,
    linear: Linearization,
    probe: transitions.Probe,
    place: torch.device,
    method: Method,
    beside: Path,
    update: Callable[[int], object],
) -> xr.Dataset:
    """Every measure of one network at one probe batch, from all draws and from those of each replicate."""
    states = torch.from_numpy(probe.inputs).to(place)
    residuals = cotangents(linear, probe, place)
    require_finite(residuals, "residuals", settings, probe, "smse")
    draws = cotangents_of(settings, residuals, probe).reshape(-1, *states.shape[1:]).to(place)
    gram = rows_gram(linear, inputs(linear.network, probe, place), draws, method, beside, update)
    white, residual = np.split(np.arange(len(draws)), [settings.draws])
    shape = (len(probe.classes), len(probe.times))
    replicates = [
        kernel.measures(gram, w, r, noises=settings.noises, shape=shape)
        for w, r in zip(kernel.replicates(white), kernel.replicates(residual), strict=True)
    ]
    found = {name: np.stack([one[name] for one in replicates]) for name in replicates[0]}
    lengths = residuals.norm(dim=1, keepdim=True).clamp_min(torch.finfo(residuals.dtype).tiny)
    alignment = (residuals / lengths) @ (residuals / lengths).T
    variables = {}
    for name, values in found.items():
        lead = ("replicate", "noise" if name.startswith("explained") else "metric")
        group = name.partition("_")[2] if name.startswith("explained_") else ""
        square = values.reshape(*values.shape[:2], *shape, *shape) if not group else values
        variables[name] = ((*lead, *((group, f"{group}_too") if group else MATRIX)), square)
    variables["alignment"] = (MATRIX, alignment.double().cpu().numpy().reshape(*shape, *shape))
    variables["distance"] = (MATRIX, distance(states.cpu()).numpy().reshape(*shape, *shape))
    return xr.Dataset(variables)


def cotangents_of(settings: jobs.Coupling, residuals: Tensor, probe: transitions.Probe) -> Tensor:
    """The cotangents (D, F Y X) that are pulled back at every sample: standard normal ones, then residuals of some."""
    seed = seeding.integer(settings.seed, "coupling", *probe.trajectories)
    generator = torch.Generator().manual_seed(seed)
    white = torch.randn(settings.draws, residuals.shape[1], generator=generator)
    chosen = torch.randperm(len(residuals), generator=generator)[: settings.patterns]
    return torch.cat([white, residuals[chosen].cpu()])


def rows_gram(
    linear: Linearization,
    states: Tensor,
    draws: Tensor,
    method: Method,
    beside: Path,
    update: Callable[[int], object],
) -> np.ndarray:
    """Products of the rows J_nᵀ u_k with each other, (N, D, N, D); the rows lie in a file without a name meanwhile."""
    n, d = len(states), len(draws)
    with tempfile.TemporaryFile(dir=beside.parent) as file:
        rows = torch.from_numpy(np.memmap(file, np.float32, "w+", shape=(n * d, linear.size)))
        for number, state in enumerate(states):
            for part, block in linear.pullbacks(state, draws, method):
                rows[number * d + part.start : number * d + part.stop] = block.cpu()
                update(len(block))
        total = torch.zeros(n * d, n * d, dtype=torch.float64)
        for columns in rows.split(COLUMNS, dim=1):
            total += columns @ columns.T
        return total.numpy().reshape(n, d, n, d)


if __name__ == "__main__":
    cli.run(stage)
