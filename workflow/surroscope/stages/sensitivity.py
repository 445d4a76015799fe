"""Recompute one checkpoint's conclusions for other quantities, rank cuts and dampings -> a table."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from surroscope.diagnostics import scalars
from surroscope.errors import UserError
from surroscope.influence.compute import Rules, influence
from surroscope.influence.matrices import grams_of
from surroscope.influence.normalize import standard
from surroscope.influence.solvers import SOLVERS
from surroscope.runtime import cli, store


@dataclass(frozen=True)
class Settings:
    reference: str
    discarded_share: float
    damping: float
    damping_scale: str
    dampings: list[float]
    probes: list[int]


def stage(settings: Settings, *, grams: Path, table: Path, full: Path | None = None) -> None:
    source = store.read(grams).load()
    shape = (source.sizes["class"], source.sizes["time"])
    try:
        rows = [*variants(source, settings, shape)]
        if full is not None:
            rows += full_variants(store.read(full).load(), settings)
        own = [(row, matrices) for row, matrices in rows if row["reference"]]
        if len(own) != 1:
            raise ValueError(f"{len(own)} variants are the study's own choice, {settings.reference}; expected one")
        if not own[0][0]["converged"]:
            raise ValueError(
                f"the study's own choice, {settings.reference}, did not converge here, so nothing can be compared with "
                "it; raise sensitivity.max_iterations or sensitivity.tolerance"
            )
        found = [row | conclusions(matrices, own[0][1], shape) for row, matrices in rows]
    except ValueError as error:
        raise UserError(f"{grams}: {error}") from None
    frame = pd.DataFrame(found).assign(n_probes=len(settings.probes))
    for key in ("seed", "model"):
        frame.insert(0, key, source.attrs[key])
    with store.atomic(table) as temporary:
        frame.to_csv(temporary, index=False)


def variants(
    source: xr.Dataset, settings: Settings, shape: tuple[int, int]
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Every way by Gram matrices of computing the cost's influence on itself, as matrices (probes, N, N)."""
    batches = [grams_of(source, probe) for probe in settings.probes]
    samples = np.arange(shape[0] * shape[1])
    exact: dict[str, Any] = {"certificate": np.nan, "converged": True}
    for cut, share in (("cut", settings.discarded_share), ("none", 0.0)):
        for damping in sorted({*settings.dampings, settings.damping}, reverse=True):
            rules = Rules("perturbation", share, damping, settings.damping_scale)
            matrices = [
                influence(grams, samples, samples, rules, rules.absolute(grams, len(samples)))[0] for grams in batches
            ]
            reference = cut == "cut" and damping == settings.damping and settings.reference == "subspace"
            yield (
                {"quantity": "span", "cut": cut, "damping": damping, "reference": reference} | exact,
                np.stack(matrices),
            )
    for name, solver in SOLVERS.items():
        if solver.solve is None or (solver.needs == "moments" and "adam" not in source):
            continue
        matrices = [solver.solve(grams, samples, samples) for grams in batches]
        reference = settings.reference == name
        yield (
            {"quantity": solver.metric, "cut": "-", "damping": np.nan, "reference": reference} | exact,
            np.stack(matrices),
        )


def full_variants(solved: xr.Dataset, settings: Settings) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """The full quantity at every damping that it was solved at."""
    for damping in solved["damping"].values:
        at = solved.sel(solver="full", damping=damping).isel(response=0)
        size = at.sizes["response_class"] * at.sizes["response_time"]
        yield (
            {
                "quantity": SOLVERS["full"].metric,
                "cut": "-",
                "damping": float(damping),
                "reference": SOLVERS[settings.reference].metric == "full" and damping == settings.damping,
                "certificate": float(at["relative"].max()),
                "converged": bool(at["converged"].all()),
            },
            at["influence"].values.reshape(-1, size, size),
        )


def conclusions(matrices: np.ndarray, reference: np.ndarray, shape: tuple[int, int]) -> dict[str, float]:
    """What a study would say of these matrices (probes, N, N), and how near they are to the reference."""
    normal = standard(matrices)
    h = normal.reshape(-1, *shape, *shape)
    ratios = scalars.off_diagonal_ratio(matrices.reshape(-1, *shape, *shape))
    return {
        "half_life": scalars.half_life(scalars.lag_medians(h)["intra"]),
        "class_transfer": scalars.class_transfer(*scalars.class_medians(h)),
        "off_diagonal_ratio": float(np.median(ratios)),
        "correlation": float(np.corrcoef(normal.ravel(), standard(reference).ravel())[0, 1]),
        "relative_difference": float(np.linalg.norm(matrices - reference) / np.linalg.norm(reference)),
    }


if __name__ == "__main__":
    cli.run(stage, Settings, paths=("grams", "table"), optional=("full",), writes=("table",))
