"""What a study asks the response of, the gradients that this takes, and their products."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# The axes of an influence matrix.
MATRIX = ("response_class", "response_time", "perturbation_class", "perturbation_time")


@dataclass(frozen=True)
class Response:
    """H_AB[j, i]: what a step on observable `step` at sample i, the perturbation, does to `observable` at sample j."""

    observable: str
    step: str = "smse"


class Responses:
    """The gradients that some responses need, N samples each.

    names: of the observables: first those that are stepped on, the cost before the others, then those that only respond
    perturbations: how many of them are stepped on
    """

    def __init__(self, responses: Sequence[Response]) -> None:
        steps = sorted({r.step for r in responses}, key=lambda name: (name != "smse", name))
        self.names = [*steps, *(name for name in dict.fromkeys(r.observable for r in responses) if name not in steps)]
        self.perturbations = len(steps)

    def place(self, observable: str, samples: int) -> np.ndarray:
        """Rows (N,) of an observable's gradients."""
        return np.arange(samples) + self.names.index(observable) * samples


@dataclass(frozen=True)
class Grams:
    """Of R gradients g (rows of G), the first D of which have tangents J g.

    k: G Gᵀ (R, R); b: (J Gᵀ)ᵀ (J Gᵀ) / M (D, D); adam: G diag(1 / (sqrt v̂ + ε)) Gᵀ (R, R), or None
    precision: dtype that G was computed in, whatever its products are in
    """

    k: np.ndarray
    b: np.ndarray
    adam: np.ndarray | None = None
    precision: str = "float64"
