"""Training that draws more often from where a step helps elsewhere, as influence measures it while training goes on."""

import numpy as np

from surroscope.cost_function import smse
from surroscope.influence.compute import Rules
from surroscope.influence.compute import influence as solved
from surroscope.influence.functional import copied, inner
from surroscope.influence.linearize import FIXED, Linearization
from surroscope.influence.normalize import standard
from surroscope.influence.responses import Grams
from surroscope.training.strategy import (
    FORWARD,
    WITH_BACKWARD,
    Pass,
    Strategy,
    Window,
    next_state,
    require_counts,
    require_share,
)

RULES = Rules("perturbation", 1e-4, 1e-6, "absolute")
# A tangent is a forward that carries a derivative with it.
TANGENT = 2 * FORWARD


def build(every: int = 8, samples: int = 3, window: int = 4, floor: float = 0.2) -> Strategy:
    """One step from windows that are drawn with replacement, in proportion to what a step on their group helps others.

    A group is a class and `window` consecutive times. Its help is the mean of standardised influence H̃[j, i] of its own
    samples i on those j of the other groups, 0 if that is negative; a share `floor` is drawn evenly. It is measured
    before every `every` passes, the first on, from `samples` windows of each group, and its gradients and tangents are
    counted.
    """
    require_counts(every=every, samples=samples, window=window)
    require_share(floor=floor)

    def batches(of: Pass) -> list[np.ndarray]:
        named = of.labels[:, 0] * (of.labels[:, 1].max() + 1) + of.labels[:, 1] // window
        groups, of_window = np.unique(named, return_inverse=True)
        if of.memory.get("passes", 0) % every == 0:
            chosen = [np.flatnonzero(of_window == g)[:samples] for g in range(len(groups))]
            rows = np.concatenate(chosen)
            h = standard(influence(of.window(of.order[rows])))
            of.spend(len(rows) * WITH_BACKWARD + len(rows) ** 2 * TANGENT)
            of.memory["help"] = helps(h, of_window[rows], len(groups)).tolist()
        of.memory["passes"] = of.memory.get("passes", 0) + 1
        help_of, counts = np.array(of.memory["help"]), np.bincount(of_window)
        share = np.full(len(groups), 1 / len(groups)) if not help_of.any() else help_of / help_of.sum()
        share = floor / len(groups) + (1 - floor) * share
        drawn = of.draw.choice(of.order, len(of.order), p=(share / counts)[of_window])
        return np.array_split(drawn, of.count)

    return Strategy(next_state().loss, batches=batches)


def helps(h: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """Of each group the mean of H̃[j, i] over its samples i and those j of others, 0 where that is negative: (count,)

    Of one group it is 0: there are no others.
    """
    if count == 1:
        return np.zeros(1)
    return np.array([max(0.0, h[np.ix_(groups != group, groups == group)].mean()) for group in range(count)])


def influence(window: Window) -> np.ndarray:
    """H (N, N) between the first transitions of windows, in the span of their gradients, of the network as it is."""
    states, targets = window.given(), window.state(1)
    linear, method = Linearization(copied(window.network)), FIXED[states.device.type]
    gradients = linear.gradients(smse, states, targets, method)
    outputs = linear.tangents(states, gradients, method).flatten(1)
    everything = np.arange(len(states))
    precision = str(gradients.dtype).removeprefix("torch.")
    products = Grams(inner(gradients, gradients), inner(outputs, outputs) / outputs.shape[1], precision=precision)
    return solved(products, everything, everything, RULES, RULES.damping)[0]
