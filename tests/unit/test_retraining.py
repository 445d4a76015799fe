"""Trainings without groups: which there are, what they give where the answer is known, and the statistics of them."""

from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from response_study import Study
from test_project import ROOT

from surroscope.config import jobs
from surroscope.diagnostics import retraining
from surroscope.runtime import store
from surroscope.stages import retrain
from surroscope.tables.retraining import bank

SPLIT = {"factory": "surroscope.models.controls:split_convolution", "options": {"groups": 2, "kernel": 3}}
# Of two classes and three times, each a window.
GROUPS = [(ic, time, time) for ic in ("CE-RP", "CE-CRP") for time in range(3)]


def config(**retraining: Any) -> dict[str, Any]:
    found = yaml.safe_load((ROOT / "config.yaml").read_text())
    return found | {"retraining": {"seeds": [10, 35], "models": ["unet"]} | retraining}


def trained(study: Study, member: str, left_out: list[tuple[str, int, int]], **changes: Any) -> xr.Dataset:
    made = {key: study.common[key] for key in ("system", "boundary", "model", "seed", "snapshots")} | SPLIT
    rule = {"epochs": 3, "save_epochs": [], "learning_rate": 1e-2, "batch": 6}
    path = study.folder / f"{member}.zarr"
    settings = jobs.Retrain(**made | rule | {"member": member, "left_out": left_out} | changes)
    retrain.stage(settings, stores=study.stores, split=study.split, retrained=path)
    return store.read(path).load()


@pytest.fixture(scope="module")
def separable(study: Study) -> list[xr.Dataset]:
    """A network of one convolution a class: all, without each group, and without the first class."""
    without = {f"without_{ic}_{time}": [(ic, time, time)] for ic, time, _ in GROUPS}
    left_out = {"all": []} | without | {"class_CE-RP": [("CE-RP", 0, 2)]}
    return [trained(study, member, found) for member, found in left_out.items()]


def test_what_shares_nothing_is_exactly_block_diagonal(separable: list[xr.Dataset]) -> None:
    found = bank(separable)
    errors = np.stack([found.error[name] for name in found.named("without")])
    effect = retraining.effects(errors, found.error["all"], found.window)
    assert effect.shape == (1, 6, 6)
    between = retraining.relations(2, 3)["between classes"]
    assert (effect[0][between] == 0).all()
    assert (effect[0][~between] != 0).all()
    # Without a whole class it is as untrained there, but for the decay of its weights, and as ever at the other.
    first, second = (found.error["class_CE-RP"][:, c] / found.error["all"][:, c] for c in (0, 1))
    assert (second == 1).all()
    assert (first > 1).all()
