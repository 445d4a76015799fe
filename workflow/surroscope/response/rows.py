"""What a study asks the response of, and the gradients that this takes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Response:
    """H_AB[j, i]: what a step on observable `step` at sample i does to `observable` at sample j moved by `action`."""

    observable: str
    step: str = "smse"
    action: str = "e"


class Rows:
    """The gradients that some responses need, N samples each: first those that steps are taken on, the cost's first."""

    def __init__(self, responses: Sequence[Response]) -> None:
        steps = sorted({(r.step, "e") for r in responses}, key=lambda row: (row[0] != "smse", row))
        bras = dict.fromkeys((r.observable, r.action) for r in responses)
        self.names = [*steps, *(row for row in bras if row not in steps)]
        self.kets = len(steps)

    def place(self, observable: str, action: str, samples: int) -> np.ndarray:
        """Rows (N,) of an observable's gradients at the moved samples."""
        return np.arange(samples) + self.names.index((observable, action)) * samples
