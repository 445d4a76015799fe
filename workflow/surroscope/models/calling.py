"""Networks that are called otherwise than (B, F, Y, X) to the same: by other axes, units, arguments, outputs."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

AXES = "bcyx"


class Called(nn.Module):
    """A network as a function of states in stored units, (B, F, Y, X) to the next ones.

    axes: those of what the network is given, in order: b, c, y, x, and t for one of length 1
    output_axes: those of what it gives back; output: which part of that is meant, a key, an attribute or a number
    predicts: "state", or "delta", what is to be added to the state that it was given
    mean, std: of each channel, subtracted from what it is given and divided by, or None; they are undone of a state,
        and a delta is multiplied by std
    output_mean, output_std: those of what it gives back, if they are others
    arguments: what else it is called with by name: a number, or a list of them, for each sample; else as it is
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        axes: str,
        output_axes: str | None,
        output: str | int | None,
        predicts: str,
        mean: list[float] | None,
        std: list[float] | None,
        output_mean: list[float] | None,
        output_std: list[float] | None,
        arguments: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.mean: Tensor | None
        self.std: Tensor | None
        self.output_mean: Tensor | None
        self.output_std: Tensor | None
        self.network = network
        self.axes, self.output_axes, self.output = axes, output_axes or axes, output
        self.delta, self.arguments = predicts == "delta", dict(arguments)
        if output_mean is None and not self.delta:
            output_mean = mean
        scales = {"mean": mean, "std": std, "output_mean": output_mean, "output_std": output_std or std}
        for name, values in scales.items():
            scale = None if values is None else torch.tensor(values)[:, None, None]
            self.register_buffer(name, scale, persistent=False)

    def forward(self, states: Tensor) -> Tensor:
        given = states if self.mean is None else states - self.mean
        given = given if self.std is None else given / self.std
        arguments = {name: for_each(value, states) for name, value in self.arguments.items()}
        found = part(self.network(ordered(given, AXES, self.axes), **arguments), self.output)
        found = ordered(found, self.output_axes, AXES)
        found = found if self.output_std is None else found * self.output_std
        found = found if self.output_mean is None else found + self.output_mean
        return states + found if self.delta else found


def ordered(values: Tensor, given: str, wanted: str) -> Tensor:
    """Axes in another order; one of length 1 that is not wanted goes, one that is not given comes.

    Raises ValueError for other numbers of axes, and for one that would have to go and is longer.
    """
    if values.dim() != len(given):
        raise ValueError(f"expected an output of axes {' '.join(given)}, found shape {tuple(values.shape)}")
    for axis in set(given) - set(wanted):
        place = given.index(axis)
        if values.shape[place] != 1:
            raise ValueError(f"expected axis {axis} of the output to be 1 long, found {values.shape[place]}")
        values, given = values.squeeze(place), given.replace(axis, "")
    values = values.permute([given.index(axis) for axis in wanted if axis in given])
    for place, axis in enumerate(wanted):
        if axis not in given:
            values = values.unsqueeze(place)
    return values


def for_each(value: Any, states: Tensor) -> Any:
    """A number as a tensor (B,), a list of them as (B, n), in the states' precision if it has a point."""
    if isinstance(value, bool) or not isinstance(value, int | float | list):
        return value
    told = torch.tensor(value, device=states.device)
    told = told.to(states.dtype) if told.is_floating_point() else told
    return told.expand(len(states), *told.shape)


def part(found: Any, which: str | int | None) -> Any:
    """Of what a network gives back, an entry, an attribute, or a place."""
    if which is None:
        return found
    if isinstance(which, str) and not isinstance(found, Mapping):
        return getattr(found, which)
    return found[which]
