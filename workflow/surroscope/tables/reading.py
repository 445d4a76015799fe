"""Tables are read back with the names in them as they were written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

# pandas would make numbers, truth values and gaps of names such as 1, 1e-3, 007, true and NA.
TEXT = frozenset(
    {
        *(
            "action",
            "arms",
            "class",
            "classes",
            "cut",
            "description",
            "kind",
            "label",
            "left_out",
            "level",
            "likelier",
            "measure",
            "metric",
            "model",
            "name",
            "normalization",
        ),
        *("outcome", "score", "seeds", "tested"),
        *("observable", "predictor", "quantity", "relation", "role", "statistic", "step", "system", "weights"),
        *("channel", "response_channel", "perturbation_channel"),
        *("response_class", "perturbation_class", "test_class", "train_class"),
    }
)


def labels_of(models: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Network -> what a study calls it, from the networks of a system in its configuration."""
    return {name: network.get("label") or name for name, network in models.items()}


def called(table: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """A table with labels for the names of models, those of differences, a - b, too."""
    if "model" not in table or not labels:
        return table
    names = {name: " - ".join(labels.get(part, part) for part in name.split(" - ")) for name in table["model"].unique()}
    return table.assign(model=table["model"].map(names))


def read_csv(path: Path) -> pd.DataFrame:
    """A table of this package: names (TEXT) are text, whatever they look like, and an empty cell is missing."""
    return pd.read_csv(path, dtype=dict.fromkeys(TEXT, str), keep_default_na=False, na_values=[""])
