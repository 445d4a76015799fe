"""The verdict in the words of someone who has not read the paper: an answer, three bars, and what to do next."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from surroscope.diagnostics.signature import Estimate
from surroscope.diagnostics.verdict import LIMITS, WEAK, Evidence, moved, place

REACHES = {
    "shared": "reaches {others}",
    "partly shared": "reaches {others} in part",
    "kept apart": "does not reach {others}",
}
# Of the error of no change: above it a network has learned too little for what it shares to say much.
ACCURATE = 0.25
PROOF = "snakemake --cores all --configfile workflow/presets/proof.yaml"


class Bar(NamedTuple):
    """A kernel transfer between two places, with its interval; None where there is no such number."""

    what: str
    value: float | None
    low: float | None
    high: float | None


class Advice(NamedTuple):
    """What to do next, and the part of a configuration or the command that does it."""

    text: str
    how: str


def weak(evidence: Evidence) -> bool:
    validation, persistence = evidence.errors
    return validation > ACCURATE * persistence


def answer(evidence: Evidence) -> str:
    """What it learned, in a sentence; it says what can be carried over, not that it is right there."""
    validation, persistence = evidence.errors
    if not validation < WEAK * persistence:
        return "It errs about as much as a prediction of no change: there is too little learned to ask what it is."
    if not evidence.times.value >= 0 or any(not estimate.value >= 0 for estimate in evidence.pairs.values()):
        return "Of some classes or times nothing that training may change moves its predictions."
    learned = "What little it has learned" if weak(evidence) else "What it learns"
    times = REACHES[place(evidence.times.value)].format(others="the other times")
    if not evidence.pairs:
        return f"{learned} at one time {times}."
    places = {place(estimate.value) for estimate in evidence.pairs.values()}
    classes = REACHES[places.pop() if len(places) == 1 else "partly shared"].format(others="the other classes")
    joined = "and" if times.split()[0] == classes.split()[0] else "but"
    return f"{learned} at one time {times}, {joined} what it learns of one class of initial conditions {classes}."


def strength(evidence: Evidence, horizon: float) -> str:
    """How far it is from predicting no change, and a warning where that is not far.

    horizon: steps until a rollout errs as much as no change; infinite where none does, NaN where there are none
    """
    validation, persistence = evidence.errors
    if not validation < WEAK * persistence:
        return ""
    told = f"One step errs {100 * validation / persistence:.2g} % as much as predicting no change"
    if np.isfinite(horizon):
        told += f"; rollouts pass the error of no change at step {horizon:g} (median)"
    return told + (". A weak network." if weak(evidence) else ".")


def bars(evidence: Evidence) -> list[Bar]:
    """Between times, and between the classes that share least and most."""
    found = [bar("between the first and the last times", evidence.times)]
    ordered = sorted(evidence.pairs.items(), key=lambda item: item[1].value)
    chosen = ordered[:1] + ordered[-1:] * (len(ordered) > 1)
    words = ("least", "most") if len(chosen) > 1 else ("",)
    for (pair, estimate), word in zip(chosen, words, strict=False):
        found.append(bar(f"{' and '.join(pair)}{f', which share {word}' * bool(word)}", estimate))
    return found


def bar(what: str, estimate: Estimate) -> Bar:
    return Bar(what, *(float(number) if number == number else None for number in estimate))


def unsettled(evidence: Evidence) -> list[str]:
    """Names of what an interval leaves on both sides of a limit."""
    every = {"times": evidence.times} | {" and ".join(pair): estimate for pair, estimate in evidence.pairs.items()}
    return [name for name, estimate in every.items() if any(map(estimate.spans, LIMITS))]


def advice(evidence: Evidence, *, trained_here: bool, held_out: Sequence[str] = ()) -> list[Advice]:
    """What to do next, the most useful first.

    trained_here: whether the study trains the network; held_out: classes that it was not trained on
    """
    validation, persistence = evidence.errors
    if not validation < WEAK * persistence:
        if trained_here:
            return [Advice("Train longer, or on more trajectories", "training: {epochs: …}, trajectories: …")]
        return [Advice("Look at how it is called, and at its units", "docs/surrogates.md")]
    found = []
    if trained_here and weak(evidence):
        text = "Train it further, or on more trajectories, since what a weak network shares may change"
        found.append(Advice(text, "training: {epochs: …}, trajectories: …"))
    apart = [pair for pair, estimate in evidence.pairs.items() if estimate.value < LIMITS[1]]
    least = min(apart, key=lambda pair: evidence.pairs[pair].value, default=None)
    if least and trained_here and not set(least) & set(held_out):
        text = f"Train without {least[0]} and see what it does there"
        found.append(Advice(text, f"split: {{held_out: {{classes: [{least[0]}]}}}}"))
    if evidence.times.value < LIMITS[1] and trained_here:
        text = "See what it does at times that it was not trained on"
        found.append(Advice(text, "split: {held_out: {times: […, …]}}"))
    if unsettled(evidence):
        how = "probe: {batches: …}, trajectories: …"
        if trained_here:
            found.append(Advice("Settle it: more seeds, then more probe batches", f"seeds: […], {how}"))
        else:
            found.append(Advice("Settle it: more probe batches, of a test trajectory of each class each", how))
    if trained_here:
        found.append(Advice("Check it by training again without classes and times", PROOF))
    elif evidence.held_out is False:
        text = "Say what it was trained on, so that errors are of what it has not seen"
        found.append(Advice(text, "split: {trained: …}"))
    return found


def told(evidence: Evidence, horizon: float = np.nan, **known: Any) -> dict[str, Any]:
    """All of it, as JSON has it. horizon: of `strength`; known: of `advice`"""
    return {
        "answer": answer(evidence),
        "strength": strength(evidence, horizon),
        "bars": [one._asdict() for one in bars(evidence)],
        "unsettled": unsettled(evidence),
        "moved": moved(evidence),
        "next": [one._asdict() for one in advice(evidence, **known)],
    }
