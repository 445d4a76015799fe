"""The words of the page, as docs/glossary.md defines them, and whether a verdict is settled, in words."""

from collections.abc import Mapping
from typing import Any

from surroscope.diagnostics.verdict import UNTOLD

WORDS = {
    "influence H[response, perturbation]": (
        "how much the error of the response falls per unit of a natural gradient step on the error of the "
        "perturbation; positive helps. Shown over the standard deviation of its row, so that 1 is the batch's "
        "own noise"
    ),
    "kernel transfer": (
        "of what random steps change in the predictions at one place, the share that the changes at another "
        "place tell, relative to what it tells of itself: 0 where nothing is shared, 1 where it tells as much; a "
        "network that shares all its weights may read less, or more. Verdicts rest on it"
    ),
    "half-life": "the lag at which influence within a class has fallen to half of that at lag 0",
    "persistence": "predicting that nothing changes: what an error is compared with",
    "probe batch": "one test trajectory of every class, its transitions up to `probe.snapshots`",
    "residual": "∂ error / ∂ prediction at a transition: what is left to learn there",
    "settled": (
        "no limit of a label lies within a 95 % interval; another noise of the measure may give another label "
        "all the same, and the card says so"
    ),
    "shared, partly shared, kept apart": "labels of the verdict, by kernel transfer: 0.9 or more, between, below 0.2",
    "published signature": (
        "the label by the measure of arXiv 2509.00024, signed influence; it mixes what is shared with what is "
        "left to learn"
    ),
    "SMSE": (
        "the squared error of every channel over the root mean square of its target, mean over channels and cells"
    ),
    "transition": "a pair of consecutive snapshots (s_t, s_t+1)",
    "trust horizon": "the first step of a rollout whose error reaches that of predicting no change",
}


def settled(told: Mapping[str, Any]) -> str:
    """Whether more seeds or batches, or another choice, change a verdict. told: the verdict as verdict.json has it"""
    if told["label"] in UNTOLD:
        return "nothing to settle yet"
    others = f"; another noise of the measure gives another label ({'; '.join(told['moved'])})" if told["moved"] else ""
    if told["unsettled"]:
        names = "; ".join(told["unsettled"])
        which = "whose interval spans" if len(told["unsettled"]) == 1 else "whose intervals span"
        return f"not settled for {names}, {which} a limit between labels{others}"
    if any(None in bar.values() for bar in told["bars"]):
        return f"not settled: there is no interval, which takes more seeds or probe batches{others}"
    return f"settled, as far as intervals tell{others}"
