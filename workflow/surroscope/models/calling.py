"""Networks that are called otherwise than (B, F, Y, X) to the same: by other axes, units, arguments, outputs."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from surroscope.models.context import LABELS, Contextual

SNAPSHOTS = "b t c y x"


class Called(Contextual):
    """A network as a function of contexts, see `context`, in stored units, to the next states (N, F, Y, X).

    channels: F
    axes: of what the network is given, "b y x c", "b t c y x", or "b (t c) y x" where snapshots are one behind the
        other on the axis of channels. Constant channels are behind the others of each snapshot, there once behind all
    output_axes: of what it gives back; unless said, the same, without t where it is one axis with c
    output: which part of that is meant, a key, an attribute or a number; output_time: which snapshot of several
    predicts: "state", or "delta", what is to be added to the state that it was given
    mean, std: of each channel, subtracted from what it is given and divided by, or None; they are undone of a state,
        and a delta is multiplied by std
    output_mean, output_std: those of what it gives back, if they are others
    normalize: "data" for those of the trajectories that `normalised_by` is given, kept with the weights; a delta's
        are of the changes from snapshot to snapshot
    lead: (the name of an argument, what it is per snapshot) of a network that is told how far to predict
    arguments: what else it is called with by name: a number, or a list of them, for each sample; else as it is
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        channels: int,
        history: int = 1,
        constants: int = 0,
        labelled: bool = False,
        axes: str | None = None,
        output_axes: str | None = None,
        output: str | int | None = None,
        output_time: int | None = None,
        predicts: str = "state",
        mean: list[float] | None = None,
        std: list[float] | None = None,
        output_mean: list[float] | None = None,
        output_std: list[float] | None = None,
        normalize: str | None = None,
        lead: Mapping[str, float] | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(history=history, constants=constants, labelled=labelled, leads=bool(lead))
        self.mean: Tensor | None
        self.std: Tensor | None
        self.output_mean: Tensor | None
        self.output_std: Tensor | None
        self.network, self.channels = network, channels
        self.axes = axes or ("b c y x" if history == 1 else "b (t c) y x")
        # Of one snapshot, where all are on one axis with the channels.
        self.joined = re.sub(r"\(t c\)|\(c t\)", "c", self.axes) if "(" in self.axes else None
        self.output_axes = output_axes or self.joined or self.axes
        self.output, self.output_time = output, output_time
        self.delta, self.lead, self.arguments = predicts == "delta", dict(lead or {}), dict(arguments or {})
        if normalize:
            mean, std = [0.0] * (channels + constants), [1.0] * (channels + constants)
        if output_mean is None and mean and not self.delta:
            output_mean = mean[:channels]
        if output_std is None and std:
            output_std = std[:channels]
        scales = {"mean": mean, "std": std, "output_mean": output_mean, "output_std": output_std}
        for name, values in scales.items():
            scale = None if values is None else torch.tensor(values)[:, None, None]
            self.register_buffer(name, scale, persistent=bool(normalize))
        self.normalize = normalize

    def normalised_by(self, trajectories: Tensor) -> None:
        """Take the mean and the standard deviation of each channel of trajectories (n, S, C, Y, X), in float64."""
        own = moments(trajectories)
        later = moments(trajectories, lambda states: states[:, : self.channels].diff(dim=0)) if self.delta else own
        found = {"mean": own[0], "std": own[1], "output_std": later[1][: self.channels]}
        if not self.delta:
            found["output_mean"] = own[0][: self.channels]
        for name, values in found.items():
            getattr(self, name).copy_(values)

    def forward(self, contexts: Tensor) -> Tensor:
        snapshots = self.snapshots(contexts)
        given = snapshots if self.mean is None else snapshots - self.mean
        given = given if self.std is None else given / self.std
        told = contexts[:, contexts.shape[1] - self.planes :, 0, 0]
        arguments = {name: for_each(value, contexts) for name, value in self.arguments.items()}
        arguments |= {name: told[:, -1] * each for name, each in self.lead.items()}
        if self.labelled:
            arguments["labels"] = told[:, :LABELS]
        found = self.read(part(self.network(self.arranged(given), **arguments), self.output))
        found = found if self.output_std is None else found * self.output_std
        found = found if self.output_mean is None else found + self.output_mean
        return snapshots[:, -1, : self.channels] + found if self.delta else found

    def arranged(self, snapshots: Tensor) -> Tensor:
        """Snapshots (N, T, C, Y, X) as the network takes them."""
        if not self.joined or not self.constants:
            return ordered(snapshots, SNAPSHOTS, self.axes, snapshots.shape[2])
        fields, constants = snapshots.split([self.channels, self.constants], dim=2)
        parts = (
            ordered(fields, SNAPSHOTS, self.axes, self.channels),
            ordered(constants[:, -1:], SNAPSHOTS, self.joined, self.constants),
        )
        return torch.cat(parts, dim=self.joined.split().index("c"))

    def read(self, found: Any) -> Tensor:
        """The next state (N, F, Y, X) of what the network gives back. Raises ValueError unless it is one snapshot."""
        snapshots = ordered(found, self.output_axes, SNAPSHOTS, self.channels)
        if self.output_time is None and snapshots.shape[1] != 1:
            raise ValueError(
                f"it gives back {snapshots.shape[1]} snapshots; say in call.output_time which is the next, as 0"
            )
        return snapshots[:, self.output_time or 0]


def ordered(values: Any, given: str, wanted: str, channels: int) -> Tensor:
    """Axes in another order, where "(t c)" is one axis of two; channels: how many of c there are in it.

    Of the axes b, t, c, y and x there is one snapshot where t is not given. Raises ValueError for another number of
    axes.
    """
    if not isinstance(values, Tensor):
        raise ValueError(f"gives back {type(values).__name__}; say in call.output which part of it is the prediction")
    axes = re.findall(r"\(.*?\)|\w", given)
    if values.dim() != len(axes):
        raise ValueError(f"expected axes {given}, found shape {tuple(values.shape)}")
    for place, axis in enumerate(axes):
        if len(axis) > 1:
            values = values.unflatten(place, (-1, channels) if axis == "(t c)" else (channels, -1))
    names = re.findall(r"\w", given)
    if "t" not in names:
        values, names = values.unsqueeze(0), ["t", *names]
    order = re.findall(r"\w", wanted)
    kept = order if "t" in order else ["t", *order]
    values = values.permute([names.index(name) for name in kept])
    values = values if "t" in order else values[0]
    joined = next((place for place, axis in enumerate(re.findall(r"\(.*?\)|\w", wanted)) if len(axis) > 1), None)
    return values if joined is None else values.flatten(joined, joined + 1)


def moments(trajectories: Tensor, of: Callable[[Tensor], Tensor] = lambda states: states) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of (n, S, C, Y, X), (C, 1, 1) each; of what does not vary, 1.

    of: of what, of each trajectory (S, C, Y, X)
    """
    counts, means, squares = [], [], []
    for states in trajectories:  # one at a time, since they may be mapped
        values = of(states).double().transpose(0, 1).flatten(1)
        counts.append(values.shape[1])
        means.append(values.mean(dim=1))
        squares.append(values.var(dim=1, correction=0))
    count, mean = sum(counts), torch.stack(means).mean(dim=0)
    # As many values of each: the variance is that within trajectories and that of their means.
    variance = torch.stack(squares).mean(dim=0) + torch.stack(means).var(dim=0, correction=0)
    std = (variance * count / (count - 1)).sqrt()
    std = torch.where(std > 0, std, 1)
    return mean.float()[:, None, None], std.float()[:, None, None]


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
