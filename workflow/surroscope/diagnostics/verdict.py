"""The verdict: what a network shares between classes and between times, as a label, a sentence and what backs it.

It rests on the kernel transfer alone, which orders networks of known sharing at every stage of training, where signed
influence does not between classes. docs/verdict.md says where the limits come from, and what a verdict cannot say.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from surroscope.diagnostics.signature import Estimate

# Kernel transfer of trained control networks by the share of the width that all groups use: the dial study
# (docs/dial.md), medians over seeds and epochs 1, 8 and 30. Between classes, and between the first and the last times.
CONTROLS = {
    "classes": {0.0: 0.0, 0.25: 0.13, 0.5: 0.27, 0.75: 0.56, 1.0: 0.66},
    "times": {0.0: 0.0, 0.25: 0.14, 0.5: 0.54, 0.75: 0.87, 1.0: 0.99},
}
# Below the first: kept apart; from the second on: shared; between them partly. docs/verdict.md says why these.
LIMITS = (0.2, 0.9)
# One-step error over that of no change above which a network has learned too little for anything to be said.
WEAK = 0.8


class Decay(NamedTuple):
    """Lags at which measures within a class have halved, in steps, infinite if they have not; reach: the largest."""

    influence: Estimate
    residuals: float
    kernel: float
    reach: int


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on: kernel transfer, 0 where nothing is shared and 1 where everything is.

    pairs: of classes, the mean of both directions; times: between the first and the last window of them
    untrained: median over pairs, and between times, of the network before training, NaN where it was not looked at
    noises: the same two at each other noise of the study
    errors: of one step on validation trajectories, and of no change
    seen, unseen: one-step error over that of no change at the last times trained on, and at later ones; NaN: none
    agreement: correlation of the kernel transfer between seeds and between probe batches, NaN where there are no two
    """

    pairs: Mapping[tuple[str, str], Estimate]
    times: Estimate
    untrained: tuple[float, float]
    noises: Mapping[float, tuple[float, float]]
    decay: Decay
    errors: tuple[float, float]
    seen: float
    unseen: float
    agreement: tuple[float, float]


class Verdict(NamedTuple):
    """label: in a few words; sentence: one; details: what it rests on, how sure it is and what would change it."""

    label: str
    sentence: str
    details: list[str]


def verdict(evidence: Evidence) -> Verdict:
    """What the kernel says of a network."""
    validation, persistence = evidence.errors
    accuracy = f"One-step error {validation:.3g} against {persistence:.3g} for no change"
    if not validation < WEAK * persistence:
        sentence = f"{accuracy}: too little was learned for what it shares to say anything about generalisation."
        return Verdict("too weak to say", sentence, [])
    ordered = sorted(evidence.pairs.items(), key=lambda item: item[1].value)
    (least, lowest), (most, highest) = ordered[0], ordered[-1]
    places = {place(estimate.value) for _, estimate in ordered}
    classes = places.pop() if len(places) == 1 else "partly shared"
    label = f"times {place(evidence.times.value)}, classes {classes}"
    between = (
        f"between classes {spelled(lowest)}"
        if len(ordered) == 1
        else (
            f"between classes from {spelled(lowest)}, of {' and '.join(least)}, to {spelled(highest)}, of "
            f"{' and '.join(most)}"
        )
    )
    sentence = (
        f"Of what random steps change in its predictions it shares {spelled(evidence.times)} between the first and the "
        f"last times and {between}."
    )
    return Verdict(label, sentence, [*details(evidence, ordered), f"{accuracy}."])


def place(value: float) -> str:
    """Where a kernel transfer lies between the limits."""
    apart, shared = LIMITS
    return "shared" if value >= shared else "kept apart" if value < apart else "partly shared"


def details(evidence: Evidence, ordered: list[tuple[tuple[str, str], Estimate]]) -> list[str]:
    """What a verdict rests on, a sentence each."""
    middle = float(np.median([estimate.value for _, estimate in ordered]))
    lines = [
        f"Controls: it reads like a network that shares {likened(evidence.times.value, 'times')} of its width "
        f"between times, and {likened(middle, 'classes')} between classes (median pair)."
    ]
    if not np.isnan(evidence.untrained[0]):
        before = [percent(value) for value in evidence.untrained]
        lines.append(
            f"Training: before it, {before[1]} between times and {before[0]} between classes (median pair), which its "
            "architecture alone brings."
        )
    lines.append(decayed(evidence.decay))
    if not np.isnan(evidence.unseen):
        lines.append(
            f"Errors where it was not trained: at later times than training saw, one step errs by "
            f"{percent(evidence.unseen)} of no change; at the last times that it saw by {percent(evidence.seen)}."
        )
    between = [
        f"{value:.2f} between {kind}"
        for value, kind in zip(evidence.agreement, ("seeds", "probe batches"), strict=True)
        if not np.isnan(value)
    ]
    if between:
        lines.append(f"Agreement: what windows of classes share correlates {' and '.join(between)}.")
    lines += unsettled(evidence, ordered)
    return lines


def decayed(decay: Decay) -> str:
    """Whose the decay of influence with lag is."""
    half, reach = decay.influence.value, decay.reach
    if np.isnan(half):
        return "Decay: most transitions have no influence on themselves, so there is none to halve."
    if not np.isfinite(half):
        return f"Decay: signed influence within a class does not halve within {reach} steps."
    if decay.kernel <= half:
        whose = f"and the kernel after {decay.kernel:.2g}: the network keeps times apart"
    elif np.isfinite(decay.kernel):
        whose = f"the kernel after {decay.kernel:.2g}: part of the decay is of its errors alone"
    else:
        whose = f"the kernel not within {reach}: the decay is of its errors, not of what it shares"
    residuals = f"{decay.residuals:.2g}" if np.isfinite(decay.residuals) else f"more than {reach}"
    return (
        f"Decay: signed influence within a class halves after {half:.2g} steps, residuals after {residuals}, {whose}."
    )


def unsettled(evidence: Evidence, ordered: list[tuple[tuple[str, str], Estimate]]) -> list[str]:
    """Which limits an interval spans, and whether another noise would move a number over one."""
    open_ones = [" and ".join(pair) for pair, e in ordered if any(map(e.spans, LIMITS))]
    if any(map(evidence.times.spans, LIMITS)):
        open_ones.append("times")
    lines = [f"Not settled, since the 95 % interval spans a limit: {', '.join(open_ones)}."] if open_ones else []
    middle = float(np.median([estimate.value for _, estimate in ordered]))
    for noise, (classes, times) in evidence.noises.items():
        moved = [
            f"{kind} to {percent(value)}, {place(value)}"
            for kind, value, own in (("classes", classes, middle), ("times", times, evidence.times.value))
            if place(value) != place(own)
        ]
        if moved:
            lines.append(f"Another choice: a noise of {noise:g} moves {' and '.join(moved)}.")
    if not lines:
        return ["How sure: no limit lies within a 95 % interval, and no other noise of the study moves a label."]
    return lines


def likened(value: float, kind: str) -> str:
    """The share of its width that all groups use in a control which reads the same."""
    shares, readings = zip(*CONTROLS[kind].items(), strict=True)
    if value >= readings[-1]:
        return "all"
    return f"{percent(float(np.interp(value, readings, shares)))}"


def percent(value: float) -> str:
    return f"{100 * value:z.0f}\N{NO-BREAK SPACE}%".replace("-", "−")


def spelled(estimate: Estimate) -> str:
    """With its interval, if it has one that shows."""
    low, high = percent(estimate.low) if estimate.low == estimate.low else "", percent(estimate.high)
    return percent(estimate.value) + (f" ({low} to {high})" if low and low != high else "")
