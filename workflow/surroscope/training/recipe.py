"""How weights are changed: the options of the optimiser, its learning rate, and the average of the weights."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is done to the weights.

    batch: windows per step, over all processes; the gradient is that of the mean over all of them
    precision: of the forward and backward pass, "float32" or "bfloat16" (autocast); weights, their updates, the loss
        and the validation are float32
    compile: torch.compile the network for the training steps
    budget: forwards of one sample, a backward counting two, which the epochs spend in equal parts; None: an epoch is
        as many steps as a pass over all windows takes, also where some of them are left out
    clip: the norm that a gradient is scaled down to, if it is larger
    warmup: the share of training in which the learning rate rises to its own
    schedule: of the learning rate then, "constant", or "cosine" to 0 at the end
    average: decay of the exponential moving average of the weights, which is validated and kept in their place; it is
        at most (1 + n) / (10 + n) at step n, so that what was there at first is forgotten
    """

    learning_rate: float
    weight_decay: float = 1e-4
    batch: int = 48
    precision: str = "float32"
    compile: bool = False
    budget: float | None = None
    clip: float | None = None
    warmup: float = 0.0
    schedule: str = "constant"
    average: float | None = None

    def rate(self, done: float) -> float:
        """The learning rate after a share of training."""
        if done < self.warmup:
            return self.learning_rate * done / self.warmup
        if self.schedule == "cosine":
            return self.learning_rate * (1 + math.cos(math.pi * (done - self.warmup) / (1 - self.warmup))) / 2
        return self.learning_rate


@contextmanager
def averaged(network: nn.Module, average: dict[str, Tensor]) -> Iterator[None]:
    """The network with other parameters, if there are any, as an average of them, and afterwards as it was."""
    parameters = dict(network.named_parameters())
    own = {name: parameters[name].detach().clone() for name in average}
    try:
        for name, tensor in average.items():
            parameters[name].data.copy_(tensor)
        yield
    finally:
        for name, tensor in own.items():
            parameters[name].data.copy_(tensor)
