"""A network that is told the class, from its training through every stage that looks at it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from response_study import CHANNELS, CLASSES, RESPONSES, SAMPLES, SIZE, SNAPSHOTS, Study, contracted, retrained

from surroscope.config import jobs
from surroscope.models import surrogate
from surroscope.runtime import store
from surroscope.stages import coupling, evaluate, full, gradients, influence, orbits

MODEL = {
    "factory": "surroscope.models.controls:dial",
    "options": {"share": 0.0, "by": "class", "groups": 2, "width": 4},
}
SOLVERS = ["subspace", "euclidean", "cosine", "adam"]


@pytest.fixture(scope="module")
def told(study: Study) -> Study:
    """The study with a dial of which nothing is shared between the classes, trained for two epochs."""
    return retrained(study, "told", **MODEL)


def between(matrix: np.ndarray) -> np.ndarray:
    """Between the two classes: (..., C, T, C, T) to what is not within one."""
    return np.stack([matrix[..., 0, :, 1, :], matrix[..., 1, :, 0, :]])


def solved(told: Study) -> xr.Dataset:
    shard = told.folder / "told.zarr"
    settings = told.common | MODEL | {"responses": RESPONSES, "span": "perturbation", "every": 1}
    gradients.stage(
        jobs.Gradients(**settings | {"batches": [("test", 0)], "directions": []}), **told.inputs, shard=shard
    )
    assert store.read(shard)["state"].shape == (1, SAMPLES, CHANNELS, SIZE, SIZE)
    path = told.folder / "told_influence.zarr"
    rules = {"span": "perturbation", "discarded_share": 1e-4, "damping": 1e-6, "damping_scale": "absolute", "modes": 3}
    influence.stage(jobs.Influence(solvers=SOLVERS, **rules), grams=contracted(told, shard), influence=path)
    return store.read(path).load()


def test_every_solver_gives_exactly_nothing_between_classes_that_share_nothing(told: Study) -> None:
    found = solved(told)
    assert (between(found["influence"].values) == 0).all()
    own = found["influence"].isel(response=0).values
    assert (np.einsum("spctct->spct", own) > 0).all()
    history = pd.read_csv(told.folder / "history.csv")
    assert history["train"].iloc[-1] < history["train"].iloc[0]


def test_so_do_iterations_images_and_the_kernel(told: Study) -> None:
    settings = told.common | MODEL
    options = {"dampings": [1e-2], "damping_scale": "absolute", "tolerance": 1e-2, "max_iterations": 20}
    path = told.folder / "told_full.zarr"
    chosen = {"probes": [0], "solvers": ["full"], "responses": RESPONSES[:1]}
    full.stage(jobs.Full(**settings | options | chosen), **told.inputs, solved=path)
    h = store.read(path)["influence"].values
    assert np.abs(between(h)).max() < 1e-2 * np.abs(h).max()
    path = told.folder / "told_orbits.zarr"
    images = {"probes": [0], "actions": ["e", "x3"], "responses": []}
    orbits.stage(jobs.Orbits(**settings | images), **told.inputs, orbits=path)
    overlap = store.read(path)["overlap"].values.reshape(1, 2, *(len(CLASSES), SNAPSHOTS - 1) * 2)
    assert (between(overlap) == 0).all()
    assert (np.einsum("pactct->pact", overlap) != 0).all()
    path = told.folder / "told_coupling.zarr"
    draws = {"probes": [0], "untrained_probes": 1, "draws": 8, "patterns": 4, "noises": [1e-2], "responses": []}
    coupling.stage(jobs.Coupling(**settings | draws), **told.inputs, coupling=path)
    kappa = store.read(path)["coupling"].isel(metric=0).values
    assert (between(kappa) == 0).all()


def test_a_rollout_goes_on_with_the_parameters_of_its_class(told: Study) -> None:
    made = {key: told.common[key] for key in ("system", "equations", "boundary", "model", "seed", "epoch")}
    path: Path = told.folder / "told_evaluation.zarr"
    settings = jobs.Evaluate(**made | MODEL | {"probes": 1, "snapshots": SNAPSHOTS, "actions": ["e", "x3"]})
    evaluate.stage(settings, **told.inputs, evaluation=path)
    found = store.read(path).load()
    network = surrogate.build(MODEL["factory"], MODEL["options"], shape=(CHANNELS, SIZE, SIZE), seed=1)
    surrogate.load_weights(network, told.weights, 2)
    private = network.network.private
    for number, name in enumerate(CLASSES):
        group = torch.nn.functional.one_hot(torch.tensor([number]), 2).float()
        state = torch.from_numpy(found["truth"].sel({"class": name}).values[:1])
        for step in range(SNAPSHOTS - 1):
            state = private(state, group).detach()
            expected = found["prediction"].sel({"class": name}).values[step + 1]
            np.testing.assert_allclose(state[0], expected, rtol=1e-5, atol=1e-6)
    # Shifts commute with the network and leave the labels as they are.
    own, moved = found["image_error"].values
    np.testing.assert_allclose(moved, own, rtol=1e-4)
