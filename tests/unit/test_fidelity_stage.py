"""The stage that takes real steps, and its tables, on a tiny study on disk."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from response_study import DAMPING, Study, contracted

from surroscope.config import jobs
from surroscope.errors import UserError
from surroscope.influence.responses import Response
from surroscope.models import surrogate
from surroscope.runtime import store
from surroscope.stages import fidelity
from surroscope.tables import fidelity as fidelity_tables

RULES = {"damping": DAMPING, "damping_scale": "absolute", "discarded_share": 0.0, "responses": [Response("smse")]}
STEPS = {"batches": [0], "every": 2, "kinds": ["span", "full", "sgd", "adamw"], "falls": [1e-3, 0.5], "pbrf": 1}
STEPS |= {"full_damping": DAMPING, "tolerance": 1e-6, "max_iterations": 20}


def taken(study: Study, shards: list[Path], **changes: Any) -> Path:
    settings = jobs.Fidelity(**study.common | RULES | STEPS | {"observables": {}} | changes)
    path = study.folder / "fidelity.zarr"
    fidelity.stage(settings, **study.inputs, grams=contracted(study, *shards), fidelity=path)
    return path


def test_small_steps_are_foretold_by_their_own_quantity(study: Study, shards: list[Path]) -> None:
    dataset = store.read(taken(study, shards)).load()
    assert dataset["perturbation"].values.tolist() == [0, 2, 3, 5]
    assert dataset["certificate"].values[0] <= 1e-6
    assert dataset["pbrf_reached"].values.max() <= 1e-6
    g, j = study.exact(("test", 0))
    rows = j.reshape(-1, j.shape[-1])
    whole = rows.T @ rows / len(rows) + DAMPING * np.eye(rows.shape[1])
    h = g @ np.linalg.solve(whole, g.T)
    found = dataset["quantity"].sel(predictor="full").values[0]
    np.testing.assert_allclose(found, h[:, [0, 2, 3, 5]].T, rtol=1e-3, atol=1e-4 * np.abs(h).max())

    tables = fidelity_tables.tables([dataset], "subspace")
    frame = tables["fidelity"]
    assert set(frame["kind"]) == {"span", "full", "sgd", "adamw", "adamw_10", "adamw_own", "adamw_10_own", "pbrf"}
    own = {"span": "span", "full": "full", "sgd": "euclidean", "pbrf": "full"}
    for kind, predictor in own.items():
        at = frame[(frame.kind == kind) & (frame.predictor == predictor) & (frame.fall == 1e-3)]
        at = at[at.relation == "all"].set_index("statistic")["median"]
        assert at["slope"] == pytest.approx(1, abs=0.05), kind
        assert at["spearman"] > 0.7, kind
    assert (frame[frame.fall == 1e-3]["fell"] - 1e-3).abs().max() < 1e-4
    assert (tables["fidelity_pairs"].groupby("kind").size() > 0).all()
    names = tables["scalars"].set_index("name")
    assert {"fidelity_proximal", "fidelity_adamw", "fidelity_adamw_own"} == set(names.index)
    assert names["value"].abs().max() <= 1


def test_units_are_pooled_over_seeds_and_batches(study: Study, shards: list[Path]) -> None:
    one = store.read(taken(study, shards, kinds=["sgd", "adamw"], pbrf=0)).load()
    other = one.assign_attrs(seed=2)
    frame = fidelity_tables.tables([one, other], "euclidean")["fidelity"]
    assert (frame["n_seeds"] == 2).all()
    alone = fidelity_tables.tables([one], "euclidean")["fidelity"]
    pd.testing.assert_series_equal(frame["median"], alone["median"])
    assert frame["low"].notna().all()
    assert alone["low"].isna().all()


def test_weights_of_an_earlier_release_take_no_step_of_adamw(study: Study, shards: list[Path], tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    moments = surrogate.load_moments(study.weights, 2)
    with store.writing(weights, {}) as temporary:
        temporary.mkdir()
        surrogate.weights_of(temporary, 2).write_bytes(surrogate.weights_of(study.weights, 2).read_bytes())
        torch.save(moments, surrogate.moments_of(temporary, 2))
    for name, tensor in surrogate.load_moments(weights, 2).items():
        assert torch.equal(tensor, moments[name])
    with pytest.raises(UserError, match=r"epoch2\.moments\.pt: no first moments.*take adamw out of fidelity\.kinds"):
        surrogate.load_optimizer(weights, 2)
