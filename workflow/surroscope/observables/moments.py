"""Spatial means of fields (..., Y, X), to (...)."""

from torch import Tensor


def mean(field: Tensor) -> Tensor:
    return field.mean((-2, -1))


def rms(field: Tensor) -> Tensor:
    return field.square().mean((-2, -1)).sqrt()
