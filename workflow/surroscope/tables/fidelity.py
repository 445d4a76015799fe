"""Tables of real steps: how well each quantity foretold what they did to the cost of every other transition."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from surroscope.diagnostics import bootstrap, coherence
from surroscope.diagnostics.fidelity import STATISTICS, by_lag, by_relation, predictions
from surroscope.influence.solvers import SOLVERS

FIRST_ORDER, PBRF = "first_order", "pbrf"
# Steps that also move by the optimiser's momentum and decay -> what the sample's own gradient adds to them.
OWN_PART = {"adamw": "adamw_own", "adamw_10": "adamw_10_own"}
# The numbers of a checkpoint: name -> kind of step, and what it is in words.
SCALARS = {
    "fidelity_proximal": ("span", "a real proximal step in the span of the gradients"),
    "fidelity_adamw": ("adamw", "a real step of AdamW on that transition"),
    "fidelity_adamw_own": ("adamw_own", "what a transition's own gradient adds to a real step of AdamW"),
}

# (kind, fall), numbers of the samples that are stepped on (I,), predictor -> P (I, N), and D (I, N).
Steps = Iterator[tuple[tuple[str, float], np.ndarray, dict[str, np.ndarray], np.ndarray]]


def tables(datasets: Sequence[xr.Dataset], solver: str) -> dict[str, pd.DataFrame]:
    """`fidelity`, `fidelity_lag`, `fidelity_pairs`, and rows of `scalars`, of one model; solver: the study's own.

    datasets: one a seed, as the stage `fidelity` writes them
    """
    units = [dataset.isel(probe=p) for dataset in datasets for p in range(dataset.sizes["probe"])]
    seeds = np.array([unit.attrs["seed"] for unit in units])
    classes, times = (units[0][name].values for name in ("class", "time"))
    own = SOLVERS[solver].metric
    related: dict[Any, list[np.ndarray]] = {}
    lagged: dict[Any, list[np.ndarray]] = {}
    fell: dict[Any, list[np.ndarray]] = {}
    pairs = []
    for number, unit in enumerate(units):
        for step, samples, foretold, change in steps(unit):
            itself = np.arange(len(samples)), samples
            fell.setdefault(step, []).append(-change[itself] / unit["cost"].values[samples])
            for predictor, predicted in foretold.items():
                for relation, found in by_relation(samples, classes, predicted, change):
                    related.setdefault((*step, predictor, relation), []).append(found)
                for relation, lag, found in by_lag(samples, classes, times, predicted, change):
                    lagged.setdefault((*step, predictor, relation, lag), []).append(found)
            # Pairs of a quantity that is not computed here (low-rank, or full without its steps) are those of the span.
            shown = "full" if step[0] == PBRF else own if own in foretold else "span"
            if step[0] == PBRF or np.isnan(step[1]) or step[1] == middle(unit):
                pairs.append(scatter(step, shown, samples, classes, foretold[shown], change).assign(unit=number))
    names = ("kind", "fall", "predictor", "relation")
    frame = pd.DataFrame(
        row | {"fell": float(np.nanmedian(fell[key[:2]])), "n_perturbations": values[0].shape[-1]}
        for key, values in related.items()
        for row in summaries(dict(zip(names, key, strict=True)), np.stack(values), seeds)
    )
    lags = pd.DataFrame(
        row
        for key, values in lagged.items()
        for row in summaries(dict(zip((*names, "lag"), key, strict=True)), np.stack(values)[..., None], seeds)
    )
    return {
        "fidelity": frame,
        "fidelity_lag": lags,
        "fidelity_pairs": pd.concat(pairs, ignore_index=True),
        "scalars": scalars(frame, own, middle(units[0])),
    }


def middle(unit: xr.Dataset) -> float:
    """The fall in the middle of those that steps were sized for; NaN where there are none."""
    falls = np.unique(unit["fall"].values[~np.isnan(unit["fall"].values)])
    return float(falls[len(falls) // 2]) if len(falls) else np.nan


def steps(unit: xr.Dataset) -> Steps:
    """Every kind and size of step of a probe batch, with its predictions; own parts of the optimiser's beside them."""
    samples = unit["perturbation"].values

    def foretold(own: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {
            str(predictor): predictions(unit["quantity"].values[q, rows], own, samples[rows])
            for q, predictor in enumerate(unit["predictor"].values)
        }

    everyone = np.arange(len(samples))
    for number, (name, fall) in enumerate(zip(unit["kind"].values, unit["fall"].values, strict=True)):
        change, first, drift, drift_first = (
            unit[part].values[number] for part in ("change", "first_order", "drift", "drift_first_order")
        )
        # One NaN for all, since they are keys.
        fall = np.nan if np.isnan(fall) else float(fall)
        predicted = foretold((first - drift_first)[everyone, samples], everyone)
        yield (str(name), fall), samples, {FIRST_ORDER: first} | predicted, change
        if part := OWN_PART.get(str(name)):
            yield (part, fall), samples, {FIRST_ORDER: first - drift_first} | predicted, change - drift
    for f, fall in enumerate(unit["pbrf_fall"].values if "pbrf_fall" in unit else ()):
        chosen, first = unit["pbrf_sample"].values, unit["pbrf_first_order"].values[:, f]
        predicted = foretold(first[np.arange(len(chosen)), chosen], np.searchsorted(samples, chosen))
        yield (PBRF, float(fall)), chosen, {FIRST_ORDER: first} | predicted, unit["pbrf_change"].values[:, f]


def summaries(key: dict[str, Any], values: np.ndarray, seeds: np.ndarray) -> Iterator[dict[str, Any]]:
    """A row a statistic of values (units, statistics, perturbations); none where it is nowhere defined."""
    for s, statistic in enumerate(STATISTICS):
        part = values[:, s]
        if (known := part[~np.isnan(part)]).size:
            ends = dict(zip(coherence.ENDS, bootstrap.median_interval(part, seeds), strict=True))
            n_seeds = len(set(seeds.tolist()))
            counts = {"n_seeds": n_seeds, "n_probes": len(seeds) // n_seeds}
            yield key | {"statistic": statistic} | coherence.quartiles(known) | ends | counts


def scatter(
    step: tuple[str, float],
    predictor: str,
    samples: np.ndarray,
    classes: np.ndarray,
    predicted: np.ndarray,
    change: np.ndarray,
) -> pd.DataFrame:
    """Every pair's measured and predicted change, per unit of the step's own first-order fall."""
    scale = np.abs(predicted[np.arange(len(samples)), samples])[:, None]
    numbers = np.arange(len(classes))
    relation = np.where(classes == classes[samples][:, None], "intra-class", "inter-class")
    relation[numbers == samples[:, None]] = "self"
    kind, fall = step
    flat = {"relation": relation.ravel(), "predicted": (predicted / scale).ravel()}
    flat |= {"measured": (change / scale).ravel()}
    about = {"kind": kind, "fall": fall, "predictor": predictor}
    pair = {"perturbation": np.repeat(samples, len(classes)), "sample": np.tile(numbers, len(samples))}
    return pd.DataFrame(about | pair | flat).dropna(subset="predicted")


def scalars(table: pd.DataFrame, own: str, fall: float) -> pd.DataFrame:
    """Spearman's correlation of the study's own quantity with real steps, off the diagonal."""
    rows = []
    for name, (kind, words) in SCALARS.items():
        at = table[
            (table["kind"] == kind)
            & (table["predictor"] == own)
            & (table["relation"] == "all")
            & (table["statistic"] == "spearman")
            & ((table["fall"] == fall) | table["fall"].isna())
        ]
        if len(at):
            size = "" if at["fall"].isna().iloc[0] else f", sized for its own error to fall by {fall:.0%}"
            told = f"Spearman correlation of influence with the changes of other errors after {words}{size}"
            row = at.iloc[0].rename({"median": "value"})[["value", "low", "high", "n_seeds", "n_probes"]]
            rows.append({"name": name} | row.to_dict() | {"description": told})
    return pd.DataFrame(rows)
