"""Tables of models that differ in how they are trained ("arms"): outcomes against a baseline, and what foretells them.

Every comparison is paired: the same seed, probe trajectory, class and start. docs/remedies.md has the definitions.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from surroscope.diagnostics import bootstrap
from surroscope.diagnostics.scalars import Measured
from surroscope.tables import foresight

# Of an arm at each of its probed epochs.
Arm = Mapping[int, Measured]
TRAINED, HELD_OUT = "trained on", "held out"
COST = ("forwards", "flops", "seconds")


def outcomes(m: Measured, first: int, steps: int, classes: Sequence[int]) -> dict[str, np.ndarray]:
    """What a network ended at, (n, classes, pairs) each, the smaller the better; starts are from snapshot `first` on.

    rollout: SMSE summed over so many steps, of every start that has them; one_step: of the probed times; beyond: of the
    rollout from the first start, summed over the snapshots after those trained on; drift: of the conserved total that
    drifts most, after so many steps of it. What a study lacks is left out.
    """
    later = first - m.first
    error, times = m.error[:, classes, later:, later:], m.influence.shape[2] - later
    found = {
        "rollout": np.stack(
            [error[:, :, t, t + 1 : t + 1 + steps].sum(axis=-1) for t in range(error.shape[2] + 1 - steps)], axis=-1
        ),
        "one_step": np.stack([error[:, :, t, t + 1] for t in range(times)], axis=-1),
    }
    if error.shape[-1] > times + 1:
        found["beyond"] = error[:, :, 0, times + 1 :].sum(axis=-1, keepdims=True)
    if m.drift.shape[-1]:
        found["drift"] = m.drift[:, classes, steps - 1].max(axis=-1)[..., None]
    return found


def log_ratio(arm: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """ln(arm / baseline), of one shape; 0 where both are equal, as of two rollouts that blew up."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(arm == baseline, 0.0, np.log(arm) - np.log(baseline))


def compared(arm: np.ndarray, baseline: np.ndarray, seeds: np.ndarray) -> dict[str, float]:
    """One outcome of an arm, (n, classes, pairs), and its ratio to the baseline's, with intervals over the n units.

    ratio: exp of the median of ln(arm / baseline) over all pairs, which a few rollouts that blew up do not move
    geometric: exp of its mean, which they make infinite; better: share of pairs in which the arm errs less, ties half
    blown_up, baseline_blown_up: share of rollouts that left the floating-point numbers
    """
    logs = log_ratio(arm, baseline)
    low, high = bootstrap.median_interval(logs, seeds)
    error_low, error_high = bootstrap.median_interval(arm, seeds, positive=True)
    with np.errstate(over="ignore", invalid="ignore"):
        geometric = float(np.exp(logs.mean()))
    return {
        **{"error": float(np.median(arm)), "error_low": error_low, "error_high": error_high},
        **{"ratio": float(np.exp(np.median(logs))), "low": float(np.exp(low)), "high": float(np.exp(high))},
        "geometric": geometric,
        "better": float((logs < 0).mean() + (logs == 0).mean() / 2),
        "blown_up": float(np.isinf(arm).mean()),
        "baseline_blown_up": float(np.isinf(baseline).mean()),
    }


def tables(
    arms: Mapping[str, Arm],
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

    matrices: influence of every checkpoint, all solvers; checkpoints: one row a checkpoint, every number a column
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
            model: by_seed(log_ratio(of["rollout"], ended[baseline]["rollout"]), seeds) for model, of in ended.items()
        }
    table = pd.DataFrame(rows)
    table["rank"] = table.groupby(["outcome", "classes"])["ratio"].rank(method="min")
    table = table.merge(costs(history, {model: max(arm) for model, arm in arms.items()}), on="model")
    table = table.assign(steps=steps, baseline=table["model"] == baseline, planted=table["model"].isin(planted))
    foreseen, points = foresight.tables(arms, matrices, checkpoints, ratios, asked["early"], kinds[TRAINED], planted)
    found = {"remedies": table, "foresight": foreseen, "foresight_arms": points}
    return found, sentences(table, foreseen, baseline, steps)


def by_seed(logs: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Median of (n, ...) over the units of each seed, (seeds,)."""
    return np.array([np.median(logs[seeds == seed]) for seed in dict.fromkeys(seeds.tolist())])


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
        sure = others[others["high"] < 1]
        best = next(others.itertuples())
        line = f"the best of {len(others)} others is {best.model}, {spelled(best)}; "
        line += f"better with an interval below 1: {', '.join(sure['model']) or 'none'}"
        worse = int((others["low"] > 1).sum())
        placed = [f"{row.model} ranks {row.rank:.0f}" for row in others[others["planted"]].itertuples()]
        line += f"; worse with one above 1: {worse}" + f"; planted to be bad: {', '.join(placed)}" * bool(placed)
        lines.append(f"on classes {kind} {line}")
    found[baseline] = (
        f"Remedies: errors of {steps}-step rollouts in units of those of {baseline}, paired: {'. '.join(lines)}. "
        f"{foresight.sentence(foreseen)}"
    )
    return found


def spelled(row: Any) -> str:
    """For example: 0.81 times (0.74 to 0.92)."""
    interval = "" if np.isnan(row.low) else f" ({row.low:.2f} to {row.high:.2f})"
    return f"{row.ratio:.2f} times{interval}"
