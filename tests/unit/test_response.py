"""The response engine against dense float64 linear algebra, finite differences and controls whose answer is known."""

from collections.abc import Callable

import dask.array as da
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from surroscope.observables import Observable, observable, smse
from surroscope.response import subspace
from surroscope.response.gram import gram
from surroscope.response.linearize import Linearization
from surroscope.response.standardize import standardize
from surroscope.system import COMPRESSIBLE_EULER

SAMPLES, FIELDS, SIZE = 6, 4, 4
EXACT = {"discarded_share": 0.0, "damping": 1e-6}


def circular_network(channels: int = FIELDS) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 3, 3, padding=1, padding_mode="circular"),
        nn.SiLU(),
        nn.Conv2d(3, channels, 3, padding=1, padding_mode="circular"),
    )


def dense_network() -> nn.Module:
    size = FIELDS * SIZE * SIZE
    return nn.Sequential(
        nn.Flatten(), nn.Linear(size, 5), nn.Tanh(), nn.Linear(5, size), nn.Unflatten(1, (FIELDS, SIZE, SIZE))
    )


def partly_frozen() -> nn.Module:
    network = circular_network()
    network[0].weight.requires_grad_(False)
    return network


NETWORKS = {"convolution": circular_network, "dense": dense_network, "partly frozen": partly_frozen}


@pytest.fixture(params=NETWORKS)
def linear(request: pytest.FixtureRequest) -> Linearization:
    torch.manual_seed(0)
    return Linearization(NETWORKS[request.param]().double())


def states(samples: int = SAMPLES, fields: int = FIELDS, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return tuple(1 + 0.3 * torch.randn(samples, fields, SIZE, SIZE, generator=draw, dtype=dtype) for _ in range(2))


def jacobian(linear: Linearization, x: Tensor) -> np.ndarray:
    """Dense J by reverse mode, (N, outputs, P): an independent way to the tangents."""
    rows = torch.func.jacrev(lambda parameters: linear.predict(parameters, x))(linear.parameters)
    blocks = [rows[name].reshape(len(x), -1, p.numel()) for name, p in linear.parameters.items()]
    return torch.cat(blocks, dim=-1).numpy()


def gradients(linear: Linearization, function: Observable, x: Tensor, y: Tensor) -> Tensor:
    return linear.gradients(function, x, y, chunk=4)


def grams(linear: Linearization, g: Tensor, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    t = linear.tangents(x, g, chunk=4).flatten(1).numpy()
    return (g @ g.T).numpy(), t @ t.T / t.shape[1]


def dense_span_influence(bra: np.ndarray, ket: np.ndarray, span: np.ndarray, j: np.ndarray) -> np.ndarray:
    """The definition: project on an orthonormal basis Q of the gradients' span, invert the projected metric."""
    q = np.linalg.svd(span.T, full_matrices=False)[0][:, : np.linalg.matrix_rank(span)]
    rows = j.reshape(-1, j.shape[-1])
    metric = (rows @ q).T @ (rows @ q) / len(rows) + EXACT["damping"] * np.eye(q.shape[1])
    return (bra @ q) @ np.linalg.solve(metric, (ket @ q).T)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_gradients_equal_a_loop_of_backward_passes(linear: Linearization) -> None:
    x, y = states()
    for sample, row in enumerate(gradients(linear, smse, x, y)):
        loss = smse(linear.network(x[sample : sample + 1]), y[sample : sample + 1], x[sample : sample + 1]).sum()
        trainable = [p for p in linear.network.parameters() if p.requires_grad]
        expected = torch.cat([part.flatten() for part in torch.autograd.grad(loss, trainable)])
        assert torch.allclose(row, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("chunk", "samples"), [(1, 1), (4, 2), (6, 6), (100, 100)])
def test_tangents_equal_the_dense_jacobian_whatever_the_chunks(linear: Linearization, chunk: int, samples: int) -> None:
    x, y = states()
    g = gradients(linear, smse, x, y)
    expected = np.einsum("nop,ip->ino", jacobian(linear, x), g.numpy())
    found = linear.tangents(x, g, chunk=chunk, samples=samples).numpy()
    assert np.allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_influence_equals_the_dense_oracle_and_is_symmetric_positive(linear: Linearization) -> None:
    x, y = states()
    g = gradients(linear, smse, x, y)
    response = subspace.respond(*grams(linear, g, x), **EXACT)
    expected = dense_span_influence(g.numpy(), g.numpy(), g.numpy(), jacobian(linear, x))
    assert relative(response.influence, expected) < 1e-8
    assert relative(response.influence, response.influence.T) < 1e-12
    eigenvalues = np.linalg.eigvalsh(response.influence)
    assert eigenvalues.min() > -1e-10 * eigenvalues.max()


@pytest.mark.parametrize("name", ["mass", "energy"])
def test_cross_influence_equals_the_dense_oracle_in_the_joint_span(linear: Linearization, name: str) -> None:
    x, y = states()
    ket, bra = (gradients(linear, observable(part, COMPRESSIBLE_EULER), x, y) for part in ("smse", name))
    both = torch.cat([ket, bra])
    rows = np.arange(SAMPLES)
    found, _ = subspace.cross(*grams(linear, both, x), rows + SAMPLES, rows, **EXACT)
    expected = dense_span_influence(bra.numpy(), ket.numpy(), both.numpy(), jacobian(linear, x))
    assert relative(found, expected) < 1e-5


def test_single_precision_passes_with_double_contractions_stay_within_1e_5_of_the_oracle() -> None:
    torch.manual_seed(0)
    network = circular_network()
    x, y = states(dtype=torch.float32)
    g = gradients(Linearization(network), smse, x, y)
    t = Linearization(network).tangents(x, g, chunk=4).flatten(1)
    k, b = (gram(da.from_array(a.numpy(), chunks=(-1, 7))).compute() for a in (g, t))
    found = subspace.respond(k, b / t.shape[1], discarded_share=1e-4, damping=1e-6).influence
    exact = Linearization(network.double())
    g64 = gradients(exact, smse, x.double(), y.double())
    expected = subspace.respond(*grams(exact, g64, x.double()), discarded_share=1e-4, damping=1e-6).influence
    assert relative(found, expected) < 1e-5


@pytest.mark.parametrize("name", ["smse", "mass", "energy"])
def test_a_small_step_changes_every_observable_by_minus_h_times_influence(linear: Linearization, name: str) -> None:
    x, y = states()
    function = observable(name, COMPRESSIBLE_EULER)
    ket, bra = gradients(linear, smse, x, y), gradients(linear, function, x, y)
    span = ket if name == "smse" else torch.cat([ket, bra])
    rows = np.arange(SAMPLES)
    place = rows if name == "smse" else rows + SAMPLES
    influence, response = subspace.cross(*grams(linear, span, x), place, rows, **EXACT)
    for i in range(SAMPLES):
        direction = torch.from_numpy(response.coefficients[:, i]) @ span
        h = 1e-5 * float(torch.cat([p.flatten() for p in linear.parameters.values()]).norm() / direction.norm())
        changed = []
        for sign in (1, -1):
            step = linear.unflatten(-sign * h * direction[None])
            moved = {key: p + step[key][0] for key, p in linear.parameters.items()}
            changed.append(function(linear.predict(moved, x), y, x))
        measured = (changed[0] - changed[1]).numpy() / 2
        assert np.allclose(measured, -h * influence[:, i], rtol=1e-2, atol=1e-4 * h * np.abs(influence[:, i]).max())


def test_influence_scales_with_the_square_of_the_cost_and_follows_a_permutation() -> None:
    torch.manual_seed(0)
    linear = Linearization(circular_network().double())
    x, y = states()
    g = gradients(linear, smse, x, y)
    k, b = grams(linear, g, x)
    plain = subspace.respond(k, b, **EXACT).influence
    assert relative(subspace.respond(9 * k, 9 * b, **EXACT).influence, 9 * plain) < 1e-9
    order = np.random.default_rng(0).permutation(SAMPLES)
    cut = np.ix_(order, order)
    assert relative(subspace.respond(k[cut], b[cut], **EXACT).influence, plain[cut]) < 1e-9


def test_a_duplicated_sample_has_the_influence_of_its_twin() -> None:
    torch.manual_seed(0)
    linear = Linearization(circular_network().double())
    x, y = (torch.cat([part, part[:1]]) for part in states())
    response = subspace.respond(*grams(linear, gradients(linear, smse, x, y), x), **EXACT)
    assert response.rank == SAMPLES
    assert np.allclose(response.influence[0], response.influence[-1], rtol=1e-8)


@pytest.mark.parametrize("width", [1, 7, 50, 10_000])
def test_gram_does_not_depend_on_the_chunks(width: int) -> None:
    rows = np.random.default_rng(0).normal(size=(5, 1000)).astype(np.float32)
    expected = rows.astype(np.float64) @ rows.astype(np.float64).T
    found = gram(da.from_array(rows, chunks=(2, width))).compute(scheduler="threads", num_workers=2)
    assert np.allclose(found, expected, rtol=1e-13)
    again = gram(da.from_array(rows, chunks=(2, width))).compute(scheduler="synchronous")
    assert np.array_equal(found, again)


def test_the_rank_cut_keeps_the_share_that_it_promises() -> None:
    squares = np.array([1.0, 0.1, 1e-3, 1e-5, 1e-6])
    cut = subspace.respond(np.diag(squares), np.eye(5), discarded_share=1e-4, damping=1e-6)
    assert cut.rank == 3
    assert cut.discarded_share == pytest.approx(1.1e-5 / squares.sum())


def test_bad_matrices_are_refused() -> None:
    broken = np.eye(3)
    broken[1, 1] = np.nan
    with pytest.raises(ValueError, match="row 1"):
        subspace.respond(broken, np.eye(3), **EXACT)
    with pytest.raises(ValueError, match="zero"):
        subspace.respond(np.zeros((3, 3)), np.eye(3), **EXACT)
    with pytest.raises(ValueError, match="no variance"):
        standardize(np.ones((2, 3, 3)))


def test_standardised_rows_have_unit_spread() -> None:
    h = np.random.default_rng(0).normal(size=(4, 6, 6))
    spread = standardize(h).std(axis=-1, ddof=1)
    assert np.allclose(spread, 1, atol=1e-5)


class TimeIndexed(nn.Module):
    """Memorisation by construction: the last channel says the time, and each time has weights of its own."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(times, 2, 2))

    def forward(self, x: Tensor) -> Tensor:
        time = x[:, -1:, :1, :1]
        indicator = (time.flatten(1) == torch.arange(len(self.weights))).to(x.dtype)
        mixed = torch.einsum("bt,tij,bjyx->biyx", indicator, self.weights, x[:, :2])
        return torch.cat([mixed, x[:, 2:]], dim=1)


def probe(times: int, classes: int, step: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Class-major transitions of `classes` trajectories under an evolution `step`; the last channel is the time."""
    draw = torch.Generator().manual_seed(3)
    fields = torch.randn(classes, 2, 8, 8, generator=draw, dtype=torch.float64)
    path = [fields]
    for _ in range(times):
        path.append(step(path[-1]))
    stack = torch.stack(path, dim=1)
    label = torch.arange(times + 1, dtype=torch.float64).view(1, -1, 1, 1, 1).expand(classes, -1, 1, 8, 8)
    stack = torch.cat([stack, label], dim=2)
    return stack[:, :-1].flatten(0, 1), stack[:, 1:].flatten(0, 1)


def test_negative_control_weights_of_their_own_per_time_give_no_influence_across_times() -> None:
    times, classes = 5, 3
    torch.manual_seed(0)
    linear = Linearization(TimeIndexed(times).double())
    x, y = probe(times, classes, lambda s: torch.roll(s, 1, dims=-1) + 0.1 * s.flip(1))
    y[:, -1] = x[:, -1]
    h = subspace.respond(*grams(linear, gradients(linear, smse, x, y), x), **EXACT).influence
    h = standardize(h).reshape(classes, times, classes, times)
    same = np.eye(times, dtype=bool)[None, :, None, :]
    assert np.abs(np.where(same, h, 0)).max() > 1
    assert (np.where(same, 0, h) == 0).all()


def test_positive_control_one_shared_circular_convolution_learning_advection_gives_broad_influence() -> None:
    times, classes = 12, 3
    torch.manual_seed(0)
    network = nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular", bias=False).double()
    x, y = (part[:, :2] for part in probe(times, classes, lambda s: 0.5 * (s + torch.roll(s, 1, dims=-1))))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        smse(network(x), y, x).mean().backward()
        optimizer.step()
    linear = Linearization(network)
    h = subspace.respond(*grams(linear, gradients(linear, smse, x, y), x), discarded_share=1e-4, damping=1e-6).influence
    h = standardize(h).reshape(classes, times, classes, times)
    own = np.stack([h[c, :, c, :] for c in range(classes)])
    at = {lag: np.median(np.diagonal(own, offset=-lag, axis1=1, axis2=2)) for lag in (0, 4, 8)}
    assert at[8] > 0.4 * at[0]
    other = np.median([h[a, :, b, :] for a in range(classes) for b in range(classes) if a != b])
    assert other > 0.2 * at[0]
