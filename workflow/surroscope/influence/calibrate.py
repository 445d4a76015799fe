"""Which exact method is quickest here: every candidate is checked, then timed on a few samples."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from surroscope.cost_function import Observable, smse
from surroscope.influence.bench import CHECKED, Bench, Candidate, attempt
from surroscope.influence.linearize import DEFAULT, FIXED, Linearization, Method
from surroscope.influence.unsupported import REWRITE

ROUNDS = 4
WORTHWHILE = 0.9
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


def require_differentiable(network: nn.Module, states: Tensor, method: Method | None = None) -> None:
    """Raise ValueError unless some method is exact for a network at states (N, F, Y, X), or the one that is given."""
    linear = Linearization(network)
    if method:
        check(linear, states, method)
    else:
        exact(linear, states, FIXED[states.device.type])


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
