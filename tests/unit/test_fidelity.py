"""Real steps: as h -> 0 what they do is what influence says, by dense algebra in float64 on a small network."""

from typing import Any

import numpy as np
import pytest
import torch
from kinds_of_networks import Spectral
from torch import Tensor, nn

from surroscope.cost_function import smse
from surroscope.diagnostics import fidelity
from surroscope.influence import steps
from surroscope.influence.functional import as_real, converted
from surroscope.influence.linearize import Linearization
from surroscope.influence.span import solve_span

SAMPLES, DAMPING, SMALL = 6, 1e-2, 1e-5


def convolutions() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.SiLU(), nn.Conv2d(3, 2, 1)).double()


def complex_weights() -> nn.Module:
    return converted(nn.Sequential(Spectral(True), nn.Conv2d(2, 2, 1)), None, torch.float64)


@pytest.fixture
def problem(request: pytest.FixtureRequest) -> tuple[Linearization, Tensor, Tensor, Tensor]:
    """A small network, states, targets, and gradients of every sample."""
    torch.manual_seed(0)
    network = getattr(request, "param", convolutions)()
    states, targets = torch.rand(2, SAMPLES, 2, 4, 4, dtype=torch.float64)
    linear = Linearization(network)
    return linear, states, targets, linear.gradients(smse, states, targets)


def dense_metric(linear: Linearization, states: Tensor) -> Tensor:
    return linear.metric(states, torch.eye(linear.size, dtype=torch.float64))


def changes(linear: Linearization, step: Tensor, states: Tensor, targets: Tensor) -> np.ndarray:
    return steps.costs(linear, step, states, targets) - steps.costs(linear, torch.zeros_like(step), states, targets)


def directions(kind: str, linear: Linearization, states: Tensor, g: Tensor) -> tuple[Tensor, np.ndarray]:
    """z (N, P) of every sample, and H by dense algebra, of a kind of step."""
    eta = dense_metric(linear, states)
    match kind:
        case "sgd":
            return g, (g @ g.T).numpy()
        case "full":
            z, bound, _ = steps.proximal(lambda v: v @ eta, g, damping=DAMPING, tolerance=1e-10, max_iterations=40)
            assert bound < 1e-10
            whole = torch.eye(linear.size, dtype=torch.float64)
            return z, (g @ torch.linalg.solve(eta + DAMPING * whole, g.T)).numpy()
        case _:
            k = (g @ g.T).numpy()
            span = solve_span(k, (g @ eta @ g.T).numpy(), discarded_share=0.0)
            q = torch.linalg.qr(g.T)[0]
            inner = q.T @ eta @ q + DAMPING * torch.eye(SAMPLES, dtype=torch.float64)
            h = (g @ q) @ torch.linalg.solve(inner, (g @ q).T)
            return torch.from_numpy(span.coefficients(k, DAMPING).T.copy()) @ g, h.numpy()


@pytest.mark.parametrize("kind", ["span", "full", "sgd"])
def test_a_small_step_does_what_its_own_quantity_says(kind: str, problem: Any) -> None:
    linear, states, targets, g = problem
    z, h = directions(kind, linear, states, g)
    costs = steps.costs(linear, torch.zeros_like(g[:1]), states, targets)[0]
    errors = []
    for fall in (SMALL, SMALL / 10):
        step = steps.sized(z, g, fall * costs)
        own = (step * g).sum(dim=1).numpy()
        np.testing.assert_allclose(own, -fall * costs, rtol=1e-12)
        predicted = fidelity.predictions(h, own, np.arange(SAMPLES))
        measured = changes(linear, step, states, targets)
        errors.append(np.abs(measured / predicted - 1).max())
    assert errors[0] < 1e-2
    # What is left is of second order, so that it falls with the step.
    assert errors[1] < errors[0] / 5
    assert fidelity.statistics(predicted[0], measured[0])["slope"] == pytest.approx(1, abs=1e-3)


def optimizer(linear: Linearization, rate: float) -> tuple[torch.optim.AdamW, steps.AdamW]:
    """torch's AdamW after some steps on other samples, and the same as it is kept; the network ends where it began."""
    before = {name: p.clone() for name, p in linear.parameters.items()}
    of_torch = torch.optim.AdamW(linear.network.parameters(), lr=rate, weight_decay=0.1)
    for _ in range(3):
        of_torch.zero_grad()
        x = torch.rand(4, 2, 4, 4, dtype=torch.float64)
        smse(linear.network(x), x.flip(0), x).mean().backward()
        of_torch.step()
    with torch.no_grad():
        for name, p in linear.network.named_parameters():
            as_real(p).copy_(before[name])
    return of_torch, steps.AdamW.of(linear, of_torch.state_dict())


@pytest.mark.parametrize("problem", [convolutions, complex_weights], indirect=True)
@pytest.mark.parametrize("count", [1, 10])
def test_steps_of_adamw_are_those_of_torch(count: int, problem: Any) -> None:
    linear, states, targets, _ = problem
    of_torch, kept = optimizer(linear, rate=1e-3)
    step, drift = kept.on_samples(linear, states, targets, count)
    assert drift.shape == (1, linear.size)
    start = linear.flatten({name: p[None].clone() for name, p in linear.parameters.items()})
    for _ in range(count):
        of_torch.zero_grad()
        smse(linear.network(states[2:3]), targets[2:3], states[2:3]).sum().backward()
        of_torch.step()
    end = linear.flatten({name: as_real(p)[None] for name, p in linear.network.named_parameters()})
    assert torch.allclose(step[2], (end - start)[0], rtol=1e-9, atol=1e-14)


def test_a_small_step_of_adamw_does_what_its_preconditioner_says(problem: Any) -> None:
    linear, states, targets, g = problem
    _, kept = optimizer(linear, rate=1e-8)
    # A long history, in which one gradient hardly moves the second moment.
    kept = steps.AdamW(kept.first, kept.second + 1.0, 10**6, kept.rate, kept.decay, (0.9, 1 - 1e-9), 1e-8)
    step, drift = kept.on_samples(linear, states, targets, 1)
    measured = changes(linear, step, states, targets) - changes(linear, drift, states, targets)
    corrected = kept.second / (1 - kept.betas[1] ** kept.made)
    h = (g / (corrected.sqrt() + kept.epsilon) @ g.T).numpy()
    share = (1 - kept.betas[0]) / (1 - kept.betas[0] ** (kept.made + 1))  # of a new gradient in the next step
    np.testing.assert_allclose(measured, -kept.rate * share * h, rtol=1e-4)


def test_the_proximal_problem_becomes_the_full_influence_as_steps_vanish(problem: Any) -> None:
    linear, states, targets, g = problem
    _, h = directions("full", linear, states, g)
    eta = dense_metric(linear, states)
    # A space that does not know all of the metric: the problem is the same, and only the way to its solution is not.
    *_, space = steps.proximal(lambda v: v @ eta, g, damping=DAMPING, tolerance=1e-10, max_iterations=2)
    errors = []
    for fall in (1e-2, 1e-3):
        size = fall * steps.costs(linear, torch.zeros_like(g[:1]), states, targets)[0, 0] / h[0, 0]
        step, reached = steps.response_function(
            linear, states, targets, 0, space, size=size, damping=DAMPING, tolerance=1e-6, max_evaluations=200
        )
        assert reached <= 1e-6
        measured = changes(linear, step[None], states, targets)[0] / size
        errors.append(np.abs(measured + h[0]).max() / np.abs(h[0]).max())
        assert fidelity.statistics(-h[0], measured)["slope"] == pytest.approx(1, abs=5 * fall)
    assert errors[1] < errors[0] / 5


def test_a_transition_without_a_gradient_has_no_step(problem: Any) -> None:
    _, _, _, g = problem
    step = steps.sized(g * torch.tensor([0.0, 1, 1, 1, 1, 1])[:, None], g, np.ones(SAMPLES))
    assert torch.isnan(step[0]).all()
    assert torch.isfinite(step[1:]).all()


def test_predictions_are_scaled_by_the_steps_own_fall_alone() -> None:
    draw = np.random.default_rng(0)
    matrix, own, samples = draw.uniform(1, 2, size=(2, 5)), np.array([-0.1, -0.5]), np.array([0, 3])
    found = fidelity.predictions(matrix, own, samples)
    np.testing.assert_allclose(found[[0, 1], samples], own)
    # A quantity times any number, or another for each step, predicts the same.
    np.testing.assert_allclose(fidelity.predictions(matrix * np.array([[3.0], [7.0]]), own, samples), found)


def test_statistics_of_known_relations() -> None:
    x = np.array([-2.0, -1.0, 0.5, 3.0])
    assert fidelity.statistics(x, 0.5 * x) == {"slope": 0.5, "r2": 1.0, "spearman": 1.0, "sign": 1.0}
    found = fidelity.statistics(x, -(x**3))
    assert (found["spearman"], found["sign"]) == (-1.0, 0.0)
    assert fidelity.statistics(x, np.array([1.0, -1.0, 1.0, -1.0]))["r2"] < 1
    assert np.isnan(fidelity.statistics(x, np.ones(4))["spearman"])
    assert np.isnan(fidelity.statistics(x, np.ones(4))["r2"])


def test_pairs_are_split_by_class_and_by_time_and_leave_out_the_step_itself() -> None:
    classes, times, samples = np.repeat(["a", "b"], 4), np.tile(np.arange(4), 2), np.array([0, 5])
    draw = np.random.default_rng(0)
    predicted = -draw.uniform(1, 2, size=(2, 8))
    measured = predicted.copy()
    # The step's own fall, and what other classes do, tell against the prediction.
    measured[[0, 1], samples] = 100.0
    measured[0, 4:] = -predicted[0, 4:]
    measured[1, :4] = -predicted[1, :4]
    found = {relation: values for relation, values in fidelity.by_relation(samples, classes, predicted, measured)}
    np.testing.assert_allclose(found["intra-class"], 1)
    np.testing.assert_allclose(found["inter-class"][2:], [[-1, -1], [0, 0]])
    lags = {
        (relation, lag): values
        for relation, lag, values in fidelity.by_lag(samples, classes, times, predicted, measured)
    }
    assert set(lags) == {("intra-class", d) for d in (1, 2, 3)} | {("inter-class", d) for d in range(4)}
    assert lags["intra-class", 1][0] == pytest.approx(1)
    assert lags["inter-class", 2][0] == pytest.approx(-1)
