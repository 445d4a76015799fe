"""Tables of models that differ in how they are trained: outcomes against a baseline, and a sentence on each."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from surroscope.diagnostics.arms import Flown, compared, log_ratio, outcomes
from surroscope.tables import foresight

TRAINED, HELD_OUT = "trained on", "held out"
# A ratio that is worth telling of.
LARGE = 0.8
COST = ("forwards", "flops", "seconds")


def flown(flights: Sequence[xr.Dataset], first: int, times: int) -> Flown:
    """The rollouts of one model at one epoch, all seeds pooled, those of further trajectories among them.

    first, times: see `Flown`
    """
    errors, drifts = [], []
    for flight in flights:
        for of, axis in (("", "probe"), ("further_", "further")):
            if axis in flight.dims:
                errors.append(flight[f"{of}error"].transpose(axis, "class", "start", "snapshot").values)
                drifts.append(flight[f"{of}drift"].transpose(axis, "class", "step", "conserved").values)
    each = flights[0].sizes["probe"] + flights[0].sizes.get("further", 0)
    seeds = np.repeat([flight.attrs["seed"] for flight in flights], each)
    return Flown(seeds, np.concatenate(errors)[:, :, first:, first:], np.concatenate(drifts), first, times)


def tables(
    arms: Mapping[str, Mapping[int, Flown]],
    matrices: Sequence[xr.Dataset],
    checkpoints: pd.DataFrame,
    history: pd.DataFrame,
    asked: Mapping[str, Any],
    *,
    names: Sequence[str],
    unseen: Collection[str],
    planted: Collection[str],
) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """remedies, foresight and foresight_arms; and a sentence on each arm.

    arms: model -> epoch -> its rollouts; matrices: influence of every checkpoint, all solvers
    checkpoints: one row a checkpoint, every number a column; history: of training, as `training/` leaves it
    asked: baseline, steps and early; names: of classes; planted: arms that are bad by construction
    """
    baseline, steps = asked["baseline"], asked["steps"]
    final = {model: arm[max(arm)] for model, arm in arms.items()}
    first = max(m.first for m in final.values())
    kinds = {TRAINED: [c for c, name in enumerate(names) if name not in unseen]}
    kinds |= {HELD_OUT: held} if (held := [c for c, name in enumerate(names) if name in unseen]) else {}
    rows, ratios = [], {}
    for kind, classes in kinds.items():
        ended = {model: outcomes(m, first, steps, classes) for model, m in final.items()}
        seeds = final[baseline].seeds
        for outcome, theirs in ended[baseline].items():
            about = {"outcome": outcome, "classes": kind}
            rows += [
                {"model": model} | about | compared(of[outcome], theirs, seeds) | final[model].counts
                for model, of in ended.items()
            ]
        ratios[kind] = {
            model: final[model].by_seed(log_ratio(of["rollout"], ended[baseline]["rollout"]))
            for model, of in ended.items()
        }
    table = pd.DataFrame(rows)
    table["rank"] = table.groupby(["outcome", "classes"])["ratio"].rank(method="min")
    table = table.merge(costs(history, {model: max(arm) for model, arm in arms.items()}), on="model")
    table = table.assign(steps=steps, baseline=table["model"] == baseline, planted=table["model"].isin(planted))
    foreseen, points = foresight.tables(arms, matrices, checkpoints, ratios, asked["early"], kinds[TRAINED], planted)
    found = {"remedies": table, "foresight": foreseen, "foresight_arms": points}
    return found, sentences(table, foreseen, baseline, steps)


def costs(history: pd.DataFrame, last: Mapping[str, int]) -> pd.DataFrame:
    """What each model's training took up to an epoch, median over seeds; NaN where that is not known.

    forwards, flops: since its beginning as its history has them; seconds: of its epochs
    """
    rows = []
    for model, epoch in last.items():
        until = history[(history["model"] == model) & (history["epoch"] <= epoch)].reindex(
            columns=["seed", "epoch", *COST]
        )
        spent = until[until["epoch"] == epoch][["forwards", "flops"]].median()
        seconds = until.groupby("seed")["seconds"].sum(min_count=1).median()
        rows.append({"model": model, **spent, "seconds": seconds})
    return pd.DataFrame(rows)


def sentences(table: pd.DataFrame, foreseen: pd.DataFrame, baseline: str, steps: int) -> dict[str, str]:
    """On each arm how it compares; on the baseline which are better, and what foretold it."""
    rollouts = table[table["outcome"] == "rollout"]
    found = {}
    for model, rows in rollouts.groupby("model"):
        parts = [f"on classes {row.classes} {spelled(row)}, rank {row.rank:.0f}" for row in rows.itertuples()]
        found[str(model)] = f"Remedies: {steps}-step rollouts against {baseline}, paired: {'; '.join(parts)}."
    lines = []
    for kind, rows in rollouts.groupby("classes", sort=False):
        others = rows[rows["model"] != baseline].sort_values("ratio")
        sure, best = others[others["high"] < 1], next(others.itertuples())
        placed = [f"{row.model} ranks {row.rank:.0f}" for row in others[others["planted"]].itertuples()]
        lines.append(
            f"On classes {kind} the best of {len(others)} others is {best.model}, {spelled(best)}; better with an "
            f"interval below 1: {listed(sure)}, by {1 - LARGE:.0%} or more: {listed(sure[sure['ratio'] <= LARGE])}; "
            f"worse with one above 1: {listed(others[others['low'] > 1])}"
            + f"; planted to be bad: {', '.join(placed)}"
            * bool(placed)
        )
    seeds, trajectories = (int(rollouts[name].iloc[0]) for name in ("n_seeds", "n_trajectories"))
    of = f"{seeds} seeds × {trajectories} test trajectories of each class"
    if seeds == 1:
        of = f"{trajectories} test trajectories of each class of one seed, about which alone intervals are"
    found[baseline] = (
        f"Remedies: errors of {steps}-step rollouts over those of {baseline}, paired, over {of}. {'. '.join(lines)}. "
        f"{foresight.sentence(foreseen)}"
    )
    return found


def listed(rows: pd.DataFrame) -> str:
    return ", ".join(rows["model"]) or "none"


def spelled(row: Any) -> str:
    """For example: 0.81 times (0.74 to 0.92)."""
    interval = "" if np.isnan(row.low) else f" ({row.low:.2f} to {row.high:.2f})"
    return f"{row.ratio:.2f} times{interval}"
