"""What a prediction fails to conserve of its input."""

from collections.abc import Callable

from torch import Tensor

from surroscope.cost_function import EPSILON, Observable
from surroscope.observables.moments import mean, rms
from surroscope.system import System


def of_channel(system: System, *, channels: list[str]) -> Observable:
    """The conservation of the one channel that is named."""
    (name,) = channels
    return conservation(system.channels.index(name), scale=mean if name in system.positive else rms)


def conservation(channel: int, scale: Callable[[Tensor], Tensor] = mean) -> Observable:
    """(⟨ŷ_c⟩ - ⟨x_c⟩)² / (scale(x_c) + 1e-6), ⟨·⟩ the spatial mean, which is also the scale of a positive channel.

    A channel that may change sign takes the RMS as its scale: its mean may be zero or negative.
    """

    def residual(prediction: Tensor, target: Tensor, state: Tensor) -> Tensor:
        predicted, kept = (field[..., channel, :, :] for field in (prediction, state))
        return (mean(predicted) - mean(kept)).square() / (scale(kept) + EPSILON)

    return residual
