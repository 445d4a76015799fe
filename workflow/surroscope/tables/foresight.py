"""Tables of foresight: over models that differ in how they are trained, early numbers against the final outcome."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from itertools import permutations

import numpy as np
import pandas as pd
import xarray as xr

from surroscope.diagnostics import bootstrap
from surroscope.diagnostics.arms import Flown
from surroscope.diagnostics.coupling import Coupled, pairs_of_classes
from surroscope.diagnostics.foresight import LEVEL, at_error, chance, critical, holm, partial, spearman
from surroscope.diagnostics.retraining import ceiling
from surroscope.diagnostics.scalars import Measured
from surroscope.influence.matrices import responses_of
from surroscope.influence.responses import MATRIX, Response

SHORT = 4
# Numbers of a checkpoint, and whether more of it is to mean a smaller outcome (1) or a larger one (-1).
MEASURES = {
    "half_life": 1,
    "off_diagonal_ratio": 1,
    "class_transfer_ratio": 1,
    "intra_class_lag_1": 1,
    "intra_class_lag_8": 1,
    "kernel_transfer_class": 1,
    "kernel_transfer_time": 1,
    **{
        f"{name}_{of}": 1
        for name in ("explained", "coupling", "matched_white", "matched_residual", "alignment")
        for of in ("class", "lag_8")
    },
}
# Less the same of the network before training, where that was probed.
GAINED = ("intra_class_lag_1", "class_off_diagonal", "kernel_transfer_class", "kernel_transfer_time")
# What has the same at the same moment for the price of a few forwards, or of gradients alone.
RIVALS = {"validation": -1, f"rollout_{SHORT}": -1, "cosine_within": 1, "cosine_between": 1}
# Towards the held-out classes, where there are any.
TOWARDS = {"influence_held_out": 1, "kernel_held_out": 1}
DIRECTIONS = MEASURES | TOWARDS | {f"{name}_gained": 1 for name in GAINED} | RIVALS
# Which arms are looked at: those that are bad by construction may make a correlation alone.
ALL, UNPLANTED = "all", "not planted"


def cosines(checkpoint: xr.Dataset) -> dict[str, float]:
    """Median cosine of two gradients of one class, and of two classes, of one checkpoint; empty if not computed."""
    if "cosine" not in checkpoint["solver"].values:
        return {}
    cost = checkpoint.isel(response=responses_of(checkpoint).index(Response("smse"))).sel(solver="cosine")
    h = cost["influence"].transpose("probe", *MATRIX).values
    same = np.eye(h.shape[1], dtype=bool)[:, None, :, None] & np.ones((1, h.shape[2], 1, h.shape[2]), bool)
    itself = np.eye(h.shape[1] * h.shape[2], dtype=bool).reshape(h.shape[1:])
    found = {"cosine_within": h[:, same & ~itself], "cosine_between": h[:, ~same]}
    return {name: float(np.median(values)) if values.size else np.nan for name, values in found.items()}


def towards(measured: Mapping[int, Measured], kernels: Mapping[int, Coupled], held: Sequence[int]) -> pd.DataFrame:
    """What steps on classes trained on do for held-out ones: seed, epoch and TOWARDS, columns only if there are such.

    influence_held_out: median H_std at equal times over that within a class; kernel_held_out: kernel transfer, median
    held: indices of the classes that are held out
    """
    rows = []
    for epoch, seed in ((epoch, seed) for epoch, m in measured.items() for seed in dict.fromkeys(m.seeds.tolist())):
        rows.append({"seed": seed, "epoch": epoch})
        if not held:
            continue
        m, c = measured[epoch], kernels[epoch]
        h = m.standardised[m.seeds == seed]
        seen = [number for number in range(m.classes) if number not in held]
        medians = np.median(np.einsum("natbt->abnt", h).reshape(m.classes, m.classes, -1), axis=-1)
        shared = pairs_of_classes(c.take(np.flatnonzero(c.seeds == seed)))
        influence, kernel = (float(np.median(of[np.ix_(held, seen)])) for of in (medians, shared))
        rows[-1] |= {
            "influence_held_out": influence / float(np.median(np.diagonal(medians))),
            "kernel_held_out": kernel,
        }
    return pd.DataFrame(rows)


def numbers(
    arms: Mapping[str, Mapping[int, Flown]],
    matrices: Sequence[xr.Dataset],
    checkpoints: pd.DataFrame,
    classes: Sequence[int],
) -> pd.DataFrame:
    """Every number that may foretell, a row each model, seed and epoch; columns that a study lacks are left out."""
    keys = ["model", "seed", "epoch"]
    short = [
        {"model": model, "seed": seed, "epoch": epoch, f"rollout_{SHORT}": value}
        for model, arm in arms.items()
        for epoch, m in arm.items()
        for seed, value in zip(dict.fromkeys(m.seeds.tolist()), m.by_seed(m.cumulative(SHORT, classes)), strict=True)
    ]
    gradients = [{key: m.attrs[key] for key in keys} | cosines(m) for m in matrices]
    table = checkpoints.merge(pd.DataFrame(short), on=keys).merge(pd.DataFrame(gradients), on=keys)
    before = table[table["epoch"] == 0].set_index(["model", "seed"])
    places = table.set_index(["model", "seed"]).index
    for name in GAINED if len(before) else ():
        table[f"{name}_gained"] = table[name] - before[name].reindex(places).to_numpy()
    return table[[*keys, *(name for name in DIRECTIONS if name in table)]]


def tables(
    arms: Mapping[str, Mapping[int, Flown]],
    matrices: Sequence[xr.Dataset],
    checkpoints: pd.DataFrame,
    ratios: Mapping[str, Mapping[str, np.ndarray]],
    early: int,
    classes: Sequence[int],
    planted: Collection[str],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """foresight, a row a measure, and foresight_arms, every arm's numbers at the early epoch beside its outcome.

    ratios: kind of classes -> model -> ln of its outcome over the baseline's, of each seed (seeds,)
    classes: that were trained on, of which rollouts are a rival
    """
    table = numbers(arms, matrices, checkpoints, classes)
    seeds = list(dict.fromkeys(next(iter(next(iter(arms.values())).values())).seeds.tolist()))
    rows, points = [], []
    families = {ALL: list(arms)} | ({UNPLANTED: [m for m in arms if m not in planted]} if planted else {})
    for kind, outcomes in ratios.items():
        for family, models in families.items():
            y = np.stack([outcomes[model] for model in models])
            of_family = [
                {"classes": kind, "arms": family, "measure": name}
                | foretold(table[table["model"].isin(models)], name, models, seeds, y, early)
                for name in DIRECTIONS
                if name in table
            ]
            corrected = holm(np.array([row["p"] for row in of_family]))
            tested = sum(not np.isnan(row["p"]) for row in of_family)
            rows += [row | {"holm": p, "tested": tested} for row, p in zip(of_family, corrected, strict=True)]
        at = table[table["epoch"] == early].groupby("model").mean(numeric_only=True)
        points += [
            {"classes": kind, "measure": name, "model": model, "value": at.loc[model, name]}
            | {"ratio": float(np.exp(outcomes[model].mean())), "planted": model in planted}
            for name in DIRECTIONS
            if name in table
            for model in arms
        ]
    return pd.DataFrame(rows), pd.DataFrame(points)


def foretold(
    table: pd.DataFrame, name: str, models: Sequence[str], seeds: Sequence[int], y: np.ndarray, early: int
) -> dict[str, float]:
    """How well one number foretells y (models, seeds): rank correlations, 1 if it orders all models as expected.

    spearman: of means over seeds, with an interval over seeds; critical, p: by chance; partial: given validation error
    matched: the number taken when the validation error was equal, of matched_arms that have it
    across: of the number at one seed with the outcome at another, mean; agreement, outcome_agreement: of the number,
        and of the outcome, between seeds: near 0 where models differ by the luck of a seed alone; ceiling: the most
        that a number can correlate with the mean outcome, as far as that repeats
    """
    sign = -DIRECTIONS[name]
    at = table[table["epoch"] == early].pivot(index="model", columns="seed")
    x, z = (at[of].loc[list(models), list(seeds)].to_numpy(float) for of in (name, "validation"))
    given = np.full_like(z, np.nan) if name == "validation" else np.log(z)

    @cache
    def of_seeds(drawn: tuple[int, ...]) -> np.ndarray:
        means = [values[:, drawn].mean(axis=1) for values in (x, y, given)]
        with np.errstate(divide="ignore"):  # Fisher's z of a perfect correlation is infinite
            return np.arctanh([sign * spearman(*means[:2]), sign * partial(*means)])

    def both(drawn: np.ndarray) -> np.ndarray:
        return of_seeds(tuple(sorted(drawn.tolist())))  # few seeds are drawn in few ways

    every = np.arange(len(seeds))
    estimate, low, high = np.tanh([both(every), *bootstrap.interval(both, every)])
    n = int((~np.isnan(x.mean(axis=1) + y.mean(axis=1))).sum())
    equal = at_equal_error(table, name, models, seeds).mean(axis=1)
    pairs = list(permutations(every, 2))
    repeats = mean([spearman(y[:, a], y[:, b]) for a, b in pairs])
    return {
        **{"direction": DIRECTIONS[name], "rival": name in RIVALS, "epoch": early, "n_arms": n},
        **{"spearman": estimate[0], "low": low[0], "high": high[0], "critical": critical(n)},
        **{"p": chance(estimate[0], n), "partial": estimate[1], "partial_low": low[1], "partial_high": high[1]},
        **{"matched": sign * spearman(equal, y.mean(axis=1)), "matched_arms": int((~np.isnan(equal)).sum())},
        "across": mean([sign * spearman(x[:, a], y[:, b]) for a, b in pairs]),
        "agreement": mean([spearman(x[:, a], x[:, b]) for a, b in pairs]),
        **{"outcome_agreement": repeats, "ceiling": ceiling(repeats, len(seeds)), "n_seeds": len(seeds)},
    }


def mean(values: Sequence[float]) -> float:
    """Of the values that there are; NaN of none."""
    found = np.array([value for value in values if not np.isnan(value)])
    return float(found.mean()) if found.size else np.nan


def at_equal_error(table: pd.DataFrame, name: str, models: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
    """A number of each model when its validation error was the smallest that all of them reach, (models, seeds).

    By probed epochs after 0, of each seed by itself; NaN of a model that was below it at the first of them.
    """
    trained = table[table["epoch"] > 0].sort_values("epoch")
    curves = {key: rows[["validation", name]].to_numpy(float) for key, rows in trained.groupby(["model", "seed"])}
    target = {seed: max(curves[model, seed][:, 0].min() for model in models) for seed in seeds}
    return np.array([[at_error(curves[m, s][:, 0], curves[m, s][:, 1], target[s]) for s in seeds] for m in models])


def sentence(table: pd.DataFrame) -> str:
    """What foretold the outcome on classes trained on, and how many tests by chance would have."""
    lines = []
    for family, rows in table[table["classes"] == table["classes"].iloc[0]].groupby("arms", sort=False):
        known = rows.dropna(subset="spearman")
        if known["critical"].isna().all():
            few = rows["n_arms"].max()
            lines.append(f"{few} arms ({family}) are too few: chance gives any order of them often enough")
            continue
        reached = known[known["p"] <= LEVEL].sort_values("spearman", ascending=False)
        passed = reached[reached["spearman"] > 0]
        names = ", ".join(f"{row.measure} {row.spearman:.2f}" for row in passed.itertuples())
        lines.append(
            f"of {len(known)} measures over {family} arms {len(passed)} reach the critical rank correlation "
            f"({names or 'none'}), {len(reached) - len(passed)} do the wrong way round, "
            f"{LEVEL / 2 * len(known):.1f} would either way by chance, and "
            f"{int((known['holm'] <= LEVEL).sum())} pass corrected for so many tests"
        )
    return f"Foresight at epoch {table['epoch'].iloc[0]}: {'; '.join(lines)}."
