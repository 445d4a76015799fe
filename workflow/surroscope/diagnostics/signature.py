"""The published signature in a label and a sentence: what signed, standardised influence looks like.

It is no verdict: it mixes what a network shares with what is left to learn, and convergence alone takes it to zero
between classes (docs/verdict.md).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

TIME_LOCKED_HALF_LIFE = 2.0
CLASS_LOCKED_TRANSFER = 0.25

SHARED = (
    "A gradient step's help within its class halves within {shared} steps, or there are no later ones: so near to each "
    "other transitions share snapshots that the network is given, and the signature cannot be told "
    "(influence.shared_lags)."
)


class Estimate(NamedTuple):
    """A number and the ends of its 95 % interval, NaN where it has none."""

    value: float
    low: float = np.nan
    high: float = np.nan

    def spans(self, limit: float) -> bool:
        """Whether the interval has numbers on both sides of a limit."""
        return self.low < limit < self.high


def signature(
    half_life: Estimate, transfer: Estimate | None, validation: float, persistence: float, reach: int, shared: int = 0
) -> tuple[str, str]:
    """A label and a sentence; transfer: None where there is one class; reach: the largest lag that there is.

    shared: up to which lag transitions share snapshots, which the half-life leaves out

    Time-locked: half-life of 2 steps or fewer. Class-locked: transfer below 1/4. Where the interval of either spans its
    limit, the sentence says that the label is not settled.

    The thresholds are ours: half the published curve's width at 128 x 128 is below one step, and its transfer 0.1.
    "undecided" where one of the two does not exist.
    """
    if not validation < persistence:
        return "not trained", (
            f"One-step error {validation:.3g} does not beat persistence ({persistence:.3g}): "
            "influence of a network that has learned too little says nothing about generalisation."
        )
    if np.isnan(half_life.value) and shared:
        return "undecided", SHARED.format(shared=shared)
    if np.isnan(half_life.value) or (transfer and np.isnan(transfer.value)):
        return "undecided", (
            "The influence of most classes on themselves is zero, so there is no help to compare with. Look at the "
            "data and the weights."
        )
    locks = {"time-locked": (half_life.value <= TIME_LOCKED_HALF_LIFE, half_life.spans(TIME_LOCKED_HALF_LIFE))}
    if transfer:
        locks["class-locked"] = (transfer.value < CLASS_LOCKED_TRANSFER, transfer.spans(CLASS_LOCKED_TRANSFER))
    unsettled = [name for name, (_, spans) in locks.items() if spans]

    def steps(value: float) -> str:
        return f"{value:.2g}" if np.isfinite(value) else f"more than {reach}"

    def percent(value: float) -> str:
        return f"{100 * value:z.0f}\N{NO-BREAK SPACE}%".replace("-", "−")

    def between(estimate: Estimate, written: Callable[[float], str]) -> str:
        low, high = written(estimate.low), written(estimate.high)
        return "" if np.isnan(estimate.low) or low == high else f"{low} to {high}"

    reach_others = ""
    if transfer:
        told = "not told from zero" if transfer.spans(0.0) else "harm" if transfer.value < 0 else ""
        reaches = [between(transfer, percent), told, f"class-locked: below {percent(CLASS_LOCKED_TRANSFER)}"]
        reach_others = (
            f", and {percent(transfer.value)} of it reaches other classes ({'; '.join(filter(None, reaches))})"
        )
    after = [between(half_life, steps), f"time-locked: {TIME_LOCKED_HALF_LIFE:g} or fewer"]
    sentence = (
        f"A gradient step's help within its class halves after {steps(half_life.value)} steps"
        f" ({'; '.join(filter(None, after))}){reach_others}. "
        f"One-step error {validation:.3g} against {persistence:.3g} for persistence."
    )
    if unsettled:
        sentence += f" Whether it is {' and '.join(unsettled)} is not settled: the 95 % interval spans the limit."
    return " and ".join(name for name, (locked, _) in locks.items() if locked) or "coherent", sentence
