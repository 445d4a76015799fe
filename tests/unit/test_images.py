"""What a checkpoint does at the images of its samples under symmetries, and in rollouts, stage by stage on disk."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from response_study import CLASSES, DAMPING, SAMPLES, SINGLE, SIZE, SNAPSHOTS, Study, build, contracted, relative

from surroscope.config import jobs
from surroscope.cost_function import smse
from surroscope.data import transitions
from surroscope.influence.linearize import Linearization
from surroscope.influence.normalize import standard
from surroscope.models import surrogate
from surroscope.runtime import store
from surroscope.stages import evaluate, influence, orbits
from surroscope.symmetry import Action
from surroscope.system import COMPRESSIBLE_EULER
from surroscope.tables.parts import images

ACTIONS = ["e", "r", "s", "x3", "x1y2"]
MODEL = {"model": "net", "seed": 1, "epoch": 2}


@pytest.fixture(scope="module")
def looked_at(study: Study, shards: list[Path]) -> xr.Dataset:
    """Influence of two probe batches, with that on the images of the first one's samples."""
    settings = jobs.Orbits(**study.common | {"probes": [0], "actions": ACTIONS, "responses": []})
    orbits.stage(settings, **study.inputs, orbits=study.folder / "orbits.zarr")
    path = study.folder / "images.zarr"
    influence.stage(
        jobs.Influence(
            solvers=["subspace"],
            span="perturbation",
            modes=1,
            discarded_share=0.0,
            damping=DAMPING,
            damping_scale="absolute",
        ),
        grams=contracted(study, *shards),
        orbits=study.folder / "orbits.zarr",
        influence=path,
    )
    return store.read(path).load()


@pytest.fixture(scope="module")
def flown(study: Study) -> xr.Dataset:
    made = {key: study.common[key] for key in ("system", "equations", "boundary", "factory", "options")}
    settings = jobs.Evaluate(**made | MODEL | {"probes": 2, "snapshots": SNAPSHOTS, "actions": ACTIONS})
    evaluate.stage(settings, **study.inputs, evaluation=study.folder / "evaluation.zarr")
    return store.read(study.folder / "evaluation.zarr").load()


@pytest.mark.parametrize("name", ["e", "r", "x1y2"])
def test_influence_on_images_equals_dense_algebra(study: Study, looked_at: xr.Dataset, name: str) -> None:
    g, j = study.exact(("test", 0))
    network = build(4, SIZE)
    surrogate.load_weights(network, study.weights, 2)
    (probe,) = transitions.probes(study.stores, study.split, [("test", 0)], SNAPSHOTS)
    moved = [
        Action.parse(name)(torch.from_numpy(part).double(), COMPRESSIBLE_EULER)
        for part in (probe.inputs, probe.targets)
    ]
    responses = Linearization(network.double()).gradients(smse, *moved).numpy()
    q = np.linalg.qr(g.T)[0]
    rows = j.reshape(-1, j.shape[-1])
    metric = q.T @ (rows.T @ rows / len(rows)) @ q + DAMPING * np.eye(q.shape[1])
    expected = (responses @ q) @ np.linalg.solve(metric, (g @ q).T)
    found = looked_at["image_influence"].sel(image_probe=0, action=name).values.reshape(SAMPLES, SAMPLES)
    # Nearly dependent gradients amplify an error of single precision in an image's, which does not lie among them.
    assert relative(found, expected) < 20 * SINGLE


def test_a_convolution_sees_no_difference_between_a_state_and_its_shifted_image(
    looked_at: xr.Dataset, flown: xr.Dataset
) -> None:
    h, error = looked_at["image_influence"], flown["image_error"]
    for shift in ("x3", "x1y2"):
        assert relative(h.sel(action=shift).values, h.sel(action="e").values) < SINGLE
        assert relative(error.sel(action=shift).values, error.sel(action="e").values) < 1e-6
    for turned in ("r", "s"):
        assert relative(h.sel(action=turned).values, h.sel(action="e").values) > 0.01
        assert relative(error.sel(action=turned).values, error.sel(action="e").values) > 0.01


def test_influence_on_the_sample_itself_is_the_diagonal_of_the_matrix(looked_at: xr.Dataset) -> None:
    (table,) = images([looked_at.isel(solver=0)]).values()
    own = looked_at["influence"].isel(solver=0, response=0).sel(probe=0).values.reshape(1, SAMPLES, SAMPLES)
    row = table.set_index("action").loc["e"]
    assert row["median"] == pytest.approx(np.median(np.diagonal(standard(own)[0])), rel=1e-4)
    assert (row["n_seeds"], row["n_probes"]) == (1, 1)
    assert np.isnan(row["low"])  # one probe batch has no interval
    assert table[["shift_x", "shift_y"]].values.tolist() == [[0, 0], [0, 0], [0, 0], [3, 0], [1, 2]]
    assert not images([looked_at.drop_vars("image_influence")])


def test_an_evaluation_holds_rollouts_of_every_start_and_their_fields(study: Study, flown: xr.Dataset) -> None:
    assert flown["image_error"].sizes == {"action": 5, "class": 2, "probe": 2, "time": 3}
    assert [str(name) for name in flown["class"].values] == CLASSES
    network = build(4, SIZE)
    surrogate.load_weights(network, study.weights, 2)
    by_class = transitions.by_class(study.stores, study.split, "test", subset=slice(2))
    state = torch.from_numpy(by_class["CE-CRP"][1])  # snapshots of probe 1
    with torch.no_grad():
        after = network(network(state[:1]))[0]
    error = float(smse(after[None], state[2:3], state[2:3]))
    at = flown.sel({"class": "CE-CRP"}).isel(probe=1)
    assert float(at["error"][0, 2]) == pytest.approx(error, rel=1e-4)
    assert np.isnan(at["error"][1, 1])
    total, first = after.mean(dim=(-2, -1)), state[0].mean(dim=(-2, -1))
    drift = (total - first).abs() / state.abs().mean(dim=(0, -2, -1))
    expected = drift[[COMPRESSIBLE_EULER.channels.index(name) for name in COMPRESSIBLE_EULER.conserved]]
    np.testing.assert_allclose(at["drift"][1], expected, rtol=1e-4)
    fields = flown["prediction"].sel({"class": "CE-RP"})
    assert np.array_equal(fields[0], flown["truth"].sel({"class": "CE-RP"})[0])
    assert not np.allclose(fields[1], flown["truth"].sel({"class": "CE-RP"})[1])


def test_a_system_that_conserves_nothing_has_no_drift(study: Study) -> None:
    made = {key: study.common[key] for key in ("system", "boundary", "factory", "options")}
    nothing = replace(COMPRESSIBLE_EULER, conserved=(), positive=())
    settings = jobs.Evaluate(
        **made | MODEL | {"equations": nothing, "probes": 1, "snapshots": SNAPSHOTS, "actions": ["e"]}
    )
    evaluate.stage(settings, **study.inputs, evaluation=study.folder / "still.zarr")
    assert store.read(study.folder / "still.zarr")["drift"].sizes["conserved"] == 0
