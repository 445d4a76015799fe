"""Solve for the influence of one checkpoint -> labelled matrices of every solver, spectra, ranks, distances."""

from pathlib import Path

import numpy as np
import xarray as xr

from surroscope.config import jobs
from surroscope.errors import UserError
from surroscope.influence import decompose
from surroscope.influence.compute import Rules
from surroscope.influence.matrices import grams_of, label, responses_of
from surroscope.influence.responses import MATRIX
from surroscope.influence.solvers import SOLVERS
from surroscope.runtime import cli, store


def stage(
    settings: jobs.Influence,
    *,
    grams: Path,
    influence: cli.Output,
    full: Path | None = None,
    orbits: Path | None = None,
) -> None:
    source = store.read(grams).load()
    responses = responses_of(source)
    rules = Rules(settings.span, settings.discarded_share, settings.damping, settings.damping_scale)
    shape = (source.sizes["class"], source.sizes["time"])
    by_gram = [name for name in settings.solvers if SOLVERS[name].needs != "network"]
    try:
        dataset = label(
            [grams_of(source, probe) for probe in source["probe"].values],
            responses=responses,
            solvers=by_gram,
            shape=shape,
            rules=rules,
            modes=settings.modes,
        )
        shares = decompose.shares(source, rules)
        images = None if orbits is None else decompose.images(source, store.read(orbits).load(), rules)
    except ValueError as error:
        raise UserError(f"{grams}: {error}") from None
    dataset = dataset.assign_coords(probe=source["probe"].values)
    found = dict(zip(by_gram, dataset["influence"].values, strict=True))
    if full is not None:
        solved = store.read(full).load()
        for name in solved["solver"].values:
            at = solved.sel(solver=name).isel(damping=0)
            found[str(name)] = at["influence"].values
            if name == "full":
                dataset = dataset.merge(at[["certificate", "iterations", "converged"]].drop_vars(["solver", "damping"]))
                require_converged(at, settings, full)
    dataset = dataset.drop_vars("influence").merge(shares)
    lead = ("solver", "response", "probe")
    dataset["influence"] = ((*lead, *MATRIX), np.stack([found[name] for name in settings.solvers]))
    dataset["distance"] = (("probe", *MATRIX), source["distance"].values.reshape(-1, *shape, *shape))
    if images is not None:
        actions = [str(name) for name in images["action"].values]
        dataset["image_influence"] = images.drop_vars("action")
        dataset = dataset.assign_coords(action=store.names("action", actions))
    names = [str(name) for name in source["class"].values]
    dataset = dataset.assign_coords(
        {f"{kind}_class": store.names(f"{kind}_class", names) for kind in ("response", "perturbation")}
        | {f"{kind}_time": source["time"].values for kind in ("response", "perturbation")}
        | {name: store.names(name, [str(v) for v in source["channel"].values]) for name in ("channel", "step_channel")}
        | {"class": store.names("class", names), "solver": store.names("solver", settings.solvers)}
    )
    keys = ("system", "model", "seed", "epoch", "responses", "outputs", "front_share")
    attrs = (
        {key: source.attrs[key] for key in keys}
        | vars(settings)
        | {"quantities": [SOLVERS[name].metric for name in settings.solvers]}
    )
    with store.writing(influence, cli.provenance("influence", settings)) as temporary:
        dataset.assign_attrs(attrs).to_zarr(temporary, zarr_format=3, consolidated=False)


def require_converged(solved: xr.Dataset, settings: jobs.Influence, path: Path) -> None:
    """Raise UserError if the study's own quantity is the full one and did not converge; say so if it is another."""
    if solved["converged"].all():
        return
    worst = float(solved["relative"].max())
    message = (
        f"{path}: 'full' did not converge within {int(solved['iterations'].max())} iterations; the largest certified "
        f"relative error is {worst:.2g}. Raise influence.max_iterations, influence.damping or influence.tolerance"
    )
    if settings.solvers[0] == "full":
        raise UserError(message)
    print(message, flush=True)


if __name__ == "__main__":
    cli.run(stage)
