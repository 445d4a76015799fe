"""Recompute one checkpoint's conclusions for other quantities, rank cuts and dampings -> a table."""

from pathlib import Path

import pandas as pd

from surroscope.config import jobs
from surroscope.diagnostics import sensitivity
from surroscope.errors import UserError
from surroscope.influence.compute import Rules
from surroscope.influence.matrices import grams_of
from surroscope.runtime import cli, store


def stage(settings: jobs.Sensitivity, *, grams: Path, table: cli.Output, full: Path | None = None) -> None:
    source = store.read(grams).load()
    shape = (source.sizes["class"], source.sizes["time"])
    shared = int(source["time"].values[0]) if settings.shared_lags == "leave out" else 0
    rules = Rules("perturbation", settings.discarded_share, settings.damping, settings.damping_scale)
    probes = [grams_of(source, probe) for probe in settings.probes]
    try:
        variants = [*sensitivity.by_gram(probes, shape[0] * shape[1], rules, settings.dampings, settings.reference)]
        if full is not None:
            variants += sensitivity.in_full_space(store.read(full).load(), rules, settings.reference)
        frame = pd.DataFrame(sensitivity.compared(variants, shape, settings.reference, shared))
    except ValueError as error:
        raise UserError(f"{grams}: {error}") from None
    frame["n_probes"] = len(probes)
    for key in ("seed", "model"):
        frame.insert(0, key, source.attrs[key])
    with store.atomic(table) as temporary:
        frame.to_csv(temporary, index=False)


if __name__ == "__main__":
    cli.run(stage)
