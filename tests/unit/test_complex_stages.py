"""A neural operator, with complex weights and writes into slices, from its training through what linearizes it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from dense_jacobian import jacobian
from kinds_of_networks import Spectral
from response_study import CHANNELS, DAMPING, SAMPLES, SIZE, SNAPSHOTS, Study, contracted, relative, retrained
from torch import Tensor, nn

from surroscope.config import jobs
from surroscope.cost_function import smse
from surroscope.data import transitions
from surroscope.errors import UserError
from surroscope.influence.functional import converted
from surroscope.influence.responses import Response
from surroscope.models import surrogate
from surroscope.runtime import store
from surroscope.stages import coupling, fidelity, full, gradients, influence

MODEL = {"factory": f"{__name__}:operator", "options": {}, "method": "fixed"}
COST = [Response("smse")]


class Operator(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.local = nn.Conv2d(channels, channels, 1)
        self.first, self.second = (Spectral(True, fields=channels) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.local(self.second(torch.tanh(self.first(x))))


def operator(channels: int) -> nn.Module:
    return Operator(channels)


def recurrent(channels: int, size: int) -> nn.Module:
    return Rows(channels * size)


class Rows(nn.Module):
    """Without forward mode in torch: an LSTM along the rows."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.LSTM(width, width, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.transpose(1, 2).flatten(2))[0].unflatten(2, (x.shape[1], -1)).transpose(1, 2)


@pytest.fixture(scope="module")
def trained(study: Study) -> Study:
    return retrained(study, "operator", **{key: MODEL[key] for key in ("factory", "options")})


@pytest.fixture(scope="module")
def exact(trained: Study) -> tuple[np.ndarray, np.ndarray]:
    """G (N, P) and J (N, outputs, P) of the test batch in float64, by plain backward passes."""
    network = surrogate.build(MODEL["factory"], {}, shape=(CHANNELS, SIZE, SIZE), seed=1)
    surrogate.load_weights(network, trained.weights, 2)
    network = converted(network, None, torch.float64)
    (probe,) = transitions.probes(trained.stores, trained.split, [("test", 0)], SNAPSHOTS)
    x, y = (torch.from_numpy(part).double() for part in (probe.inputs, probe.targets))
    j = jacobian(network, x)
    prediction = network(x).detach().requires_grad_()
    (residual,) = torch.autograd.grad(smse(prediction, y, x).sum(), prediction)
    return torch.einsum("nop,no->np", j, residual.flatten(1)).numpy(), j.numpy()


def shard(trained: Study, **changes: object) -> Path:
    path = trained.folder / "operator.zarr"
    settings = trained.common | MODEL | {"responses": COST, "span": "perturbation", "every": 1} | changes
    settings |= {"batches": [("test", 0)], "directions": []}
    gradients.stage(jobs.Gradients(**settings), **trained.inputs, shard=path)
    return path


def response(exact: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    g, j = exact
    rows = j.reshape(-1, j.shape[-1])
    return g @ np.linalg.solve(rows.T @ rows / len(rows) + DAMPING * np.eye(rows.shape[1]), g.T)


def test_no_imaginary_part_is_lost(trained: Study, exact: tuple[np.ndarray, np.ndarray]) -> None:
    path, (g, j) = shard(trained), exact
    found = store.read(path).load()
    assert relative(found["gradients"].values[0], g) < 1e-5
    expected = np.einsum("nop,kp->kno", j, g).reshape(SAMPLES, -1)
    assert relative(found["tangents"].values[0], expected) < 1e-5
    saved = torch.load(surrogate.moments_of(trained.weights, 2), weights_only=True)
    step = saved["optimizer"]["state"]
    parts = [step[number]["exp_avg_sq"] for number in range(len(saved["names"]))]
    squares = torch.cat([(torch.view_as_real(v) if v.is_complex() else v).flatten() for v in parts]).double()
    adam = (squares / (1 - 0.999 ** float(step[0]["step"]))).sqrt() + 1e-8
    np.testing.assert_allclose(found["adam"].values, adam.numpy(), rtol=1e-5)

    rules = {"span": "perturbation", "discarded_share": 0.0, "damping": DAMPING, "damping_scale": "absolute"}
    solved = trained.folder / "operator_influence.zarr"
    solvers = jobs.Influence(solvers=["euclidean", "adam"], modes=3, **rules)
    influence.stage(solvers, grams=contracted(trained, path), influence=solved)
    euclidean, preconditioned = store.read(solved)["influence"].isel(response=0).values.reshape(2, SAMPLES, SAMPLES)
    assert relative(euclidean, g @ g.T) < 1e-5
    assert relative(preconditioned, g @ (g / adam.numpy()).T) < 1e-5


def test_the_response_in_all_parameters_is_that_of_dense_algebra(
    trained: Study, exact: tuple[np.ndarray, np.ndarray]
) -> None:
    options = {"dampings": [DAMPING], "damping_scale": "absolute", "tolerance": 1e-5, "max_iterations": 60}
    chosen = {"probes": [0], "solvers": ["full", "dense"], "responses": COST}
    path = trained.folder / "operator_full.zarr"
    full.stage(jobs.Full(**trained.common | MODEL | options | chosen), **trained.inputs, solved=path)
    found = store.read(path).load()
    assert bool(found["converged"].all())
    for h in found["influence"].values.reshape(2, SAMPLES, SAMPLES):
        assert relative(h, response(exact)) < 1e-5


def test_steps_are_foretold_and_the_kernel_is_measured(trained: Study) -> None:
    rules = {"damping": DAMPING, "damping_scale": "absolute", "discarded_share": 0.0, "responses": COST}
    steps = {"batches": [0], "every": 3, "kinds": ["full", "sgd", "adamw"], "falls": [1e-3], "pbrf": 1}
    steps |= {"full_damping": DAMPING, "tolerance": 1e-6, "max_iterations": 40, "observables": {}}
    path = trained.folder / "operator_fidelity.zarr"
    settings = jobs.Fidelity(**trained.common | MODEL | rules | steps)
    fidelity.stage(settings, **trained.inputs, grams=contracted(trained, shard(trained)), fidelity=path)
    found = store.read(path).load()
    assert found["pbrf_reached"].values.max() <= 1e-6
    draws = {"probes": [0], "untrained_probes": 1, "draws": 8, "patterns": 4, "noises": [1e-2], "responses": []}
    path = trained.folder / "operator_coupling.zarr"
    coupling.stage(jobs.Coupling(**trained.common | MODEL | draws), **trained.inputs, coupling=path)
    kappa = store.read(path)["coupling"].isel(metric=0, probe=0).values
    np.testing.assert_allclose(np.diagonal(kappa.reshape(-1, SAMPLES, SAMPLES), axis1=1, axis2=2), 1, rtol=1e-5)


def test_where_the_fixed_method_has_no_derivative_the_next_is_taken_and_said(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    network, weights = recurrent(CHANNELS, SIZE), study.folder / "recurrent"
    with store.writing(weights, {}) as temporary:
        temporary.mkdir()
        surrogate.save_weights(network, surrogate.weights_of(temporary, 2))
    other = Study(study.folder, study.stores, study.split, weights)
    path = shard(other, factory=f"{__name__}:recurrent")
    said = capsys.readouterr().out
    assert "net on CE: tangents by 'vmap': no derivative of" in said
    assert "'double_backward' is exact and is taken" in said
    assert "tangents='double_backward'" in str(store.manifest(path))
    with pytest.raises(UserError, match=r"net on CE: tangents by 'vmap': .*Set gradients.method to measured"):
        shard(other, factory=f"{__name__}:recurrent", method=study.common["method"])
