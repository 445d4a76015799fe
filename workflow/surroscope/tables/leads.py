"""Tables of a network that is told how far to predict: influence between starts and lead times, and its errors."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from surroscope.diagnostics import coherence
from surroscope.influence.coupling import normalized
from surroscope.tables.influence import pooled, seeds_of

SIDE = ("lead", "time")


def of_model(datasets: Sequence[xr.Dataset]) -> dict[str, pd.DataFrame]:
    """Influence of (c, t, dt) on (c, τ, dt') over classes c, batches and seeds, and errors at each lead; seeds pooled.

    Influence is H[j, i] / sqrt(H[j, j] H[i, i]), the cosine of the two steps: errors grow with the lead time, and steps
    with them, which is not to count.
    """
    seeds = seeds_of(datasets)
    dims = [f"{kind}_{axis}" for kind in ("response", "perturbation") for axis in ("class", "lead", "time")]
    raw = pooled(datasets, "influence", *dims)
    size = int(np.prod(raw.shape[1:4]))
    h = np.stack([normalized(matrix, 0.5) for matrix in raw.reshape(-1, size, size)]).reshape(raw.shape)
    same = np.einsum("ncabcde->ncabde", h)
    leads, times = (datasets[0][axis].values.tolist() for axis in SIDE)
    counts = {"n_seeds": len(set(seeds.tolist())), "n_probes": datasets[0].sizes["probe"]}
    rows = []
    for a, b, d, e in np.ndindex(same.shape[2:]):
        response = {"response_lead": leads[a], "response_time": times[b]}
        step = {"perturbation_lead": leads[d], "perturbation_time": times[e]}
        rows.append(response | step | coherence.summary(same[:, :, a, b, d, e], seeds) | counts)
    errors = [
        {"kind": kind, "lead": lead} | coherence.summary(values[:, number], seeds, positive=True) | counts
        for kind, name in (("network", "error"), ("persistence", "persistence"))
        for values in [pooled(datasets, name, "lead", "class", "time")]
        for number, lead in enumerate(leads)
    ]
    found = {"leads": pd.DataFrame(rows), "leads_error": pd.DataFrame(errors)}
    for table in found.values():
        table.insert(0, "model", datasets[0].attrs["model"])
    return found
