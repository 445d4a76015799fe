"""Real steps of finite size from a network's weights, and what each does to the cost of every sample.

A step δ_i of some kind on sample i changes the cost of sample j by D[i, j] = C_j(θ + δ_i) - C_j(θ), which for small
steps is g_j · δ_i. Proximal steps are δ_i = -h (η + ε)⁻¹ g_i, in the span of a batch's gradients or in all parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surroscope.cost_function import smse
from surroscope.influence.functional import reverse
from surroscope.influence.krylov import Krylov, Metric
from surroscope.influence.linearize import Linearization

HISTORY = 50  # pairs that L-BFGS remembers


def costs(linear: Linearization, steps: Tensor, states: Tensor, targets: Tensor) -> np.ndarray:
    """C_j(θ + δ_i) of every sample j after every step i: steps (I, P), states and targets (N, F, Y, X) to (I, N).

    Predictions are of the precision of the states, their errors are summed in float64. All samples of a step go
    through the network together; steps one after the other, which on processors is as fast as together.
    """
    found = np.empty((len(steps), len(states)))
    with torch.no_grad():
        for row, parameters in enumerate(_moved(linear, steps)):
            predicted = linear.predict(parameters, states)
            found[row] = smse(predicted.double(), targets.double(), states.double()).cpu().numpy()
    return found


def _moved(linear: Linearization, steps: Tensor) -> list[dict[str, Tensor]]:
    """The parameters after each step (I, P)."""
    return [
        {name: linear.parameters[name] + part[0] for name, part in linear.unflatten(step[None]).items()}
        for step in steps
    ]


def proximal(
    metric: Metric, gradients: Tensor, *, damping: float, tolerance: float, max_iterations: int
) -> tuple[Tensor, float]:
    """z_i = (η + ε)⁻¹ g_i in all parameters, (I, P), and the largest certified relative error of g_i · z_i.

    metric, and the iteration: see `krylov`; it ends where that error is `tolerance` or less, or after max_iterations
    """
    space = Krylov(metric, gradients.double(), gradients.dtype)
    space.grow(gradients)
    for iteration in range(max_iterations):
        coefficients = space.coefficients(damping)
        residuals = space.residuals(space.rows, coefficients, damping)
        own = (coefficients * space.components).sum(axis=0)
        # 0 ≤ H_ii - g_i · z_i ≤ ‖r_i‖² / ε
        bound = residuals.square().sum(dim=1).cpu().numpy() / damping / own
        open_ones = torch.from_numpy(bound > tolerance)
        if iteration == max_iterations - 1 or not open_ones.any() or not space.grow(residuals[open_ones]):
            break
    return torch.from_numpy(coefficients.T.copy()).to(space.basis) @ space.basis, float(bound.max())


@dataclass(frozen=True)
class AdamW:
    """AdamW (Loshchilov & Hutter 2019) as it stood at the end of an epoch: moments m, v (P,) and the steps it made."""

    first: Tensor
    second: Tensor
    made: int
    rate: float
    decay: float
    betas: tuple[float, float]
    epsilon: float

    @classmethod
    def of(cls, linear: Linearization, optimizer: dict[str, Any]) -> "AdamW":
        """From the state of torch's optimiser of the network; what it never stepped on has m = v = 0."""
        group, place = optimizer["param_groups"][0], next(iter(linear.parameters.values()))
        found = {
            name: optimizer["state"].get(number, {})
            for number, (name, _) in enumerate(linear.network.named_parameters())
        }
        first, second = (
            torch.cat(
                [
                    found[name][key].flatten() if found[name] else torch.zeros(p.numel())
                    for name, p in linear.parameters.items()
                ]
            ).to(place)
            for key in ("exp_avg", "exp_avg_sq")
        )
        made = max(int(state["step"]) for state in found.values() if state)
        return cls(first, second, made, group["lr"], group["weight_decay"], tuple(group["betas"]), group["eps"])

    @property
    def share(self) -> float:
        """The weight of a new gradient in the next step, (1 - β₁) / (1 - β₁ᵗ), by which the rate is multiplied."""
        return (1 - self.betas[0]) / (1 - self.betas[0] ** (self.made + 1))

    def steps(self, start: Tensor, gradients: Callable[[Tensor], Tensor], count: int) -> Tensor:
        """The sum δ (I, P) of `count` steps from the parameters start (I, P); gradients: their function, (I, P)."""
        now, m, v = start, self.first, self.second
        one, two = self.betas
        for t in range(self.made + 1, self.made + count + 1):
            g = gradients(now)
            m, v = one * m + (1 - one) * g, two * v + (1 - two) * g.square()
            step = m / (1 - one**t) / ((v / (1 - two**t)).sqrt() + self.epsilon)
            now = now * (1 - self.rate * self.decay) - self.rate * step
        return now - start


def own_gradients(linear: Linearization, parameters: Tensor, states: Tensor, targets: Tensor) -> Tensor:
    """The gradient of each sample's cost at parameters of its own: (I, P), (I, F, Y, X) twice, to (I, P)."""
    rows = []
    for vector, state, target in zip(parameters, states.split(1), targets.split(1), strict=True):
        leaves = {name: part[0].clone().requires_grad_() for name, part in linear.unflatten(vector[None]).items()}
        with torch.enable_grad():
            value = smse(linear.predict(leaves, state), target, state).sum()
        rows.append(linear.flatten({name: part[None] for name, part in reverse(value, leaves).items()}))
    return torch.cat(rows)


def response_function(
    linear: Linearization,
    states: Tensor,
    targets: Tensor,
    sample: int,
    start: Tensor,
    *,
    size: float,
    damping: float,
    tolerance: float,
    max_evaluations: int,
) -> tuple[Tensor, float]:
    """The step δ (P,) to the minimum of the proximal problem whose first order is -h (η + ε)⁻¹ g_i.

    h C_i(θ + δ) + (1/2M) Σ_n |ŷ_n(θ + δ) - ŷ_n(θ)|² + (ε/2) |δ|², the proximal Bregman response of Bae et al. 2022
    (arXiv 2209.05364) for predictions that are compared by their squares. By L-BFGS, from the step `start` (P,).

    size: h; tolerance: on the gradient's norm, relative to h ‖g_i‖, that at δ = 0
    Gives also the relative norm that it reached, above `tolerance` if max_evaluations did not do.
    """
    with torch.no_grad():
        before = linear.predict(linear.parameters, states)
        cost_before = smse(before[[sample]], targets[[sample]], states[[sample]])
    step = start.clone().requires_grad_()
    here = slice(sample, sample + 1)

    def objective(delta: Tensor) -> Tensor:
        parts = linear.unflatten(delta[None])
        predicted = linear.predict({name: p + parts[name][0] for name, p in linear.parameters.items()}, states)
        cost = smse(predicted[here], targets[here], states[here]) - cost_before
        moved = (predicted - before).square().sum() / (2 * before.numel())
        # In units of h, so that L-BFGS starts with numbers of order one.
        return cost.sum() + (moved + damping / 2 * delta.square().sum()) / size

    optimizer = torch.optim.LBFGS(
        [step],
        max_iter=10,
        history_size=HISTORY,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )
    evaluations = 0

    def closure() -> float:
        nonlocal evaluations
        evaluations += 1
        optimizer.zero_grad()
        with torch.enable_grad():
            value = objective(step)
        value.backward()
        return float(value)

    at_rest = torch.zeros_like(start).requires_grad_()
    with torch.enable_grad():
        (first,) = torch.autograd.grad(objective(at_rest), at_rest)
    while True:
        closure()
        assert step.grad is not None
        reached = float(step.grad.norm() / first.norm())
        if reached <= tolerance or evaluations >= max_evaluations:
            return step.detach(), reached
        optimizer.step(closure)
