"""Why a network that was trained elsewhere may err: how it would err if it were called in other ways."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import permutations

import torch
from torch import Tensor

from surroscope.cost_function import smse

# Of channels whose every order is tried; of more, each pair of them exchanged.
ORDERED = 4
# An error that is lower by this is told.
FACTOR = 0.5

# From snapshots (N, T, C, Y, X) to states (N, F, Y, X), and the same called in another way.
Predict = Callable[[Tensor], Tensor]
Call = Callable[[Predict, Tensor], Tensor]


@torch.no_grad()
def likelier(predict: Predict, snapshots: Tensor, targets: Tensor, channels: tuple[str, ...]) -> str:
    """The call that lowers the one-step error most, in the words of the configuration.

    "" unless it halves the error, and errs less than no change and than the data's mean do.

    predict: the network as it is called; snapshots, targets: (N, T, C, Y, X) and (N, F, Y, X), transitions of the data
    channels: the F that it predicts
    """
    cells = (0, 1, 3, 4)
    mean, std = snapshots.mean(dim=cells, keepdim=True)[0], snapshots.std(dim=cells, keepdim=True)[0]
    std = torch.where(std > 0, std, 1)
    states = snapshots[:, -1, : len(channels)]

    def error(call: Call) -> float:
        predicted = torch.cat([call(predict, part) for part in snapshots.split(16)])
        return smse(predicted, targets, states).double().mean().item()

    square = states.shape[-1] == states.shape[-2]
    known = {name: error(call) for name, call in calls(mean, std, channels, square=square)}
    name = min(known, key=lambda name: known[name] if known[name] == known[name] else torch.inf)
    last, middle = (lambda _, x: x[:, -1, : len(channels)]), mean[:, : len(channels)]
    idle = min(error(last), error(lambda predict, x: middle.expand_as(last(predict, x))))
    if not known[name] < min(FACTOR * error(lambda predict, x: predict(x)), idle):
        return ""
    return f"{name} its one-step error is {known[name]:.3g}"


def calls(mean: Tensor, std: Tensor, channels: tuple[str, ...], *, square: bool) -> Iterator[tuple[str, Call]]:
    """What may be meant, by what there is to say in the configuration. mean, std: (1, C, 1, 1)"""
    fields = len(channels)
    middle, scale = mean[:, :fields], std[:, :fields]

    def units(predict: Predict, x: Tensor) -> Tensor:
        return predict((x - mean) / std) * scale + middle

    def added(predict: Predict, x: Tensor) -> Tensor:
        return x[:, -1, :fields] + predict(x)

    def units_added(predict: Predict, x: Tensor) -> Tensor:
        return x[:, -1, :fields] + predict((x - mean) / std) * scale

    yield "normalised by the data's mean and standard deviation (call.mean, call.std)", units
    yield "with its output added to the state (call.predicts: delta)", added
    yield "normalised, and with its output added to the state (call.mean, call.std, call.predicts: delta)", units_added
    if square:
        yield "with x before y (call.axes: b c x y)", lambda predict, x: predict(x.mT).mT
    for order in orders(fields):
        back = sorted(range(fields), key=order.__getitem__)
        yield (
            f"with its channels in the order {', '.join(channels[n] for n in order)} (equations.channels)",
            partial(reordered, order=[*order, *range(fields, mean.shape[1])], back=back),
        )


def reordered(predict: Predict, x: Tensor, order: list[int], back: list[int]) -> Tensor:
    return predict(x[:, :, order])[:, back]


def orders(count: int) -> Iterator[tuple[int, ...]]:
    """Orders of so many channels, but for their own."""
    own = tuple(range(count))
    if count <= ORDERED:
        yield from (order for order in permutations(own) if order != own)
        return
    for a in own:
        for b in own[a + 1 :]:
            order = list(own)
            order[a], order[b] = b, a
            yield tuple(order)
