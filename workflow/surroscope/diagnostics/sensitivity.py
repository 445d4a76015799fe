"""Other ways of computing the cost's influence on itself, and what a study would conclude from each."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from surroscope.diagnostics import scalars
from surroscope.influence.compute import Rules, influence
from surroscope.influence.normalize import standard
from surroscope.influence.responses import Grams
from surroscope.influence.solvers import SOLVERS

# A variant: the columns that say which it is, and its matrices (probes, N, N).
Variant = tuple[dict[str, Any], np.ndarray]


def by_gram(
    probes: Sequence[Grams], samples: int, rules: Rules, dampings: Sequence[float], solver: str
) -> Iterator[Variant]:
    """Every way by Gram matrices: with and without the rank cut at each damping, and without a metric.

    rules, solver: the study's own choice, whose variant has `reference` True
    """
    rows = np.arange(samples)
    exact: dict[str, Any] = {"certificate": np.nan, "converged": True}
    for cut, share in (("cut", rules.discarded_share), ("none", 0.0)):
        for damping in sorted({*dampings, rules.damping}, reverse=True):
            other = replace(rules, discarded_share=share, damping=damping)
            matrices = [influence(grams, rows, rows, other, other.absolute(grams, samples))[0] for grams in probes]
            reference = cut == "cut" and damping == rules.damping and solver == "subspace"
            yield (
                {"quantity": "span", "cut": cut, "damping": damping, "reference": reference} | exact,
                np.stack(matrices),
            )
    for name, other_solver in SOLVERS.items():
        moments = all(grams.adam is not None for grams in probes)
        if other_solver.solve is None or (other_solver.needs == "moments" and not moments):
            continue
        matrices = [other_solver.solve(grams, rows, rows) for grams in probes]
        about = {"quantity": other_solver.metric, "cut": "-", "damping": np.nan, "reference": solver == name}
        yield about | exact, np.stack(matrices)


def in_full_space(solved: xr.Dataset, rules: Rules, solver: str) -> Iterator[Variant]:
    """The influence in the full parameter space at every damping that it was solved at."""
    for damping in solved["damping"].values:
        at = solved.sel(solver="full", damping=damping).isel(response=0)
        size = at.sizes["response_class"] * at.sizes["response_time"]
        yield (
            {
                "quantity": SOLVERS["full"].metric,
                "cut": "-",
                "damping": float(damping),
                "reference": SOLVERS[solver].metric == "full" and damping == rules.damping,
                "certificate": float(at["relative"].max()),
                "converged": bool(at["converged"].all()),
            },
            at["influence"].values.reshape(-1, size, size),
        )


def compared(variants: Sequence[Variant], shape: tuple[int, int], solver: str, shared: int = 0) -> list[dict[str, Any]]:
    """A row a variant: what it is, its conclusions, and how near it is to the study's own choice.

    shape: (classes, times); shared: see `scalars.half_life`
    Raises ValueError unless exactly one variant is the study's own and it converged.
    """
    references = [variant for variant in variants if variant[0]["reference"]]
    if len(references) != 1:
        raise ValueError(f"{len(references)} variants are the study's own choice, {solver}; expected one")
    about, reference = references[0]
    if not about["converged"]:
        raise ValueError(
            f"the study's own choice, {solver}, did not converge here, so nothing can be compared with it; "
            "raise sensitivity.max_iterations or sensitivity.tolerance"
        )
    return [row | conclusions(matrices, reference, shape, shared) for row, matrices in variants]


def conclusions(matrices: np.ndarray, reference: np.ndarray, shape: tuple[int, int], shared: int) -> dict[str, float]:
    """What a study would say of these matrices (probes, N, N), and how near they are to the reference."""
    normal = standard(matrices)
    h = normal.reshape(-1, *shape, *shape)
    ratios = scalars.off_diagonal_ratio(matrices.reshape(-1, *shape, *shape))
    return {
        "half_life": scalars.half_life(scalars.lag_medians(h)["intra"], shared),
        "class_transfer": scalars.class_transfer(*scalars.class_medians(h)) if shape[0] > 1 else np.nan,
        "off_diagonal_ratio": scalars.defined_median(ratios),
        "correlation": float(np.corrcoef(normal.ravel(), standard(reference).ravel())[0, 1]),
        "relative_difference": float(np.linalg.norm(matrices - reference) / np.linalg.norm(reference)),
    }
