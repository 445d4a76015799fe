"""The cost that networks are trained on. It is alone in its file, so that a new observable trains nothing again."""

from collections.abc import Callable

from torch import Tensor

# (prediction, target, state), each (B, F, Y, X), to one number a sample, (B,).
Observable = Callable[[Tensor, Tensor, Tensor], Tensor]
EPSILON = 1e-6


def smse(prediction: Tensor, target: Tensor, state: Tensor) -> Tensor:
    """Scaled mean squared error: mean over channel and space of (ŷ_c - y_c)² / (RMS_c(y) + 1e-6).

    RMS_c = sqrt(mean over space of y_c²) of the target. The error is squared, the scale is not
    (arXiv 2509.00024, training loss).
    """
    scale = target.square().mean((-2, -1), keepdim=True).sqrt() + EPSILON
    return ((prediction - target).square() / scale).mean((-3, -2, -1))
