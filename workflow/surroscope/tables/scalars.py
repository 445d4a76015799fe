"""Tables of the numbers that sum a checkpoint up, and the verdict on them."""

from collections.abc import Mapping

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


def main_numbers(m: Measured, history: pd.DataFrame, epoch: int, system: str, architecture: str) -> pd.DataFrame:
    """Every scalar at one epoch over all seeds, with its 95 % interval and what was published of it."""
    at = history[history.epoch == epoch]
    rows = []
    for name, text in ONE_STEP.items():
        values = at[name].to_numpy(float)
        low, high = bootstrap.median_interval(values, at["seed"].to_numpy(), positive=True)
        rows.append({"name": name, "value": np.median(values), "low": low, "high": high, "description": text})

    def every(units: np.ndarray) -> np.ndarray:
        part = m.take(units)
        return np.array([scalar.value(part) for scalar in SCALARS.values()])

    ends = bootstrap.interval(every, m.seeds, np.array([scalar.positive for scalar in SCALARS.values()]))
    for (name, scalar), value, low, high in zip(SCALARS.items(), every(np.arange(len(m.seeds))), *ends, strict=True):
        rows.append(
            {"name": name, "value": value, "low": low, "high": high}
            | {"description": scalar.description, "n_probes": m.counts["n_probes"]}
        )
    # A number that this study cannot have (a lag beyond its times) has no row.
    table = pd.DataFrame(rows).dropna(subset="value").assign(n_seeds=m.counts["n_seeds"])
    table["published_low"], table["published_high"] = zip(
        *(published.ends(system, architecture, name) for name in table["name"]), strict=True
    )
    return table


def conclusion(main: pd.DataFrame, m: Measured) -> dict[str, str]:
    """`label` and `sentence` of the verdict that the main numbers support."""
    numbers = main.set_index("name")[list(Estimate._fields)]
    half_life, transfer = (Estimate(*numbers.loc[name]) for name in ("half_life", "class_transfer_ratio"))
    validation, persistence = (float(numbers.loc[name, "value"]) for name in ("validation", "persistence"))
    label, sentence = verdict(half_life, transfer, validation, persistence, reach=len(m.lags["intra"]) // 2)
    return {"label": label, "sentence": sentence}
