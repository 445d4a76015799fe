"""Which exact method is quickest here: every candidate is checked, then timed on a few samples."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from surroscope.cost_function import Observable, smse
from surroscope.influence.linearize import DEFAULT, Linearization, Method
from surroscope.influence.unsupported import REWRITE

CHECKED = 3
FAILURES = (ValueError, RuntimeError, MemoryError)
ROUNDS = 4
WORTHWHILE = 0.9
LOOPED = 9
# Differences along a direction are this near to the derivative: round-off and curvature are a hundredth of it.
LOST = 0.1
# In order of preference: what is usually the quickest comes first. The default has the smallest blocks.
CHOICES = {
    "gradients": [
        Method(sample_chunk=48),
        DEFAULT,
        Method(gradients="loop"),
    ],
    "tangents": [
        Method(tangent_samples=8),
        Method(tangent_samples=16),
        DEFAULT,
        Method(tangents="double_backward", tangent_samples=24),
        Method(tangents="double_backward", tangent_samples=8),
    ],
}


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


@dataclass(frozen=True)
class Calibration:
    """The method to use and every candidate; JSON by `dataclasses.asdict`."""

    method: Method
    candidates: list[Candidate]


def calibrate(
    linear: Linearization,
    observable: Observable,
    states: Tensor,
    targets: Tensor,
    *,
    directions: int | None = None,
    seconds: float = 4.0,
) -> Calibration:
    """The quickest exact method for a network, at states and targets (N, F, Y, X) like those to come.

    Gradients are checked against a backward pass for each sample, tangents by <J v, u> = <v, Jᵀ u>; a candidate that
    raises, needs too much memory, or errs by more than ε^(2/3), ε the machine epsilon, is left out. An earlier one in
    CHOICES stays unless the quickest takes less than 0.9 of its time, so that noise seldom changes the choice.

    directions: how many there will be to push forward; N unless said
    seconds: of the clock, roughly; a candidate of which one block would take longer is not timed

    Raises ValueError, as the default method does, where no candidate is left.
    """
    bench = Bench(linear, observable, states, targets, directions or len(states))
    methods, candidates = [], []
    for quantity, measure, share in (
        ("gradients", bench.gradient_seconds, 0.25),
        ("tangents", bench.tangent_seconds, 0.75),
    ):
        mine = [Candidate(quantity, method) for method in CHOICES[quantity]]
        checked: dict[str, Candidate] = {}
        for candidate in mine:
            # Chunks change no formula, so that one check serves all of them.
            twin = checked.setdefault(candidate.kind, candidate)
            if twin is not candidate:
                candidate.error, candidate.left_out = twin.error, twin.left_out
            else:
                bench.examine(candidate)
        race([c for c in mine if c.left_out is None and bench.guess(c) < share * seconds], measure, share * seconds)
        usable = [candidate for candidate in mine if candidate.left_out is None]
        if not usable:
            raise ValueError(refusal(list(checked.values())))
        methods.append(quickest(usable).method)
        candidates += mine
    gradients, tangents = methods
    chosen = replace(tangents, gradients=gradients.gradients, sample_chunk=gradients.sample_chunk)
    return Calibration(chosen, candidates)


def exact(linear: Linearization, states: Tensor, method: Method) -> tuple[Method, list[str]]:
    """The method, and for each quantity that it gets wrong at the first of some states (N, F, Y, X), the next one.

    Gives with it why, one line a quantity that was replaced. Raises ValueError where there is no other.
    """
    bench = Bench(linear, smse, states[:CHECKED], linear.fields(states[:CHECKED]), CHECKED)
    reasons: list[str] = []
    if not torch.isfinite(bench.expected).all():
        return method, reasons  # broken weights, which whoever takes gradients finds at every sample
    for quantity, choices in CHOICES.items():
        tried: list[Candidate] = []
        # The last choice of a kind takes the least memory.
        for choice in (method, *reversed(choices)):
            candidate = Candidate(quantity, choice)
            if candidate.kind in [other.kind for other in tried]:
                continue
            bench.examine(candidate, (ValueError,))
            tried.append(candidate)
            if candidate.left_out is None:
                break
        else:
            raise ValueError(refusal(tried))
        if len(tried) > 1:
            reasons.append(f"{told(tried[0])}; {candidate.kind!r} is exact")
            names = ("gradients", "sample_chunk") if quantity == "gradients" else ("tangents", "tangent_samples")
            method = replace(method, **{name: getattr(candidate.method, name) for name in names})
    return method, reasons


def check(linear: Linearization, states: Tensor, method: Method) -> None:
    """Raise ValueError if gradients or tangents by a method are wrong at the first of some states (N, F, Y, X)."""
    _, reasons = exact(linear, states, method)
    if reasons:
        raise ValueError(f"{'. '.join(reasons)}. Set gradients.method to measured, or to that")


def told(candidate: Candidate) -> str:
    """Why a candidate was left out, in one line; what that advises may have been tried."""
    return f"{candidate.quantity} by {candidate.kind!r}: {str(candidate.left_out).splitlines()[0]}"


def refusal(tried: list[Candidate]) -> str:
    reasons = "; ".join(told(candidate) for candidate in tried)
    return f"no exact method for the {tried[0].quantity}: {reasons}. To the layer in question: {REWRITE}"


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


def race(candidates: list[Candidate], measure: Callable[[Method], float], seconds: float) -> None:
    """Time candidates in turn, so that a busy machine slows all alike, until the clock has run; slow ones only once."""
    end = time.perf_counter() + seconds
    for turn in range(ROUNDS):
        timed = [c.seconds for c in candidates if c.seconds is not None]
        for candidate in candidates:
            hopeless = candidate.seconds is not None and candidate.seconds > 1.5 * min(timed)
            if candidate.left_out is None and not hopeless and (turn < 2 or time.perf_counter() < end):
                attempt(candidate, measure, "seconds")


def quickest(usable: list[Candidate]) -> Candidate:
    """The first candidate whose time is near the least, by WORTHWHILE; the default, if it was too slow to be timed."""
    times = {number: found.seconds for number, found in enumerate(usable) if found.seconds is not None}
    untimed = [found for found in usable if found.method == DEFAULT and found.seconds is None]
    if untimed or not times:
        return [*untimed, *usable][0]
    least = min(times.values())
    return usable[next(number for number, seconds in times.items() if WORTHWHILE * seconds <= least)]


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

        v is random, of the size of each parameter. Other methods are compared with backward passes; where these are
        all there is, nothing else would show what leaves torch on the way.
        """
        draw = torch.Generator().manual_seed(1)
        step = torch.finfo(self.states.dtype).eps ** (1 / 3)
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
