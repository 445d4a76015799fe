"""Errors and times of methods on one network."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from surroscope.cost_function import Observable
from surroscope.influence.linearize import Linearization, Method

CHECKED = 3
LOOPED = 9
# Differences along a direction are this near to the derivative: round-off and curvature are a hundredth of it.
LOST = 0.1
FAILURES = (ValueError, RuntimeError, MemoryError)


@dataclass
class Candidate:
    """One method of one quantity. Of the method, only the fields of that quantity matter.

    quantity: "gradients" or "tangents"
    error: relative to plain backward passes, None if it raised
    seconds: for one gradient, or for one tangent at one sample; None if it was not timed
    left_out: why it cannot be chosen, None if it can
    """

    quantity: str
    method: Method
    error: float | None = None
    seconds: float | None = None
    left_out: str | None = None

    @property
    def kind(self) -> str:
        return getattr(self.method, self.quantity)


def attempt(
    candidate: Candidate,
    measure: Callable[[Method], float],
    field: str,
    failures: tuple[type[Exception], ...] = FAILURES,
) -> None:
    """Set a field of a candidate to what is measured, its minimum if measured before; leave it out if that fails.

    failures: those that leave it out; others are raised
    """
    try:
        found = measure(candidate.method)
    except failures as error:
        candidate.left_out = str(error)
        if isinstance(error, torch.OutOfMemoryError):
            torch.cuda.empty_cache()
        return
    before = getattr(candidate, field)
    setattr(candidate, field, found if before is None else min(before, found))


class Bench:
    """Errors and times of methods on one network."""

    def __init__(
        self, linear: Linearization, observable: Observable, states: Tensor, targets: Tensor, directions: int
    ) -> None:
        self.linear, self.observable, self.directions = linear, observable, directions
        self.states, self.targets = states, targets
        self.few = states[:CHECKED]
        self.tolerance = torch.finfo(states.dtype).eps ** (2 / 3)
        draw = torch.Generator().manual_seed(0)
        shape = linear.fields(self.few).shape
        self.cotangent = torch.randn(shape, generator=draw, dtype=states.dtype).to(states.device)
        self.vectors = torch.randn(CHECKED, linear.size, generator=draw, dtype=states.dtype).to(states.device)
        self.expected = self.pulled(Method(gradients="loop"))
        linear.predict(linear.parameters, self.few)
        self.forward = self.clock(lambda: linear.predict(linear.parameters, self.few)) / len(self.few)

    def pulled(self, method: Method) -> Tensor:
        """Jᵀ u at each of the few samples, (CHECKED, P): the gradient of ŷ · u, in which nothing cancels."""
        return self.linear.gradients(lambda y, u, _: (y * u).flatten(1).sum(1), self.few, self.cotangent, method)

    def examine(self, candidate: Candidate, failures: tuple[type[Exception], ...] = FAILURES) -> None:
        """Set the error of a candidate, and why it is left out if it is; failures: see `attempt`."""
        gradients = candidate.quantity == "gradients"
        attempt(candidate, self.gradient_error if gradients else self.tangent_error, "error", failures)
        if candidate.error is not None and not candidate.error <= self.tolerance:
            candidate.left_out = f"relative error {candidate.error:.1e}, above {self.tolerance:.1e}"
        if candidate.kind == "loop" and (lost := self.lost()) > LOST:
            candidate.left_out = f"differs by {lost:.0%} from how predictions move, as behind detach() or a jump"

    def lost(self) -> float:
        """What a backward pass misses of J v, |1 - (Jᵀ d) · v / |d|²|, with d = J v by differences.

        v is random, of the size of each parameter. The step is short, since round-off enters squared and curvature does
        not. Other methods are compared with backward passes; where these are all there is, nothing else would show what
        leaves torch on the way.
        """
        draw = torch.Generator().manual_seed(1)
        step = torch.finfo(self.states.dtype).eps ** (2 / 5)
        moves = {
            name: step * p.square().mean().sqrt() * torch.randn(p.shape, generator=draw, dtype=p.dtype).to(p.device)
            for name, p in self.linear.parameters.items()
        }
        with torch.no_grad():
            ahead, behind = (
                self.linear.predict({n: p + sign * moves[n] for n, p in self.linear.parameters.items()}, self.few)
                for sign in (1, -1)
            )
        moved = (ahead - behind) / 2
        pulled = self.linear.backward(lambda y, u, _: (y * u).flatten(1).sum(1), self.few, moved)
        expected = moved.square().sum()
        found = pulled @ self.linear.flatten({name: move[None] for name, move in moves.items()})[0]
        return abs(1 - float(found / expected)) if expected > 0 else 0.0

    def guess(self, candidate: Candidate) -> float:
        """Seconds of one block, from the forward passes that it is worth."""
        method = candidate.method
        if candidate.quantity == "gradients":
            return 3 * self.forward * min(method.sample_chunk, len(self.states))
        rows = LOOPED if method.tangents == "double_backward" else method.direction_chunk
        return 3 * self.forward * min(rows, self.directions) * min(method.tangent_samples, len(self.states))

    def gradient_error(self, method: Method) -> float:
        return relative(self.pulled(method) - self.expected, self.expected.norm())

    def tangent_error(self, method: Method) -> float:
        found = self.linear.tangents(self.few, self.vectors, method).to(self.few.device).flatten(1)
        defect = found @ self.cotangent.flatten() - self.vectors @ self.expected.sum(0)
        return relative(defect, found.norm() * self.cotangent.norm())

    def gradient_seconds(self, method: Method) -> float:
        states, targets = self.states[: method.sample_chunk], self.targets[: method.sample_chunk]
        return self.clock(lambda: self.linear.gradients(self.observable, states, targets, method)) / len(states)

    def tangent_seconds(self, method: Method) -> float:
        states = self.states[: method.tangent_samples]
        rows = min(method.direction_chunk, self.directions)

        def block(count: int) -> float:
            directions = self.vectors[:1].expand(count, -1)
            return self.clock(lambda: list(self.linear.iter_tangents(states, directions, method)))

        if method.tangents == "double_backward" and rows > LOOPED:
            # The directions take turns, so that a few of them and the graph tell the time of all.
            one = block(1)
            total = one + (block(LOOPED) - one) * (rows - 1) / (LOOPED - 1)
        else:
            total = block(rows)
        return total / (rows * len(states))

    def clock(self, call: Callable[[], object]) -> float:
        """Processor time on the CPU, where other jobs may run; wall time of the GPU."""
        if self.states.device.type == "cpu":
            start = time.process_time()
            call()
            return time.process_time() - start
        torch.cuda.synchronize(self.states.device)
        start = time.perf_counter()
        call()
        torch.cuda.synchronize(self.states.device)
        return time.perf_counter() - start


def relative(defect: Tensor, scale: Tensor) -> float:
    return float(defect.norm() / scale.clamp_min(torch.finfo(scale.dtype).tiny))
