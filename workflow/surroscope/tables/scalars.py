"""Tables of the numbers that sum a checkpoint up, and the verdict on them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd

from surroscope.diagnostics import bootstrap
from surroscope.diagnostics.scalars import SCALARS, Measured
from surroscope.diagnostics.verdict import Estimate, verdict
from surroscope.tables import published

# One-step errors by epoch, from the history of training: column -> what it is.
ONE_STEP = {
    "validation": "one-step SMSE on validation trajectories",
    "persistence": "SMSE of predicting no change",
    "train": "one-step SMSE on training transitions, mean of the epoch",
}
DESCRIPTIONS = ONE_STEP | {name: scalar.description for name, scalar in SCALARS.items()}
POSITIVE = np.array([True for _ in ONE_STEP] + [scalar.positive for scalar in SCALARS.values()])


def checkpoints(by_epoch: Mapping[int, Measured], history: pd.DataFrame) -> pd.DataFrame:
    """One row a checkpoint: every scalar of each seed at each probed epoch."""
    rows = []
    for epoch, m in by_epoch.items():
        for seed in dict.fromkeys(m.seeds.tolist()):
            of_seed = m.take(np.flatnonzero(m.seeds == seed))
            at = history[(history.epoch == epoch) & (history.seed == seed)].iloc[0]
            one_step = {name: float(at[name]) for name in ONE_STEP}
            values = {name: scalar.value(of_seed) for name, scalar in SCALARS.items()}
            rows.append({"seed": seed, "epoch": epoch} | one_step | values | {"n_probes": len(of_seed.seeds)})
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Sampled:
    """Every number of a model, or of one less another: of all units (K,), and in each bootstrap draw (DRAWS, K)."""

    estimate: np.ndarray
    draws: np.ndarray
    counts: dict[str, int]

    def __sub__(self, other: "Sampled") -> "Sampled":
        """The difference in each draw, which takes the same seeds and probe batches of both."""
        with np.errstate(invalid="ignore"):  # of two that are infinite there is none
            return replace(self, estimate=self.estimate - other.estimate, draws=self.draws - other.draws)

    def table(self, positive: np.ndarray | bool) -> pd.DataFrame:
        """A row a number, with its 95 % interval; none for what a study cannot have (a lag beyond its times)."""
        low, high = bootstrap.ends(self.estimate, self.draws, self.counts["n_seeds"], positive)
        about = pd.DataFrame({"name": DESCRIPTIONS.keys(), "value": self.estimate, "low": low, "high": high})
        about["description"] = list(DESCRIPTIONS.values())
        about["n_probes"] = np.where(about["name"].isin(ONE_STEP), np.nan, self.counts["n_probes"])
        return about.assign(n_seeds=self.counts["n_seeds"]).dropna(subset="value")


def sampled(m: Measured, history: pd.DataFrame, epoch: int) -> Sampled:
    """Every number of one model at one epoch."""
    at = history[history.epoch == epoch]
    errors = at[list(ONE_STEP)].to_numpy(float)

    def every(units: np.ndarray) -> np.ndarray:
        part = m.take(units)
        return np.array([scalar.value(part) for scalar in SCALARS.values()])

    one_step = bootstrap.sample(lambda seeds: np.median(errors[seeds], axis=0), at["seed"].to_numpy())
    estimate, draws = (np.concatenate(p, axis=-1) for p in zip(one_step, bootstrap.sample(every, m.seeds), strict=True))
    return Sampled(estimate, draws, m.counts)


def main_numbers(numbers: Mapping[str, Sampled], system: str, architectures: Mapping[str, str]) -> pd.DataFrame:
    """Every number of every model with what was published of it; then of each two models, the first less the second."""
    tables = []
    for model, of_model in numbers.items():
        table = of_model.table(POSITIVE)
        published_ends = [published.ends(system, architectures.get(model, ""), name) for name in table["name"]]
        table[["published_low", "published_high"]] = published_ends
        table.insert(0, "model", model)
        tables.append(table)
    for first, second in combinations(numbers, 2):
        table = (numbers[first] - numbers[second]).table(positive=False)
        table.insert(0, "model", f"{first} - {second}")
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def conclusion(of_model: Sampled, m: Measured) -> dict[str, str]:
    """`label` and `sentence` of the verdict that a model's main numbers support."""
    rows = of_model.table(POSITIVE).set_index("name")[list(Estimate._fields)]
    half_life, transfer = (Estimate(*rows.loc[name]) for name in ("half_life", "class_transfer_ratio"))
    validation, persistence = (float(rows.loc[name, "value"]) for name in ("validation", "persistence"))
    label, sentence = verdict(half_life, transfer, validation, persistence, reach=len(m.lags["intra"]) // 2)
    return {"label": label, "sentence": sentence}
