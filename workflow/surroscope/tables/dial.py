"""Tables of control networks: every measure beside what is known to be shared, and how well it orders them."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from surroscope.diagnostics.dial import MEASURES, REVERSED, SHARES, TREATMENTS, ordering, roc
from surroscope.influence.matrices import responses_of
from surroscope.influence.responses import MATRIX, Response
from surroscope.influence.solvers import SOLVERS

# Normalisation and metric of what is a number of the checkpoint as it stands in checkpoints.csv.
CHECKPOINT = "checkpoint"
POOLED = "all"
KEYS = ["kind", "metric", "normalization", "measure"]


def tables(
    matrices: Sequence[xr.Dataset], checkpoints: pd.DataFrame, shares: Mapping[str, Mapping[str, float]]
) -> dict[str, pd.DataFrame]:
    """dial_measures, dial and dial_roc of the models whose shares are known.

    matrices: of every checkpoint, all solvers; checkpoints: one row a checkpoint, every number a column
    shares: model -> {"class", "time" -> the share of the network that all classes, or times, have in common}
    """
    parts = [of_matrix(m) for m in matrices if m.attrs["model"] in shares]
    parts.append(of_checkpoints(checkpoints[checkpoints["model"].isin(list(shares))]))
    values = pd.concat(parts, ignore_index=True)
    known = pd.DataFrame(
        [{"model": model, "kind": k, "share": share} for model, kinds in shares.items() for k, share in kinds.items()]
    )
    measures = known.merge(values, on="model")
    orders, curves = [], []
    for key, rows in measures.groupby(KEYS, sort=False):
        named = dict(zip(KEYS, key, strict=True))
        direction = -1 if named["measure"] in REVERSED else 1
        stages = [(POOLED, rows), *((str(epoch), part) for epoch, part in rows.groupby("epoch"))]
        for epoch, part in stages:
            found = ordering(direction * part["value"].to_numpy(float), part["share"].to_numpy(float))
            orders.append(named | {"epoch": epoch, "direction": direction} | found)
        scored = rows.dropna(subset="value")
        positive = (scored["share"] >= SHARES).to_numpy()
        if positive.any() and not positive.all():
            at, false, true = roc(direction * scored["value"].to_numpy(float), positive)
            curve = pd.DataFrame({"threshold": direction * at, "false_positive": false, "true_positive": true})
            curves.append(curve.assign(**named))
    named_first = [*KEYS, "threshold", "false_positive", "true_positive"]
    curve = pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(columns=named_first)
    return {"dial_measures": measures, "dial": pd.DataFrame(orders), "dial_roc": curve[named_first]}


def of_matrix(checkpoint: xr.Dataset) -> pd.DataFrame:
    """Every measure of one checkpoint's influence of the cost on itself, for every solver and normalisation."""
    cost = checkpoint.isel(response=responses_of(checkpoint).index(Response("smse")))
    rows = []
    for solver in cost["solver"].values:
        raw = cost["influence"].sel(solver=solver).transpose("probe", *MATRIX).values
        size = raw.shape[1] * raw.shape[2]
        for treatment, function in TREATMENTS.items():
            h = function(raw.reshape(-1, size, size)).reshape(raw.shape)
            rows += [
                {"metric": SOLVERS[str(solver)].metric, "normalization": treatment, "measure": name, "value": of(h)}
                for name, of in MEASURES.items()
            ]
    return pd.DataFrame(rows).assign(**{key: checkpoint.attrs[key] for key in ("model", "seed", "epoch")})


def of_checkpoints(checkpoints: pd.DataFrame) -> pd.DataFrame:
    """The numbers of `checkpoints`, a row each."""
    about = ["model", "seed", "epoch"]
    numbers = checkpoints.select_dtypes(np.number).columns.difference([*about, "n_probes"], sort=False)
    long = checkpoints.melt(about, list(numbers), var_name="measure", value_name="value")
    return long.assign(metric=CHECKPOINT, normalization=CHECKPOINT)
