"""Take real steps from one checkpoint's weights -> what each did to every cost, beside what each quantity foretold."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from surroscope import device
from surroscope.config import jobs
from surroscope.cost_function import smse
from surroscope.data import transitions
from surroscope.influence import steps
from surroscope.influence.compute import Rules, influence
from surroscope.influence.functional import inner
from surroscope.influence.linearize import Linearization, Method
from surroscope.influence.matrices import grams_of
from surroscope.influence.solvers import SOLVERS
from surroscope.models import surrogate
from surroscope.runtime import cli, progress, store
from surroscope.stages.checkpoint import inputs, linearization, linearizing, method_of, probe_batches

ADAMW = {"adamw": 1, "adamw_10": 10}  # steps of the optimiser
# Of the proximal problem: where L-BFGS is at rest, and how many gradients it may take to come there.
AT_REST, EVALUATIONS = 1e-6, 500
PAIRED, ALONE = ("step", "perturbation", "sample"), ("step", "sample")


def stage(
    settings: jobs.Fidelity,
    *,
    stores: list[Path],
    split: Path,
    weights: Path,
    grams: Path,
    fidelity: cli.Output,
    calibration: Path | None = None,
) -> None:
    place = device.pick()
    batches = probe_batches(settings, stores, split, settings.batches)
    linear = linearization(settings, weights, batches[0], place)
    method = method_of(settings, calibration, linear, batches[0])
    source = store.read(grams).load()
    shape = len(batches[0].classes), len(batches[0].times)
    rows = np.arange(shape[0] * shape[1])
    chosen = rows.reshape(shape)[:, :: settings.every].ravel()
    rules = Rules("perturbation", settings.discarded_share, settings.damping, settings.damping_scale)
    kinds = [(kind, fall) for kind in settings.kinds if kind != "adamw" for fall in settings.falls]
    optimizer = None
    if "adamw" in settings.kinds:
        optimizer = steps.AdamW.of(linear, surrogate.load_optimizer(weights, settings.epoch))
        kinds += [(kind, np.nan) for kind in ADAMW]
    found: list[dict[str, Any]] = []
    total = len(batches) * (len(kinds) + settings.pbrf)
    with (
        progress.bar(f"steps of {settings.model} epoch {settings.epoch}", total, "kind") as bar,
        linearizing(settings.model, settings.system),
    ):
        for number, probe in zip(settings.batches, batches, strict=True):
            states = inputs(linear.network, probe, place)
            targets = torch.from_numpy(probe.targets).to(place)
            g = linear.gradients(smse, states, targets, method)
            products = grams_of(source, number)
            damping = rules.absolute(products, len(rows))
            h, span = influence(products, rows, rows, rules, damping)
            quantities = {"span": h[:, chosen].T}
            for name, solver in SOLVERS.items():
                if solver.solve and (solver.needs != "moments" or products.adam is not None):
                    quantities[name] = solver.solve(products, rows, chosen).T
            combined = span.coefficients(products.k[np.ix_(chosen, rows)], damping).T
            directions = {"span": torch.from_numpy(combined.copy()).to(g) @ g, "sgd": g[chosen]}
            bound = np.nan
            if "full" in settings.kinds or settings.pbrf:
                directions["full"], bound, space = steps.proximal(
                    lambda vectors, x=states: linear.metric(x, vectors, method),  # type: ignore[misc]
                    g[chosen],
                    damping=settings.full_damping,
                    tolerance=settings.tolerance,
                    max_iterations=settings.max_iterations,
                )
                quantities["full"] = inner(directions["full"], g)
            costs = steps.costs(linear, torch.zeros_like(g[:1]), states, targets)[0]
            taken = []
            for kind, fall in kinds:
                drift = torch.zeros_like(g[:1])
                if kind in ADAMW:
                    assert optimizer
                    own = states[chosen], targets[chosen]
                    step, drift = optimizer.on_samples(linear, *own, ADAMW[kind])
                else:
                    step = steps.sized(directions[kind], g[chosen], fall * costs[chosen])
                taken.append(
                    {
                        "change": steps.costs(linear, step, states, targets) - costs,
                        "first_order": inner(step, g),
                        "drift": steps.costs(linear, drift, states, targets)[0] - costs,
                        "drift_first_order": inner(drift, g)[0],
                    }
                )
                bar.update(1)
            of_batch: dict[str, Any] = {
                name: (PAIRED if taken[0][name].ndim == 2 else ALONE, np.stack([part[name] for part in taken]))
                for name in taken[0]
            }
            of_batch |= {"quantity": (("predictor", "perturbation", "sample"), np.stack([*quantities.values()]))}
            of_batch |= {"cost": ("sample", costs), "certificate": ((), bound)}
            if settings.pbrf:
                first = steps.spread(chosen, settings.pbrf)
                z = directions["full"][torch.from_numpy(first)].double()
                double = linearization(settings, weights, probe, place, torch.float64)
                of_batch |= nonlinear(
                    settings, double, method, probe, place, chosen[first], z, space, costs, bar.update
                )
            found.append(of_batch)
    names = list(dict.fromkeys(kind for kind, _ in kinds))
    dataset = xr.concat([xr.Dataset(part) for part in found], "probe").assign_coords(
        {
            "probe": settings.batches,
            "perturbation": chosen,
            "predictor": store.names("predictor", list(quantities)),
            "class": store.flags(
                "sample", [str(name) for name in batches[0].classes], np.repeat(range(shape[0]), shape[1]).tolist()
            ),
            "time": ("sample", np.tile(list(batches[0].times), shape[0])),
            "kind": store.flags("step", names, [names.index(kind) for kind, _ in kinds]),
            "fall": ("step", [fall for _, fall in kinds]),
        }
    )
    attrs = {key: getattr(settings, key) for key in ("system", "model", "seed", "epoch", "full_damping", "tolerance")}
    with store.writing(fidelity, cli.provenance("fidelity", settings)) as temporary:
        dataset.assign_attrs(attrs).to_zarr(temporary, zarr_format=3, consolidated=False)


def nonlinear(
    settings: jobs.Fidelity,
    linear: Linearization,
    method: Method,
    probe: transitions.Probe,
    place: torch.device,
    samples: np.ndarray,
    z: Tensor,
    space: steps.Krylov,
    costs: np.ndarray,
    progress: Any,
) -> dict[str, Any]:
    """The proximal problem of some samples at the smallest and the largest size, in float64. z (K, P): (η + ε)⁻¹ g_i"""
    states = inputs(linear.network, probe, place, torch.float64)
    targets = torch.from_numpy(probe.targets).to(place, torch.float64)
    g = linear.gradients(smse, states, targets, method)
    before = steps.costs(linear, torch.zeros_like(g[:1]), states, targets)
    falls = sorted({min(settings.falls), max(settings.falls)})
    change, size, reached = (np.empty((len(samples), len(falls), *tail)) for tail in ((len(states),), (), ()))
    for k, sample in enumerate(samples):
        own = float(g[sample] @ z[k])
        for f, fall in enumerate(falls):
            size[k, f] = fall * costs[sample] / own
            step, reached[k, f] = steps.response_function(
                linear,
                states,
                targets,
                int(sample),
                space,
                size=size[k, f],
                damping=settings.full_damping,
                tolerance=AT_REST,
                max_evaluations=EVALUATIONS,
            )
            if reached[k, f] > AT_REST:
                raise ValueError(
                    f"the proximal problem of transition {sample} is not solved after {EVALUATIONS} gradients "
                    f"(relative gradient {reached[k, f]:.1e}); raise fidelity.full_damping, or set fidelity.pbrf to 0"
                )
            change[k, f] = (steps.costs(linear, step[None], states, targets) - before)[0]
        progress(1)
    pair = ("pbrf", "pbrf_fall")
    return {
        "pbrf_change": ((*pair, "sample"), change),
        "pbrf_first_order": ((*pair, "sample"), -size[..., None] * inner(z, g)[:, None]),
        "pbrf_reached": (pair, reached),
        "pbrf_sample": ("pbrf", samples),
        "pbrf_fall": ("pbrf_fall", falls),
    }


if __name__ == "__main__":
    cli.run(stage)
