"""What differs between finished studies: main numbers, paired where they looked at the same data, and settings."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from surroscope.runtime import store
from surroscope.tables import coupling, influence, scalars
from surroscope.tables.reading import read_csv
from surroscope.tables.scalars import Sampled

# Sections of a configuration that say which transitions are looked at.
SAME = ("seeds", "split", "probe")
# What provenance.json says of a study.
Record = Mapping[str, Any]
# (system, model) -> study -> its numbers, with the draws of their intervals.
Numbers = Mapping[tuple[str, str], Mapping[str, Sampled]]


def numbers(folder: Path, record: Record) -> dict[tuple[str, str], Sampled]:
    """(system, model) -> main numbers at the last epoch that was probed, from the stores of a finished study.

    Raises UserError where a store is missing, and DamagedStoreError where one is not what was written.
    """
    config, found = record["config"], {}
    for system, chosen in config["systems"].items():
        for model, network in chosen["models"].items():
            last = network["probe_epochs"][-1]
            seeds = [folder / system / model / f"seed{seed}" for seed in config["seeds"]]
            opened = {
                name: [store.read(seed / f"epoch{last}" / f"{name}.zarr").load() for seed in seeds]
                for name in ("influence", "evaluation", "coupling")
            }
            matrices = [dataset.isel(solver=0) for dataset in opened["influence"]]
            leave_out = config["influence"]["shared_lags"] == "leave out"
            shared = influence.first_of(matrices) if leave_out else 0
            found[system, model] = scalars.sampled(
                influence.measured(list(zip(matrices, opened["evaluation"], strict=True)), system, shared),
                pd.concat([read_csv(seed / "history.csv") for seed in seeds], ignore_index=True),
                last,
                {w: coupling.coupled(opened["coupling"], w, shared) for w in ("trained", "untrained")},
            )
    return found


def paired(one: Record, other: Record, system: str) -> bool:
    """Whether two studies looked at the same transitions with the same seeds, so that draws of theirs can be paired."""
    configs, digests = [], []
    for record in (one, other):
        config = record["config"]
        configs.append([[config[key] for key in SAME], config["coupling"].get("probes")])
        stores = {Path(path).name: held["digest"] for path, held in record["stores"].items() if is_data(path, system)}
        digests.append(stores)
    return configs[0] == configs[1] and digests[0] == digests[1] != {}


def is_data(path: str, system: str) -> bool:
    return "store" in Path(path).parts and Path(path).parent.name == system


def table(found: Numbers, records: Mapping[str, Record]) -> pd.DataFrame:
    """A row a number of a network of a study; and, of each later study that has the network, one of the difference.

    Columns `less` names the study that is subtracted ("" where none is) and `paired` whether each draw of the
    interval takes the same seeds and probe batches of both; if not, the draws of the two are independent.
    """
    rows = []
    for (system, model), of_studies in found.items():
        first, *others = of_studies
        for study, own in of_studies.items():
            rows.append(own.table().assign(system=system, model=model, study=study, less="", paired=False))
        for study in others:
            base, own = of_studies[first], of_studies[study]
            together = paired(records[first], records[study], system) and base.first == own.first
            if not together:
                shuffled = np.random.default_rng(0).permutation(len(base.draws))
                base = replace(base, draws=base.draws[shuffled])
            apart = (own - base).table()
            rows.append(apart.assign(system=system, model=model, study=study, less=first, paired=together))
    keys = ["system", "model", "name", "study", "less", "paired"]
    whole = pd.concat(rows, ignore_index=True)
    return whole[[*keys, *(column for column in whole if column not in keys)]]


def flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value of everything that is not a mapping."""
    if not isinstance(settings, Mapping) or not settings:
        return {prefix: settings}
    joined = (flat(value, f"{prefix}.{key}" if prefix else str(key)) for key, value in settings.items())
    return {key: value for part in joined for key, value in part.items()}


def settings(records: Mapping[str, Record]) -> pd.DataFrame:
    """A row a key of the configuration in which the studies differ, a column a study; "–" where one has no such key."""
    every = {study: flat({k: v for k, v in r["config"].items() if k != "study"}) for study, r in records.items()}
    names = dict.fromkeys(name for of in every.values() for name in of)
    rows = {name: {study: str(of.get(name, "–")) for study, of in every.items()} for name in names}
    apart = {name: row for name, row in rows.items() if len(set(row.values())) > 1}
    return pd.DataFrame.from_dict(apart, orient="index", columns=list(every))
