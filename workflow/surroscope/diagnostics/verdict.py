"""The verdict: what a network shares between classes and between times, as a label, a sentence and what backs it.

It rests on the kernel transfer alone, which orders networks of known sharing at every stage of training, where signed
influence does not between classes. docs/verdict.md says where the limits come from, and what a verdict cannot say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from surroscope.diagnostics.signature import Estimate

# Smallest and largest kernel transfer of trained control networks by the share of the width that all groups use: small
# convolutions on this system at epoch 30, of two seeds (docs/dial.md).
CONTROLLED = "CE"
CONTROLS = {
    "classes": {0.0: (0.0, 0.0), 0.25: (0.01, 0.32), 0.5: (0.1, 0.33), 0.75: (0.47, 0.7), 1.0: (0.56, 0.91)},
    "times": {0.0: (0.0, 0.0), 0.25: (0.02, 0.35), 0.5: (0.6, 0.63), 0.75: (0.9, 0.91), 1.0: (0.97, 1.0)},
}
# Below the first: kept apart; from the second on: shared; between them partly. docs/verdict.md says why these.
LIMITS = (0.2, 0.9)
# One-step error over that of no change above which a network has learned too little for anything to be said.
WEAK = 0.8
# Labels of networks of which there is nothing to settle.
UNTOLD = ("too weak to say", "undecided")
# By Evidence.held_out.
LEAKAGE: Mapping[bool | None, list[str]] = {
    None: [],
    True: ["Leakage: probe trajectories were held out from its training, as split.trained says."],
    False: [
        "Leakage: what it was trained on is not known, so that probe trajectories may have been trained on, and errors "
        "may be larger elsewhere. Say in split.trained what it was."
    ],
}
# By whether it was trained here.
UNSEEN = {
    True: "Errors where it was not trained: at later times than training saw, one step errs by {later} of no change; "
    "at the last times that it saw by {last}.",
    False: "Errors at later times than the probed ones, which training may have seen: one step errs by {later} of no "
    "change; at the last probed ones by {last}.",
}


class Decay(NamedTuple):
    """Lags at which measures within a class have halved, in steps, infinite if they have not; reach: the largest.

    shared: up to which lag transitions share snapshots; NaN where a measure has halved there
    """

    influence: Estimate
    residuals: float
    kernel: float
    reach: int
    shared: int = 0


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on: kernel transfer, 0 where nothing is shared and 1 where everything is.

    pairs: of classes, if there are several, the mean of both directions; times: between the first and the last window
    training: median over pairs, and between times, before training and after it in the same probe batches; None where
        the untrained network was not looked at
    noises: of each other noise of the study, every pair in the order of `pairs`, and between times
    errors: of one step on validation trajectories, and of no change
    seen, unseen: one-step error over that of no change at the last times trained on, and at later ones; NaN: none
    agreement: correlation of the kernel transfer between seeds and between probe batches, NaN where there are no two
    controls: whether the control networks are of the same system
    likelier: of a network that was trained elsewhere and errs, how it may be meant to be called
    overlap: whether transitions of the first and the last window of times share snapshots
    zero_shot: sentences about what was held out
    held_out: of one that was trained elsewhere, whether it is known not to have seen the probe trajectories
    """

    pairs: Mapping[tuple[str, str], Estimate]
    times: Estimate
    training: tuple[tuple[float, float], tuple[float, float]] | None
    noises: Mapping[float, tuple[Sequence[float], float]]
    decay: Decay
    errors: tuple[float, float]
    seen: float
    unseen: float
    agreement: tuple[float, float]
    controls: bool
    likelier: str = ""
    held_out: bool | None = None
    overlap: bool = False
    zero_shot: Sequence[str] = ()


class Verdict(NamedTuple):
    """label: in a few words; sentence: one; details: what it rests on, how sure it is and what would change it."""

    label: str
    sentence: str
    details: list[str]


def verdict(evidence: Evidence) -> Verdict:
    """What the kernel says of a network."""
    validation, persistence = evidence.errors
    accuracy = f"One-step error {validation:.3g} against {persistence:.3g} for no change"
    label = label_at(evidence)
    if label == UNTOLD[0]:
        sentence = f"{accuracy}: too little was learned for what it shares to say anything about generalisation."
        if evidence.held_out is not None:
            other = f": {evidence.likelier}" if evidence.likelier else ", and no other that was tried halves the error"
            sentence += f" Not this network, these data or this call{other}."
        return Verdict(label, sentence, LEAKAGE[evidence.held_out])
    values = [estimate.value for estimate in evidence.pairs.values()]
    if label in UNTOLD:
        sentence = "Of some classes or times no step changes the predictions. Look at the data and the weights."
        return Verdict(label, sentence, [*LEAKAGE[evidence.held_out], f"{accuracy}."])
    ordered = sorted(evidence.pairs.items(), key=lambda item: item[1].value)
    between = ""
    if ordered:
        (least, lowest), (most, highest) = ordered[0], ordered[-1]
        between = f" and between classes {spelled(lowest)}"
    if len(values) > 1:
        between = (
            f" and between classes from {spelled(lowest)}, of {' and '.join(least)}, to {spelled(highest)}, of "
            f"{' and '.join(most)}"
        )
    sentence = (
        f"Of what random steps change in its predictions it shares {spelled(evidence.times)} between the first and the "
        f"last times{between}."
    )
    lines = [*LEAKAGE[evidence.held_out], *evidence.zero_shot, *details(evidence), f"{accuracy}."]
    return Verdict(label, sentence, lines)


def label_at(evidence: Evidence) -> str:
    """The label of a network, by the study's own noise."""
    validation, persistence = evidence.errors
    if not validation < WEAK * persistence:
        return UNTOLD[0]
    return label_of([estimate.value for estimate in evidence.pairs.values()], evidence.times.value)


def label_of(pairs: Sequence[float], times: float) -> str:
    """Where times and classes lie, if there are several; classes of which pairs lie apart are partly shared.

    "undecided" where one of them is NaN: there no step changes the predictions
    """
    if np.isnan([*pairs, times]).any():
        return "undecided"
    places = {place(value) for value in pairs}
    if not places:
        return f"times {place(times)}"
    return f"times {place(times)}, classes {places.pop() if len(places) == 1 else 'partly shared'}"


def place(value: float) -> str:
    """Where a kernel transfer lies between the limits."""
    apart, shared = LIMITS
    return "shared" if value >= shared else "kept apart" if value < apart else "partly shared"


def details(evidence: Evidence) -> list[str]:
    """What a verdict rests on, a sentence each."""
    lines = []
    if evidence.controls:
        line = (
            "Controls (small convolutions of known sharing): what it has between times is read by those that share "
            f"{likened(evidence.times.value, 'times')} of their width"
        )
        if evidence.pairs:
            middle = float(np.median([estimate.value for estimate in evidence.pairs.values()]))
            line += f", what it has between classes (median pair) by those that share {likened(middle, 'classes')}"
        lines.append(f"{line}.")
    if evidence.training:
        (classes_before, times_before), (classes_after, times_after) = evidence.training
        line = (
            f"Training, in the probe batches in which both were looked at: from {percent(times_before)} to "
            f"{percent(times_after)} between times"
        )
        if evidence.pairs:
            line += f", from {percent(classes_before)} to {percent(classes_after)} between classes (median pair)"
        lines.append(f"{line}. What was there before is the architecture's.")
    lines.append(decayed(evidence.decay))
    if evidence.overlap:
        lines.append(
            "Windows: transitions of the first and of the last times share snapshots that the network is given, so "
            "that what is shared between them is in part the same input; probe more snapshots."
        )
    if not np.isnan(evidence.unseen):
        lines.append(
            UNSEEN[evidence.held_out is None].format(later=percent(evidence.unseen), last=percent(evidence.seen))
        )
    between = [
        f"{value:.2f} between {kind}"
        for value, kind in zip(evidence.agreement, ("seeds", "probe batches"), strict=True)
        if not np.isnan(value)
    ]
    if between:
        windows = "windows of classes" if evidence.pairs else "windows of times"
        lines.append(f"Agreement: what {windows} share correlates {' and '.join(between)}.")
    return [*lines, *unsettled(evidence)]


def decayed(decay: Decay) -> str:
    """Whose the decay of influence with lag is."""
    half, reach = decay.influence.value, decay.reach
    if np.isnan(half) and decay.shared:
        return (
            f"Decay: signed influence within a class halves within {decay.shared} steps, or there are no later ones: "
            "so near to each other transitions share snapshots, and whose the decay is cannot be told."
        )
    if np.isnan(half):
        return "Decay: most transitions have no influence on themselves, so there is none to halve."
    if not np.isfinite(half):
        return f"Decay: signed influence within a class does not halve within {reach} steps."

    def after(value: float) -> str:
        early = f"within the {decay.shared} that share snapshots"
        return early if np.isnan(value) else f"after {value:.2g}" if np.isfinite(value) else f"not within {reach}"

    # What has halved where transitions share snapshots has halved before.
    kernel, residuals = np.nan_to_num((decay.kernel, decay.residuals), nan=0.0, posinf=np.inf)
    if kernel <= half:
        whose = "the network keeps times apart"
    elif residuals > half:
        whose = "neither factor does it alone"
    else:
        whose = "it begins with the errors, not with what the network shares"
    return (
        f"Decay: signed influence within a class halves after {half:.2g} steps, the likeness of residuals "
        f"{after(decay.residuals)}, the kernel {after(decay.kernel)}: {whose}."
    )


def unsettled(evidence: Evidence) -> list[str]:
    """Which limits an interval spans, and whether another noise would give another label."""
    estimates = {" and ".join(pair): estimate for pair, estimate in evidence.pairs.items()} | {"times": evidence.times}
    lines = []
    if np.isnan([estimate.low for estimate in estimates.values()]).any():
        lines.append("How sure: one seed with one probe batch has no interval.")
    elif spanning := [name for name, estimate in estimates.items() if any(map(estimate.spans, LIMITS))]:
        lines.append(f"Not settled, since the 95 % interval spans a limit: {', '.join(spanning)}.")
    if others := moved(evidence):
        lines.append(f"Another choice gives another label: {'; '.join(others)}.")
    return lines or ["How sure: no limit lies within a 95 % interval, and no other noise gives another label."]


def moved(evidence: Evidence) -> list[str]:
    """Other noises of the measure that give another label, each with that label; none of a network that has none."""
    label = label_at(evidence)
    if label in UNTOLD:
        return []
    others = {noise: label_of(*transfers) for noise, transfers in evidence.noises.items()}
    return [f"with a noise of {noise:g}: {other}" for noise, other in others.items() if other != label]


def likened(value: float, kind: str) -> str:
    """The shares of their width, as a range, of controls whose readings hold the value, or lie on both sides of it."""
    ranges = CONTROLS[kind]
    if value > max(high for _, high in ranges.values()):
        return "all, or reads more than theirs"
    holding = [share for share, (low, high) in ranges.items() if low <= value <= high]
    if not holding:
        below = max(share for share, (_, high) in ranges.items() if high < value)
        holding = [below, min(share for share, (low, _) in ranges.items() if low > value)]
    return " to ".join(dict.fromkeys(percent(share) for share in (holding[0], holding[-1])))


def percent(value: float) -> str:
    return f"{rounded(value)}\N{NO-BREAK SPACE}%"


def rounded(value: float) -> str:
    """In percent, to whole ones, or to as many digits as keep it on its side of a limit."""
    digits = next((n for n in range(4) if place(round(value, n + 2)) == place(value)), 4)
    return f"{100 * value:z.{digits}f}".replace("-", "−")


def spelled(estimate: Estimate) -> str:
    """With its interval, if it has one that shows."""
    low, high = percent(estimate.low) if estimate.low == estimate.low else "", percent(estimate.high)
    return percent(estimate.value) + (f" ({low} to {high})" if low and low != high else "")
