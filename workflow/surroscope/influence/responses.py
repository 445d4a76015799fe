"""What a study asks the response of, and the gradients that this takes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Response:
    """H_AB[j, i]: what a step on observable `step` at sample i, the perturbation, does to `observable` at sample j."""

    observable: str
    step: str = "smse"


class Responses:
    """The gradients that some responses need, N samples each: first those of the perturbations, the cost's first.

    names: of the observables, in this order; perturbations: how many of them are stepped on
    """

    def __init__(self, responses: Sequence[Response]) -> None:
        steps = sorted({r.step for r in responses}, key=lambda name: (name != "smse", name))
        self.names = [*steps, *(name for name in dict.fromkeys(r.observable for r in responses) if name not in steps)]
        self.perturbations = len(steps)

    def place(self, observable: str, samples: int) -> np.ndarray:
        """Rows (N,) of an observable's gradients."""
        return np.arange(samples) + self.names.index(observable) * samples
