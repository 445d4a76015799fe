"""Why a network that was trained elsewhere may err: how it would err if it were called in other ways."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import permutations

import torch
from torch import Tensor, nn

from surroscope.cost_function import smse

# Of channels whose every order is tried; of more, each pair of them exchanged.
ORDERED = 4
# An error that is lower by this is told.
FACTOR = 0.5

Call = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]


@torch.no_grad()
def likelier(network: nn.Module, states: Tensor, targets: Tensor, channels: tuple[str, ...]) -> str:
    """The call that lowers the one-step error most, in the words of the configuration.

    "" unless it halves the error, and errs less than no change and than the data's mean do.

    states, targets: (N, F, Y, X), transitions of the data
    """
    mean, std = states.mean(dim=(0, 2, 3), keepdim=True), states.std(dim=(0, 2, 3), keepdim=True)
    std = torch.where(std > 0, std, 1)

    def error(call: Call) -> float:
        predicted = torch.cat([call(network, part) for part in states.split(16)])
        return smse(predicted, targets, states).double().mean().item()

    known = {
        name: error(call) for name, call in calls(mean, std, channels, square=states.shape[-1] == states.shape[-2])
    }
    name = min(known, key=lambda name: known[name] if known[name] == known[name] else torch.inf)
    idle = min(error(lambda network, x: x), error(lambda network, x: mean.expand_as(x)))
    if not known[name] < min(FACTOR * error(lambda network, x: network(x)), idle):
        return ""
    return f"{name} its one-step error is {known[name]:.3g}"


def calls(mean: Tensor, std: Tensor, channels: tuple[str, ...], *, square: bool) -> Iterator[tuple[str, Call]]:
    """What may be meant, by what there is to say in the configuration."""

    def units(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return network((x - mean) / std) * std + mean

    yield "normalised by the data's mean and standard deviation (call.mean, call.std)", units
    yield "with its output added to the state (call.predicts: delta)", lambda network, x: x + network(x)
    yield (
        "normalised, and with its output added to the state (call.mean, call.std, call.predicts: delta)",
        lambda network, x: x + network((x - mean) / std) * std,
    )
    if square:
        yield "with x before y (call.axes: b c x y)", lambda network, x: network(x.mT).mT
    for order in orders(len(channels)):
        back = sorted(range(len(order)), key=order.__getitem__)
        yield (
            f"with its channels in the order {', '.join(channels[n] for n in order)} (equations.channels)",
            partial(reordered, order=list(order), back=back),
        )


def reordered(network: Callable[[Tensor], Tensor], x: Tensor, order: list[int], back: list[int]) -> Tensor:
    return network(x[:, order])[:, back]


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
