"""Real steps of finite size from a network's weights, and what each does to the cost of every sample.

A step δ_i of some kind on sample i changes the cost of sample j by D[i, j] = C_j(θ + δ_i) - C_j(θ), which for small
steps is g_j · δ_i. Proximal steps are δ_i = -h (η + ε)⁻¹ g_i, in the span of a batch's gradients or in all parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.linalg import eigh
from torch import Tensor

from surroscope.cost_function import smse
from surroscope.influence.functional import as_real, reverse
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
            found[row] = smse(predicted.double(), targets.double(), linear.fields(states)).cpu().numpy()
    return found


def _moved(linear: Linearization, steps: Tensor) -> list[dict[str, Tensor]]:
    """The parameters after each step (I, P)."""
    return [
        {name: linear.parameters[name] + part[0] for name, part in linear.unflatten(step[None]).items()}
        for step in steps
    ]


def sized(directions: Tensor, gradients: Tensor, falls: np.ndarray) -> Tensor:
    """δ_i = -h z_i along directions z (I, P), h such that, to first order, the own cost falls by `falls` (I,).

    NaN where g_i · z_i is zero: there is no such step.
    """
    own = (directions.double() * gradients.double()).sum(dim=1).cpu().numpy()
    sizes = np.divide(falls, own, out=np.full(len(own), np.nan), where=own > 0)
    return -torch.from_numpy(sizes).to(directions)[:, None] * directions


def spread(samples: np.ndarray, count: int) -> np.ndarray:
    """Places of `count` of the samples, or of all, evenly apart."""
    return np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int)


def proximal(
    metric: Metric, gradients: Tensor, *, damping: float, tolerance: float, max_iterations: int
) -> tuple[Tensor, float, Krylov]:
    """z_i = (η + ε)⁻¹ g_i in all parameters, (I, P), the largest certified relative error of g_i · z_i, and the space.

    metric, and the iteration: see `krylov`; it ends where that error is `tolerance` or less, or after max_iterations
    """
    space = Krylov(metric, gradients.double(), gradients.dtype)
    space.grow(gradients)
    for iteration in range(max_iterations):
        coefficients = space.coefficients(damping)
        residuals = space.residuals(space.rows, coefficients, damping)
        own = (coefficients * space.components).sum(axis=0)
        # 0 ≤ H_ii - g_i · z_i ≤ ‖r_i‖² / ε; a gradient of zero has no response to be wrong about.
        norms = residuals.square().sum(dim=1).cpu().numpy()
        bound = np.divide(norms, damping * own, out=np.zeros_like(own), where=own > 0)
        pending = residuals[torch.from_numpy(bound > tolerance)]
        if iteration == max_iterations - 1 or not len(pending) or not space.grow(pending):
            break
    return torch.from_numpy(coefficients.T.copy()).to(space.basis) @ space.basis, float(bound.max()), space


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
                    as_real(found[name][key]).flatten() if found[name] else torch.zeros(p.numel())
                    for name, p in linear.parameters.items()
                ]
            ).to(place)
            for key in ("exp_avg", "exp_avg_sq")
        )
        made = max(int(state["step"]) for state in found.values() if state)
        return cls(first, second, made, group["lr"], group["weight_decay"], tuple(group["betas"]), group["eps"])

    def on_samples(self, linear: Linearization, states: Tensor, targets: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """δ (I, P) of `count` steps on each sample alone, and the drift (1, P): the same with gradients of zero.

        The drift is what momentum and decay do by themselves.
        """
        start = linear.flatten({name: p[None] for name, p in linear.parameters.items()})

        def gradients(parameters: Tensor) -> Tensor:
            return own_gradients(linear, parameters, states, targets)

        return self.steps(start.expand(len(states), -1), gradients, count), self.steps(start, torch.zeros_like, count)

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
            value = smse(linear.predict(leaves, state), target, linear.fields(state)).sum()
        rows.append(linear.flatten({name: part[None] for name, part in reverse(value, leaves).items()}))
    return torch.cat(rows)


def response_function(
    linear: Linearization,
    states: Tensor,
    targets: Tensor,
    sample: int,
    space: Krylov,
    *,
    size: float,
    damping: float,
    tolerance: float,
    max_evaluations: int,
) -> tuple[Tensor, float]:
    """The step δ (P,) to the minimum of the proximal problem whose first order is -h (η + ε)⁻¹ g_i.

    h C_i(θ + δ) + (1/2M) Σ_n |ŷ_n(θ + δ) - ŷ_n(θ)|² + (ε/2) |δ|², the proximal Bregman response of Bae et al. 2022
    (arXiv 2209.05364) for predictions that are compared by their squares. By L-BFGS in the coordinates w of δ = h R w,
    R = (η + ε)^(-1/2) as far as the Krylov space of `proximal` knows η, from the first-order step on: there the
    problem is nearly round.

    size: h; tolerance: on the norm of the gradient in w, relative to that at δ = 0, √(g_i (η + ε)⁻¹ g_i)
    Gives also the relative norm that it reached, above `tolerance` if max_evaluations did not do.
    """
    root = _root(space, damping, states.dtype)
    here = slice(sample, sample + 1)
    with torch.no_grad():
        before = linear.predict(linear.parameters, states)
        cost_before = smse(before[here], targets[here], linear.fields(states[here]))

    def objective(w: Tensor) -> Tensor:
        step = root(w)
        parts = linear.unflatten(size * step[None])
        predicted = linear.predict({name: p + parts[name][0] for name, p in linear.parameters.items()}, states)
        cost = smse(predicted[here], targets[here], linear.fields(states[here])) - cost_before
        moved = ((predicted - before) / size).square().sum() / (2 * before.numel())
        return cost.sum() / size + moved + damping / 2 * step.square().sum()

    def gradient(w: Tensor) -> Tensor:
        leaf = w.detach().clone().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(objective(leaf), leaf)[0]

    first = gradient(states.new_zeros(linear.size))
    w = (-first).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [w], max_iter=5, history_size=HISTORY, tolerance_grad=0.0, tolerance_change=0.0, line_search_fn="strong_wolfe"
    )
    evaluations = 0

    def closure() -> float:
        nonlocal evaluations
        evaluations += 1
        optimizer.zero_grad()
        with torch.enable_grad():
            value = objective(w)
        value.backward()
        return float(value.detach())

    while True:
        reached = float(gradient(w).norm() / first.norm())
        if reached <= tolerance or evaluations >= max_evaluations:
            return size * root(w.detach()), reached
        optimizer.step(closure)


def _root(space: Krylov, damping: float, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """v (P,) -> (η + ε)^(-1/2) v, with η as the space knows it and none beyond."""
    values, vectors = eigh(space.projected, space.overlap)
    modes = (torch.from_numpy(vectors.T.copy()).to(space.basis) @ space.basis).to(dtype)
    scales = torch.from_numpy((np.maximum(values, 0) + damping) ** -0.5 - damping**-0.5).to(modes)
    return lambda v: v * damping**-0.5 + (scales * (modes @ v)) @ modes
