"""Take real steps from one checkpoint's weights -> what each did to every cost, beside what each quantity foretold."""

from pathlib import Path

import numpy as np
import torch
import xarray as xr

from surroscope import device
from surroscope.config import jobs
from surroscope.cost_function import smse
from surroscope.data import transitions
from surroscope.errors import UserError
from surroscope.influence import steps
from surroscope.influence.compute import Rules, influence
from surroscope.influence.functional import inner
from surroscope.influence.linearize import Linearization
from surroscope.influence.matrices import grams_of
from surroscope.influence.solvers import SOLVERS
from surroscope.runtime import cli, progress, store
from surroscope.stages.checkpoint import linearization, linearizing, method_of, modules
from surroscope.training.checkpoints import LATEST, intact

ADAMW = {"adamw": 1, "adamw_10": 10}  # steps of the optimiser


def stage(
    settings: jobs.Fidelity,
    *,
    stores: list[Path],
    split: Path,
    weights: Path,
    grams: Path,
    fidelity: cli.Output,
    checkpoints: Path,
    calibration: Path | None = None,
) -> None:
    """checkpoints: the folder that training goes on from, which has the optimiser's moments."""
    place = device.pick()
    batches = transitions.probes(stores, split, [("test", b) for b in settings.batches], settings.snapshots)
    linear = linearization(settings, weights, batches[0], place)
    method = method_of(settings, calibration, linear, batches[0])
    source = store.read(grams).load()
    optimizer = moments(settings, linear, checkpoints) if "adamw" in settings.kinds else None
    shape = len(batches[0].classes), len(batches[0].times)
    rows = np.arange(shape[0] * shape[1])
    chosen = rows.reshape(shape)[:, :: settings.every].ravel()
    rules = Rules("perturbation", settings.discarded_share, settings.damping, settings.damping_scale)
    kinds = [(kind, fall) for kind in settings.kinds if kind != "adamw" for fall in settings.falls]
    kinds += [(kind, np.nan) for kind in ADAMW if optimizer]
    total = len(batches) * (len(kinds) + settings.pbrf)
    found = []
    with (
        progress.bar(f"steps of {settings.model} epoch {settings.epoch}", total, "kind") as bar,
        linearizing(settings.model, settings.system),
    ):
        for number, probe in zip(settings.batches, batches, strict=True):
            states, targets = (torch.from_numpy(part).to(place) for part in (probe.inputs, probe.targets))
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
                directions["full"], bound = steps.proximal(
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
                    one, count = next(iter(linear.parameters.values())), ADAMW[kind]
                    start = linear.flatten({n: p[None] for n, p in linear.parameters.items()}).to(one)
                    drift = optimizer.steps(start, torch.zeros_like, count)
                    step = optimizer.steps(
                        start.expand(len(chosen), -1),
                        lambda at, x=states[chosen], y=targets[chosen]: steps.own_gradients(linear, at, x, y),  # type: ignore[misc]
                        count,
                    )
                else:
                    z = directions[kind]
                    own = (z.double() * g[chosen].double()).sum(dim=1).cpu().numpy()
                    step = -torch.from_numpy(fall * costs[chosen] / own).to(z)[:, None] * z
                taken.append(
                    {
                        "change": steps.costs(linear, step, states, targets) - costs,
                        "first_order": inner(step, g),
                        "drift": steps.costs(linear, drift, states, targets)[0] - costs,
                        "drift_first_order": inner(drift, g)[0],
                    }
                )
                bar.update(1)
            axes = {"change": ("perturbation", "sample"), "first_order": ("perturbation", "sample")}
            found.append(
                {
                    name: (("step", *axes.get(name, ("sample",))), np.stack([part[name] for part in taken]))
                    for name in taken[0]
                }
                | {"quantity": (("predictor", "perturbation", "sample"), np.stack([*quantities.values()]))}
                | {"cost": ("sample", costs), "certificate": ((), bound)}
            )
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
    attrs = {key: getattr(settings, key) for key in ("system", "model", "seed", "epoch", "full_damping")}
    with store.writing(fidelity, cli.provenance("fidelity", settings, *modules(settings))) as temporary:
        dataset.assign_attrs(attrs).to_zarr(temporary, zarr_format=3, consolidated=False)


def moments(settings: jobs.Fidelity, linear: Linearization, checkpoints: Path) -> steps.AdamW:
    """The optimiser as it stood at the weights of the checkpoint. Raises UserError if none is kept of these weights."""
    latest = checkpoints / LATEST
    problem = "is not there or damaged"
    if intact(latest):
        state = torch.load(latest, map_location="cpu", weights_only=True)
        if all(torch.equal(state["network"][name], p.cpu()) for name, p in linear.parameters.items()):
            return steps.AdamW.of(linear, state["optimizer"])
        problem = f"has the weights of epoch {state['epoch']} and not those of epoch {settings.epoch}"
    raise UserError(
        f"{latest} {problem}; a step of AdamW needs the moments that training ended with. Delete "
        f"{checkpoints.parent / 'weights'} to train again, or take adamw out of fidelity.kinds"
    )


if __name__ == "__main__":
    cli.run(stage)
