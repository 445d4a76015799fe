"""Is my run right? Main numbers of studies that ship with Surroscope, beside those of a run of the same settings."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

FILE = Path(__file__).with_suffix(".csv")
# What of a configuration no number depends on.
APART = ("study", "figures", "systems")
TOLD = 4


class Number(Protocol):
    """A row of scalars.csv."""

    @property
    def model(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> float: ...


def key(config: Mapping[str, Any], system: str) -> str:
    """Of all settings that the numbers of a system depend on, 16 hexadecimal digits."""
    chosen = config["systems"][system]
    models = {
        model: {name: value for name, value in of.items() if name != "label"} for model, of in chosen["models"].items()
    }
    used = {name: value for name, value in config.items() if name not in APART}
    used["system"] = chosen | {"models": models}
    return hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()[:16]


def told(config: Mapping[str, Any], system: str, found: Iterable[Number]) -> str:
    """How many numbers of a run lie within the intervals of the shipped run of its settings; "" where there is none."""
    known = pd.read_csv(FILE, dtype={"key": str})
    known = known[(known["key"] == key(config, system)) & (known["system"] == system)]
    if known.empty:
        return ""
    by = known.drop_duplicates(["model", "name"]).set_index(["model", "name"])
    within, same, outside = 0, 0, []
    for number in found:
        if (number.model, number.name) not in by.index:
            continue
        row = by.loc[(number.model, number.name)]
        # An end of an interval is as exact as the number.
        slack = 1e-3 * abs(row["value"]) if isfinite(row["value"]) else 0.0
        if row["low"] - slack <= number.value <= row["high"] + slack or number.value == row["value"]:
            within += 1
        else:
            name = number.name.replace("_", " ")
            outside.append(
                f"{number.model}, {name}: {number.value:.3g} (shipped {row['low']:.3g} to {row['high']:.3g})"
            )
        same += f"{number.value:.3g}" == f"{row['value']:.3g}"
    more = f" and {len(outside) - TOLD} more" * (len(outside) > TOLD)
    tail = f"; outside: {'; '.join(outside[:TOLD])}{more}" if outside else ""
    return (
        f"{within} of {within + len(outside)} main numbers lie within the 95 % intervals of the run of these settings "
        f"that ships with Surroscope, {same} are the same to three digits{tail}. Between kinds of processors and "
        "versions of libraries digits differ; what leaves the intervals needs a reason."
    )
