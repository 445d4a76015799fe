"""The response of a network end to end: derivatives, known symmetries of influence, small steps, and controls."""

from collections.abc import Callable, Iterator

import dask.array as da
import numpy as np
import pytest
import torch
from cases import (
    CASES,
    FIELDS,
    OBSERVABLES,
    Problem,
    generic,
    gradients,
    jacobian,
    metric,
    problem,
    relative,
    tangents,
    transitions,
    weights,
)
from torch import Tensor, nn

from surroscope.cost_function import Observable, smse
from surroscope.influence import krylov
from surroscope.influence.gram import gram
from surroscope.influence.linearize import Linearization
from surroscope.influence.normalize import standard
from surroscope.influence.span import solve_span
from surroscope.models import unet

DAMPING = 1e-2

networks = pytest.mark.parametrize("name", CASES)


def in_span(p: Problem, function: Observable = smse, damping: float = DAMPING, share: float = 0.0) -> np.ndarray:
    g = gradients(p.linear, function, p.x, p.y)
    k = (g @ g.T).numpy()
    return p.span(g, share).influence(k, k, damping)


def in_full(p: Problem, function: Observable = smse, damping: float = DAMPING) -> np.ndarray:
    g = gradients(p.linear, function, p.x, p.y)
    (found,) = krylov.solve(p.metric, g, len(g), dampings=[damping], tolerance=1e-9, max_iterations=60)
    return found.influence


SOLVERS = {"span": in_span, "full": in_full}
solvers = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)


@networks
def test_taking_derivatives_leaves_the_network_as_it_was(name: str) -> None:
    case = CASES[name]
    network = generic(case.build())
    x, y = transitions(2, case.size)
    before = {key: (id(parameter), parameter.detach().clone()) for key, parameter in network.named_parameters()}
    predicted = network(x)
    linear = Linearization(network)
    g = gradients(linear, smse, x, y)
    tangents(linear, x, g)
    metric(linear, x, g)
    linear.predict({key: 2 * parameter for key, parameter in linear.parameters.items()}, x)
    assert list(before) == [key for key, _ in network.named_parameters()]
    for key, parameter in network.named_parameters():
        assert (id(parameter), True) == (before[key][0], torch.equal(parameter, before[key][1])), key
    assert torch.equal(network(x), predicted)


@pytest.mark.parametrize(("chunk", "samples"), [(1, 1), (4, 2), (5, 5), (100, 100)])
@pytest.mark.parametrize("name", ["convolution", "attention block", "frozen weights", "UNet"])
def test_derivatives_do_not_depend_on_how_the_batch_is_divided(name: str, chunk: int, samples: int) -> None:
    p = problem(name)
    g = p.rows("smse")
    j = jacobian(p.linear, p.x)
    assert torch.allclose(gradients(p.linear, smse, p.x, p.y, chunk=chunk), g, rtol=1e-12, atol=1e-14)
    found = tangents(p.linear, p.x, g, chunk=chunk, samples=samples).flatten(1).numpy()
    assert np.allclose(found, g.numpy() @ j.T, rtol=1e-10, atol=1e-12)
    found = metric(p.linear, p.x, g, chunk=chunk, samples=samples).numpy()
    assert np.allclose(found, g.numpy() @ p.eta, rtol=1e-10, atol=1e-12)


@networks
def test_forward_and_reverse_products_are_adjoint(name: str) -> None:
    p = problem(name)
    draw = torch.Generator().manual_seed(7)
    v, u = (torch.randn(shape, generator=draw, dtype=torch.float64) for shape in ((3, p.linear.size), p.x.shape))
    # Jᵀ u is the gradient of ⟨ŷ, u⟩.
    transposed = gradients(p.linear, lambda prediction, target, state: (prediction * target).sum((-3, -2, -1)), p.x, u)
    forward = tangents(p.linear, p.x, v)
    assert torch.allclose(forward.flatten(1) @ u.flatten(), v @ transposed.sum(0), rtol=1e-12)
    product = p.metric(v)
    assert torch.allclose(product @ v.T, forward.flatten(1) @ forward.flatten(1).T / p.x.numel(), rtol=1e-12)


@networks
def test_pseudo_targets_give_the_gradients_of_any_cost(name: str) -> None:
    # Tools that know only ½ mean (ŷ - t)² take t = ŷ - n ∂C/∂ŷ, with n = F Y X, the outputs of one sample.
    p = problem(name)

    def half_mean_square(prediction: Tensor, target: Tensor, state: Tensor) -> Tensor:
        return (prediction - target).square().mean((-3, -2, -1)) / 2

    for observable, function in OBSERVABLES.items():
        prediction = p.linear.predict(p.linear.parameters, p.x).detach()
        targets = prediction - p.x[0].numel() * weights(function, p.linear, p.x, p.y)
        found = gradients(p.linear, half_mean_square, p.x, targets)
        assert relative(found.numpy(), p.rows(observable).numpy()) < 1e-12


@solvers
def test_a_linear_model_has_the_influence_derived_by_hand(solver: Callable[..., np.ndarray]) -> None:
    # ŷ = A x, so that ∂ŷ_o / ∂A_oi = x_i: J_nᵀ w = w x_nᵀ and η = I ⊗ S with S = Σ_n x_n x_nᵀ / M. A gradient is
    # w_i x_iᵀ with w = ∂C/∂ŷ, which gives H_ji = (w_j · w_i) x_jᵀ (S + λ)⁻¹ x_i in all parameters, and in the span
    # K = (w_j · w_i)(x_j · x_i), B = (w_j · w_i) x_jᵀ S x_i, H = K (B + λ K)⁻¹ K.
    samples, size = 5, FIELDS * 4
    layer = nn.Linear(size, size, bias=False)
    x, y = transitions(samples, 2)
    p = Problem(generic(nn.Sequential(nn.Flatten(), layer, nn.Unflatten(1, (FIELDS, 2, 2)))), x, y)
    a, flat, target = layer.weight.detach().numpy(), x.flatten(1).numpy(), y.numpy()
    error = (flat @ a.T).reshape(target.shape) - target
    rms = np.sqrt((target**2).mean((-2, -1), keepdims=True))
    w = (2 * error / (rms + 1e-6) / size).reshape(samples, size)
    s = flat.T @ flat / (samples * size)
    k, b = (w @ w.T) * (flat @ flat.T), (w @ w.T) * (flat @ s @ flat.T)
    expected = {
        "span": k @ np.linalg.solve(b + DAMPING * k, k),
        "full": (w @ w.T) * (flat @ np.linalg.solve(s + DAMPING * np.eye(size), flat.T)),
    }
    assert relative(expected["span"], expected["full"]) > 1e-3
    (name,) = (name for name, each in SOLVERS.items() if each is solver)
    assert relative(solver(p), expected[name]) < 1e-8


@solvers
def test_a_cost_c_times_as_large_has_c_squared_the_influence(solver: Callable[..., np.ndarray]) -> None:
    p = problem("convolution")
    found = solver(p, lambda *fields: 3 * smse(*fields))
    assert relative(found, 9 * solver(p)) < 1e-8


@solvers
def test_influence_follows_a_permutation_of_the_batch(solver: Callable[..., np.ndarray]) -> None:
    p = problem("convolution")
    order = np.random.default_rng(0).permutation(len(p.x))
    found = solver(Problem(p.linear.network, p.x[order], p.y[order]))
    assert relative(found, solver(p)[np.ix_(order, order)]) < 1e-8


@solvers
def test_a_twin_has_the_influence_of_its_twin_and_a_batch_of_twins_that_of_the_batch(
    solver: Callable[..., np.ndarray],
) -> None:
    one = solver(problem("duplicated sample"))
    assert np.allclose(one[0], one[-1], rtol=1e-8)
    assert np.allclose(one[:, 0], one[:, -1], rtol=1e-8)
    # The metric is a mean over the batch, which the same batch again leaves as it is.
    p = problem("convolution")
    found = solver(Problem(p.linear.network, torch.cat([p.x, p.x]), torch.cat([p.y, p.y])))
    assert relative(found, np.tile(solver(p), (2, 2))) < 1e-8


@solvers
def test_a_shift_by_the_total_stride_of_a_periodic_unet_leaves_influence(solver: Callable[..., np.ndarray]) -> None:
    torch.manual_seed(0)
    network = generic(unet.build(FIELDS, 8, width=2, stages=2, kernels=(3, 3, 1), heads=1, blocks=1))
    x, y = transitions(3, 8)
    plain = solver(Problem(network, x, y), damping=1.0)
    for shift, same in (((4, 0), True), ((8, 4), True), ((1, 0), False), ((0, 2), False)):
        moved = (torch.roll(part, shift, dims=(-2, -1)) for part in (x, y))
        changed = relative(solver(Problem(network, *moved), damping=1.0), plain)
        assert changed < 1e-9 if same else changed > 1e-3, shift


def steps(p: Problem, perturbation: str, definition: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """For every observable as response: (response, (η + λ)⁻¹ g of each step (P, N), H[response, perturbation]).

    definition: in which space (η + λ)⁻¹ is taken
    """
    n, count = len(p.x), len(OBSERVABLES)
    rows = p.rows(perturbation, *OBSERVABLES)
    if definition == "full":
        (found,) = krylov.solve(p.metric, rows, n, dampings=[DAMPING], tolerance=1e-6, max_iterations=60)
        yield from zip(
            OBSERVABLES, [p.steps(rows[:n], DAMPING)] * count, np.split(found.influence[n:], count), strict=True
        )
        return
    for response in OBSERVABLES:
        g = p.rows(response)
        spanning = rows[:n] if definition == "span of the perturbation" else p.rows(perturbation, response)
        span = p.span(spanning)
        perturbations, responses = ((part @ spanning.T).numpy() for part in (rows[:n], g))
        yield (
            response,
            spanning.numpy().T @ span.coefficients(perturbations, DAMPING),
            span.influence(responses, perturbations, DAMPING),
        )


@pytest.mark.parametrize("definition", ["span of the perturbation", "span of both", "full"])
@pytest.mark.parametrize("name", ["convolution", "frozen weights", "ViT"])
def test_a_small_step_changes_every_observable_by_minus_h_times_influence(name: str, definition: str) -> None:
    p = problem(name)
    size = float(torch.cat([parameter.flatten() for parameter in p.linear.parameters.values()]).norm())
    for perturbation in OBSERVABLES:
        for response, directions, influence in steps(p, perturbation, definition):
            measured = np.empty_like(influence)
            for i, direction in enumerate(torch.from_numpy(directions.T.copy())):
                h = 1e-5 * size / float(direction.norm())
                after = []
                for sign in (1, -1):
                    change = p.linear.unflatten(-sign * h * direction[None])
                    moved = {key: value + change[key][0] for key, value in p.linear.parameters.items()}
                    after.append(OBSERVABLES[response](p.linear.predict(moved, p.x), p.y, p.x))
                measured[:, i] = (after[0] - after[1]).numpy() / (2 * h)
            within = {"rtol": 1e-2, "atol": 1e-4 * np.abs(influence).max()}
            assert np.allclose(measured, -influence, **within), (perturbation, response)
            # Between two observables H is not symmetric: rows and columns cannot have changed places unseen.
            if perturbation != response:
                assert not np.allclose(measured, -influence.T, **within), (perturbation, response)


def test_single_precision_passes_with_double_contractions_stay_close_to_the_oracle() -> None:
    p = problem("convolution")
    x, y = p.x.float(), p.y.float()
    g = gradients(p.single, smse, x, y)
    t = tangents(p.single, x, g).flatten(1)
    k, b = (gram(da.from_array(a.numpy(), chunks=(-1, 7))).compute() for a in (g, t))
    found = solve_span(k, b / t.shape[1], discarded_share=1e-4).influence(k, k, 1e-6)
    g64 = p.rows("smse")
    k64 = (g64 @ g64.T).numpy()
    assert relative(found, p.span(g64, 1e-4).influence(k64, k64, 1e-6)) < 3e-5


@pytest.mark.parametrize("width", [1, 7, 50, 10_000])
def test_gram_does_not_depend_on_the_chunks(width: int) -> None:
    rows = np.random.default_rng(0).normal(size=(5, 300)).astype(np.float32)
    expected = rows.astype(np.float64) @ rows.astype(np.float64).T
    found = gram(da.from_array(rows, chunks=(2, width))).compute(scheduler="threads", num_workers=2)
    assert np.allclose(found, expected, rtol=1e-13)
    again = gram(da.from_array(rows, chunks=(2, width))).compute(scheduler="synchronous")
    assert np.array_equal(found, again)


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
    x, y = probe(times, classes, lambda s: torch.roll(s, 1, dims=-1) + 0.1 * s.flip(1))
    y[:, -1] = x[:, -1]
    h = standard(in_span(Problem(TimeIndexed(times).double(), x, y), damping=1e-6)).reshape(
        classes, times, classes, times
    )
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
    h = standard(in_span(Problem(network, x, y), damping=1e-6, share=1e-4)).reshape(classes, times, classes, times)
    own = np.stack([h[c, :, c, :] for c in range(classes)])
    at = {lag: np.median(np.diagonal(own, offset=-lag, axis1=1, axis2=2)) for lag in (0, 4, 8)}
    assert at[8] > 0.4 * at[0]
    other = np.median([h[a, :, b, :] for a in range(classes) for b in range(classes) if a != b])
    assert other > 0.2 * at[0]
