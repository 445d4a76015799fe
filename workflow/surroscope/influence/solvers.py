"""Every solver of influence by name: the metric that it takes, how captions and the report say it, and what it needs.

To add one that works on Gram matrices, write it here and give it an entry of SOLVERS; the configuration, the stages,
the tables and the report know it by that. One that needs the network is also called in `stages/full.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from surroscope.influence.responses import Grams


@dataclass(frozen=True)
class Solver:
    """metric: what η is, as the column `quantity` of every table says it
    title: what captions and the report call influence in this metric; one for all solvers of a metric
    how: the sentence of the methods section, with {span}, {discarded_share}, {damping}, {modes}, {tolerance} filled in
    needs: "grams", what the stage `reduce` writes; "modes", how many of them too, influence.modes; "moments", the
        optimiser's; "network", in the stage `full`
    solve: (Gram matrices, rows j of the responses, rows i of the perturbations) to H[j, i], where neither a damping
        nor the network takes part; raises ValueError
    """

    metric: str
    title: str
    how: str
    needs: Literal["grams", "modes", "moments", "network"] = "grams"
    solve: Callable[[Grams, np.ndarray, np.ndarray], np.ndarray] | None = None


def euclidean(grams: Grams, responses: np.ndarray, perturbations: np.ndarray) -> np.ndarray:
    """H[j, i] = g_j · g_i, the stiffness of Fort et al. 2019 (arXiv 1901.09491)."""
    return grams.k[np.ix_(responses, perturbations)]


def cosine(grams: Grams, responses: np.ndarray, perturbations: np.ndarray) -> np.ndarray:
    """H[j, i] = g_j · g_i / (‖g_j‖ ‖g_i‖); zero where a gradient is zero."""
    norms = np.sqrt(np.diagonal(grams.k))
    norms = np.where(norms == 0, 1.0, norms)
    return euclidean(grams, responses, perturbations) / np.outer(norms[responses], norms[perturbations])


def adam(grams: Grams, responses: np.ndarray, perturbations: np.ndarray) -> np.ndarray:
    """H[j, i] = g_j · g_i / (sqrt v̂ + ε), of the step that Adam would take. Raises ValueError without its moments."""
    if grams.adam is None:
        raise ValueError("no second moments of the optimiser; take 'adam' out of influence.solvers")
    return grams.adam[np.ix_(responses, perturbations)]


FULL = "influence in the full parameter space"
SOLVERS = {
    "subspace": Solver(
        "span",
        "influence within the span of the gradients",
        "η⁻¹ is taken within the span of {span}; of their singular values the smallest are cut, as many as hold "
        "{discarded_share:g} of the sum of squares or less; {damping} is added to the eigenvalues of η",
    ),
    "full": Solver(
        "full",
        FULL,
        "η + {damping} is inverted in the space of all parameters by block Krylov iterations, until the certified "
        "relative error of every entry is {tolerance:g} or less",
        needs="network",
    ),
    "dense": Solver(
        "full", FULL, "η + {damping} is inverted in the space of all parameters by dense algebra", needs="network"
    ),
    "low_rank": Solver(
        "low_rank",
        "influence in a low-rank metric",
        "η is taken along its leading modes within the span of {span}, of which there are {modes}, and beside them as "
        "large as along the next; {damping} is added to its eigenvalues",
        needs="modes",
    ),
    "euclidean": Solver(
        "euclidean",
        "gradient dot products (no metric)",
        "in place of η⁻¹ stands the identity: dot products of gradients",
        solve=euclidean,
    ),
    "cosine": Solver(
        "cosine",
        "cosine of the gradients",
        "in place of η⁻¹ stands the identity, and gradients have length 1",
        solve=cosine,
    ),
    "adam": Solver(
        "adam",
        "Adam-preconditioned step",
        "in place of η⁻¹ stands Adam's preconditioner at that checkpoint",
        needs="moments",
        solve=adam,
    ),
}
# What the column `quantity` of tables holds -> its title.
QUANTITIES = {solver.metric: solver.title for solver in SOLVERS.values()}
