"""What a network shares between inputs, against dense algebra in float64."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from surroscope.config import sections
from surroscope.diagnostics.coupling import SCALARS, relative
from surroscope.influence import coupling
from surroscope.influence.linearize import FIXED, Linearization, Method
from surroscope.influence.responses import MATRIX
from surroscope.tables.coupling import coupled

STATES = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
OUTPUTS = 18


def network(channels: int = 2) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(channels, 3, 3, padding=1), nn.SiLU(), nn.Conv2d(3, channels, 3, padding=1)
    return nn.Sequential(*layers).double()


def gram_of(linear: Linearization, states: torch.Tensor, draws: torch.Tensor, method: Method) -> np.ndarray:
    rows = torch.cat([block for state in states for _, block in linear.pullbacks(state, draws, method)])
    n, d = len(states), len(draws)
    return (rows @ rows.T).numpy().reshape(n, d, n, d)


def jacobians(linear: Linearization) -> np.ndarray:
    """(N, outputs, P), a row of it at a time."""
    basis = torch.eye(OUTPUTS, dtype=torch.float64).reshape(OUTPUTS, *STATES.shape[1:])
    return torch.stack([torch.cat([b for _, b in linear.pullbacks(s, basis, FIXED["cpu"])]) for s in STATES]).numpy()


@pytest.fixture(scope="module")
def linear() -> Linearization:
    return Linearization(network())


@pytest.fixture(scope="module")
def dense(linear: Linearization) -> np.ndarray:
    return jacobians(linear)


def normal(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *STATES.shape[1:], generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("tangents", ["vmap", "double_backward"])
def test_pullbacks_are_the_transposed_jacobian(linear: Linearization, tangents: str) -> None:
    draws = normal(5)
    rows = torch.cat([b for _, b in linear.pullbacks(STATES[0], draws, Method(tangents=tangents, sample_chunk=2))])
    leaves = {name: p.clone().requires_grad_() for name, p in linear.parameters.items()}
    prediction = linear.predict(leaves, STATES[:1])[0]
    for row, draw in zip(rows, draws, strict=True):
        expected = torch.autograd.grad((prediction * draw).sum(), list(leaves.values()), retain_graph=True)
        torch.testing.assert_close(row, torch.cat([part.flatten() for part in expected]), rtol=1e-10, atol=1e-12)


def test_coupling_and_matched_transfer_are_dense_norms_and_traces(linear: Linearization, dense: np.ndarray) -> None:
    """Within four of the stated standard errors, and within a tenth; with and without the metric."""
    count, noise = 240, 0.05
    gram = gram_of(linear, STATES, normal(count), FIXED["cpu"])
    white = np.arange(count)
    found = [
        coupling.measures(gram, draws, draws, noises=[noise], shape=(2, 2)) for draws in coupling.replicates(white)
    ]
    metric = np.einsum("nop,noq->pq", dense, dense) / len(dense)
    largest = np.linalg.eigvalsh(metric)[-1]
    kernels = [
        np.einsum("jop,pq,iuq->jiou", dense, inverse, dense)
        for inverse in (np.eye(len(metric)), np.linalg.inv(metric + noise * largest * np.eye(len(metric))))
    ]
    for number, kernel in enumerate(kernels):
        norms = np.linalg.norm(kernel, axis=(2, 3))
        kappa = norms / np.sqrt(np.outer(np.diagonal(norms), np.diagonal(norms)))
        traces = np.einsum("jioo->ji", kernel)
        rho = traces / np.sqrt(np.outer(np.diagonal(traces), np.diagonal(traces)))
        for name, exact in (("coupling", kappa), ("matched_white", rho)):
            values = np.stack([one[name][number] for one in found])
            error = np.abs(values[0] - exact)
            assert error.max() < 0.1
            assert (error <= 4 * coupling.standard_error(values) + 0.02).all()


def test_the_stated_error_is_that_of_so_few_draws_as_are_usual(linear: Linearization, dense: np.ndarray) -> None:
    """Of many sets of draws four in five are within two stated errors of the dense value, not far too large."""
    count, sets = sections.Coupling().draws, 40
    kernel = np.einsum("jop,iup->jiou", dense, dense)
    norms, traces = np.linalg.norm(kernel, axis=(2, 3)), np.einsum("jioo->ji", kernel)
    exact = {
        "coupling": norms / np.sqrt(np.outer(norms.diagonal(), norms.diagonal())),
        "matched_white": traces / np.sqrt(np.outer(traces.diagonal(), traces.diagonal())),
    }
    grams = [gram_of(linear, STATES, normal(count, seed), FIXED["cpu"]) for seed in range(sets)]
    for name, value in exact.items():
        off, errors, stated = ~np.eye(len(value), dtype=bool), [], []
        for gram in grams:
            found = np.stack(
                [
                    coupling.measures(gram, draws, draws, noises=[1.0], shape=(2, 2))[name][0]
                    for draws in coupling.replicates(np.arange(count))
                ]
            )
            errors.append((found[0] - value)[off])
            stated.append(coupling.standard_error(found)[off])
        within = np.mean(np.abs(errors) < 2 * np.array(stated))
        assert within > 0.8, (name, within)
        assert np.mean(stated) < 2 * np.std(errors), name


def test_explained_share_is_that_of_dense_regression(linear: Linearization, dense: np.ndarray) -> None:
    """Draws that are the whole basis leave no sampling error."""
    basis = np.sqrt(OUTPUTS) * torch.eye(OUTPUTS, dtype=torch.float64).reshape(OUTPUTS, *STATES.shape[1:])
    gram = gram_of(linear, STATES, basis, FIXED["cpu"])
    draws, labels, noise = np.arange(OUTPUTS), np.array([0, 0, 1, 1]), 0.3
    found = coupling.explained(gram, draws, draws, labels, noise)
    metrics = [np.einsum("nop,noq->pq", dense[labels == g], dense[labels == g]) / 2 for g in (0, 1)]
    for b, observed in enumerate(metrics):
        left = np.linalg.inv(observed / noise + np.eye(len(observed)))
        for a, asked in enumerate(metrics):
            assert found[a, b] == pytest.approx(1 - np.trace(asked @ left) / np.trace(asked), rel=1e-9)


def test_the_damped_kernel_is_woodburys(linear: Linearization) -> None:
    draws = normal(6)
    rows = torch.stack([torch.cat([b for _, b in linear.pullbacks(s, draws, FIXED["cpu"])]) for s in STATES]).numpy()
    gram = np.einsum("nkp,mlp->nkml", rows, rows)
    metric = np.einsum("nkp,nkq->pq", rows[:, :3], rows[:, :3]) / 12 + 0.2 * np.eye(rows.shape[2])
    expected = np.einsum("nkp,pq,mlq->nkml", rows, np.linalg.inv(metric), rows)
    np.testing.assert_allclose(coupling.damped(gram, np.arange(3), 0.2), expected, rtol=1e-8, atol=1e-9)


class Split(nn.Module):
    """Two networks, one for states whose first cell is positive: they share no parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([network(), network()])

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        positive = (states[:, :1, :1, :1] > 0).to(states.dtype)
        return positive * self.parts[0](states) + (1 - positive) * self.parts[1](states)


def measured(linear: Linearization, states: torch.Tensor, scale: float = 1.0) -> dict[str, np.ndarray]:
    draws = torch.cat([normal(8), scale * normal(4, seed=1)])
    gram = gram_of(linear, states, draws, FIXED["cpu"])
    return coupling.measures(gram, np.arange(8), np.arange(8, 12), noises=[0.01], shape=(2, 2))


def test_an_input_is_wholly_coupled_to_itself_and_disjoint_parameters_are_not() -> None:
    states = STATES.clone()
    states[:, 0, 0, 0] = torch.tensor([1.0, 1.0, -1.0, -1.0])
    found = measured(Linearization(Split()), states)
    for name in ("coupling", "matched_white", "matched_residual"):
        for values in found[name]:
            np.testing.assert_allclose(np.diagonal(values), 1.0, rtol=1e-9)
            assert (values[:2, 2:] == 0).all()
            assert (values[2:, :2] == 0).all()
            assert values[0, 1] != 0
    shares = relative(found["explained_class"])[0]
    assert shares[0, 1] == shares[1, 0] == 0
    assert (np.diagonal(shares) == 1).all()


def test_the_size_of_residuals_changes_nothing(linear: Linearization) -> None:
    once, thousandfold = measured(linear, STATES), measured(linear, STATES, scale=1e3)
    for name in coupling.MEASURES:
        np.testing.assert_allclose(once[name], thousandfold[name], rtol=1e-9)


def test_training_changes_nothing_of_a_network_that_is_linear_in_its_parameters() -> None:
    layer = nn.Conv2d(2, 2, 3, padding=1).double()
    before = measured(Linearization(layer), STATES)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    after = measured(Linearization(layer), STATES)
    for name in coupling.MEASURES:
        np.testing.assert_array_equal(before[name], after[name])


def test_the_jackknife_gives_the_standard_error_of_a_mean() -> None:
    draws = np.random.default_rng(0).normal(size=8)
    values = np.array([draws[chosen].mean() for chosen in coupling.replicates(np.arange(8))])
    groups = draws.reshape(4, 2).mean(axis=1)
    assert coupling.standard_error(values) == pytest.approx(groups.std(ddof=1) / 2)


CLASSES, TIMES, NOISES = ["a", "b"], 3, [0.01, 0.1]


def stored(seed: int, untrained: bool = True) -> xr.Dataset:
    """What the stage writes of two probe batches, the untrained network in the first of them alone."""
    random = np.random.default_rng(seed)
    shape, between = (2 if untrained else 1, 2, 1 + coupling.JACKKNIFE), (2, TIMES, 2, TIMES)
    lead = ("weights", "probe", "replicate")
    variables = {}
    for name in coupling.MEASURES:
        axis = ("noise", 2) if name == "explained" else ("metric", 3)
        variables[name] = ((*lead, axis[0], *MATRIX), random.uniform(0.1, 1, size=(*shape, axis[1], *between)))
    for name, size in (("class", 2), ("window", TIMES), ("group", 2 * TIMES)):
        values = random.uniform(0.1, 1, size=(*shape, 2, size, size))
        variables[f"explained_{name}"] = ((*lead, "noise", name, f"{name}_too"), values)
    for name in ("alignment", "distance"):
        variables[name] = (("weights", "probe", *MATRIX), random.uniform(0.1, 1, size=(*shape[:2], *between)))
    weights = ["trained", "untrained"][: shape[0]]
    dataset = xr.Dataset(variables, {"weights": weights, "probe": [0, 1], "noise": NOISES}, attrs={"seed": seed})
    return dataset.where((dataset["weights"] == "trained") | (dataset["probe"] == 0))


def test_units_are_the_probe_batches_of_all_seeds_and_replicates_stand_beside_them() -> None:
    datasets = [stored(1), stored(2)]
    whole, *without = coupled(datasets, "trained")
    assert whole.seeds.tolist() == [1, 1, 2, 2]
    assert len(without) == coupling.JACKKNIFE
    expected = datasets[1]["explained_class"].sel(weights="trained", probe=1, replicate=2, noise=0.1).values
    np.testing.assert_array_equal(without[1].explained_class[3, 1], expected)
    untrained = coupled(datasets, "untrained")[0]
    assert untrained.seeds.tolist() == [1, 2]
    assert np.isfinite(untrained.explained).all()
    assert coupled([stored(1, untrained=False)], "untrained") == []


def test_a_scalar_of_the_kernel_is_the_median_it_says() -> None:
    whole = coupled([stored(1), stored(2)], "trained")[0]
    own = whole.explained_class[:, 0]
    pairs = [np.median(own[:, a, b] / own[:, a, a]) for a, b in ((0, 1), (1, 0))]
    assert SCALARS["kernel_transfer_class"].value(whole) == pytest.approx(np.median(pairs))
    assert SCALARS["kernel_transfer_class_least"].value(whole) == pytest.approx(np.mean(pairs))
    windows = whole.explained_window[:, 0]
    ways = (windows[:, 0, -1] / windows[:, 0, 0] + windows[:, -1, 0] / windows[:, -1, -1]) / 2
    assert SCALARS["kernel_transfer_time"].value(whole) == pytest.approx(np.median(ways))
    assert np.isnan(SCALARS["coupling_lag_8"].value(whole))
    assert whole.take(np.array([2, 2])).seeds.tolist() == [2, 2]
