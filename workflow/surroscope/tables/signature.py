"""Every checkpoint of finished studies in one table: how influence and its two factors change as the error falls."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from surroscope.diagnostics.ranks import spearman
from surroscope.tables import published

# Columns taken from a study's table of checkpoints.
ABOUT = ("seed", "epoch", "validation", "persistence")
LAGS = ("intra_class_lag_0", "intra_class_lag_1", "intra_class_lag_8")
KERNEL = (
    *("kernel_transfer_time", "kernel_transfer_class", "explained_class", "explained_lag_8"),
    *("coupling_class", "coupling_lag_8", "matched_white_class", "matched_white_lag_8"),
)
RESIDUALS = ("alignment_class", "alignment_lag_8")
TAKEN = ("half_life", "class_transfer_ratio", "two_time_diagonal", *KERNEL, *RESIDUALS)
# Rank-correlated with the falling error -> how it is called.
CORRELATED = {
    "lag_1_ratio": "signed influence at lag 1 over lag 0",
    "lag_8_ratio": "at lag 8 over lag 0",
    "kernel_transfer_time": "kernel transfer between times",
    "matched_white_lag_8": "matched transfer at lag 8",
    "alignment_lag_8": "alignment of residuals at lag 8",
}
# Of three points one order in three is perfect.
FEWEST = 4


def gathered(tables: Mapping[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """One row a checkpoint. tables: (study, system) -> its table `checkpoints`

    relative_error: validation SMSE over that of predicting no change, which differs between data and between seeds
    lag_1_ratio, lag_8_ratio: median intra-class influence so many steps later over that on the own transition
    """
    parts = []
    for (study, system), table in tables.items():
        about = pd.DataFrame({"study": study, "system": system, "model": table["model"]})
        ratios = {f"lag_{lag}_ratio": table[f"intra_class_lag_{lag}"] / table["intra_class_lag_0"] for lag in (1, 8)}
        error = {"relative_error": table["validation"] / table["persistence"]}
        parts.append(pd.concat([about, table[list(ABOUT)].assign(**error, **ratios), table[list(TAKEN)]], axis=1))
    return pd.concat(parts, ignore_index=True)


def theirs(systems: Iterable[str]) -> pd.DataFrame:
    """What was published of these systems, under the names of `gathered`: a row each for the lower and the upper end.

    The half-life is where the published curve, linear between lags 0 and 1, falls to half: before lag 1, where it was
    published. NaN: not published.
    """
    rows = []
    for system, model in published.SIGNATURE:
        if system not in systems:
            continue
        ends = {name: published.ends(system, model, name) for name in ("validation", "two_time_diagonal", *LAGS)}
        own, others = (published.ends(system, model, name) for name in ("class_diagonal", "class_off_diagonal"))
        for end in (0, 1):
            of = {name: pair[end] for name, pair in ends.items()}
            zero, one, eight = (of.pop(name) for name in LAGS)
            rows.append(
                {"study": published.SOURCE, "system": system, "model": model}
                | of
                | {"lag_1_ratio": one / zero, "lag_8_ratio": eight / zero}
                | {"half_life": zero / 2 / (zero - one)}
                | {"class_transfer_ratio": others[end] / own[1 - end]}
            )
    return pd.DataFrame(rows)


def correlations(table: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation of -log relative_error with each of CORRELATED over a network's trained checkpoints.

    One row a network (study, system, model), its seeds pooled; n_points: how many checkpoints it has. NaN where fewer
    than FEWEST have the number, or all have the same.
    """
    rows = []
    for network, part in table.groupby(["study", "system", "model"], sort=False):
        trained = part[part["epoch"] > 0]
        row = dict(zip(("study", "system", "model"), network, strict=True)) | {"n_points": len(trained)}
        for name in CORRELATED:
            known = trained[["relative_error", name]].dropna().to_numpy(float)
            row[name] = spearman(-known[:, 0], known[:, 1]) if len(known) >= FEWEST else np.nan
        rows.append(row)
    return pd.DataFrame(rows)
