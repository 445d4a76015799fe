"""Networks that are called in other ways equal what a wrapper by hand gives."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from surroscope.config.networks import Call
from surroscope.errors import UserError
from surroscope.models import context, surrogate

STATES = torch.rand(3, 2, 4, 5, generator=torch.Generator().manual_seed(0))
MEAN, STD = torch.tensor([0.5, -1.0])[:, None, None], torch.tensor([2.0, 0.1])[:, None, None]
UNITS = {"mean": [0.5, -1.0], "std": [2.0, 0.1]}


class Step(nn.Module):
    """A step of a convolution, before and after which a test puts what it is about."""

    def __init__(self, before: Callable = lambda x: x, after: Callable = lambda x: x, **_: Any) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 2, 3, padding=1)
        self.before, self.after = before, after

    def forward(self, given: Tensor, **arguments: Any) -> Any:
        found = self.convolution(self.before(given))
        for value in arguments.values():
            found = found + value[:, None, None, None] if isinstance(value, Tensor) else found * 2
        return self.after(found)


CASES: dict[str, tuple[dict, Callable, Callable, Callable]] = {
    # name: (call, before, after, what the whole is of f, the convolution alone, and the states)
    "state": ({}, lambda x: x, lambda y: y, lambda f, x: f(x)),
    "units": (UNITS, lambda x: x, lambda y: y, lambda f, x: f((x - MEAN) / STD) * STD + MEAN),
    "delta": ({"predicts": "delta"}, lambda x: x, lambda y: y, lambda f, x: x + f(x)),
    "delta in units": (
        UNITS | {"predicts": "delta"},
        lambda x: x,
        lambda y: y,
        lambda f, x: x + f((x - MEAN) / STD) * STD,
    ),
    "delta in its own units": (
        UNITS | {"predicts": "delta", "output_mean": [0.1, 0.2], "output_std": [3.0, 4.0]},
        lambda x: x,
        lambda y: y,
        lambda f, x: (
            x + f((x - MEAN) / STD) * torch.tensor([3.0, 4.0])[:, None, None] + torch.tensor([0.1, 0.2])[:, None, None]
        ),
    ),
    "channels last": (
        {"axes": "b y x c"},
        lambda x: x.permute(0, 3, 1, 2),
        lambda y: y.permute(0, 2, 3, 1),
        lambda f, x: f(x),
    ),
    "a time axis": ({"axes": "b t c y x"}, lambda x: x[:, 0], lambda y: y[:, None], lambda f, x: f(x)),
    "time first, none in the output": (
        {"axes": "t b c y x", "output_axes": "b c y x"},
        lambda x: x[0],
        lambda y: y,
        lambda f, x: f(x),
    ),
    "x before y": ({"axes": "b c x y"}, lambda x: x.mT, lambda y: y.mT, lambda f, x: f(x)),
    "an attribute": ({"output": "sample"}, lambda x: x, lambda y: SimpleNamespace(sample=y), lambda f, x: f(x)),
    "a key": ({"output": "next"}, lambda x: x, lambda y: {"next": y}, lambda f, x: f(x)),
    "of a tuple": ({"output": 1}, lambda x: x, lambda y: (None, y), lambda f, x: f(x)),
    "a lead time": ({"arguments": {"time": 0.25}}, lambda x: x, lambda y: y, lambda f, x: f(x) + 0.25),
    "a switch": ({"arguments": {"twice": True}}, lambda x: x, lambda y: y, lambda f, x: 2 * f(x)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_network_that_is_called_otherwise_equals_a_wrapper_by_hand(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, before, after, whole = CASES[name]
    monkeypatch.setattr(f"{__name__}.Step.__init__.__defaults__", (before, after))
    network = built(call)
    convolution = surrogate.inner(network).convolution
    torch.testing.assert_close(network(STATES), whole(convolution, STATES))


def built(call: dict) -> nn.Module:
    shape = tuple(STATES.shape[1:])
    return surrogate.build(f"{__name__}:Step", {}, shape=shape, seed=0, call=Call(**call).model_dump()).eval()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"output": "sample"}, "sample"),
        ({"output": 7}, "index"),
        ({"axes": "b t c y x", "output_axes": "b c y x"}, "fails on a batch of states"),
        ({"output_axes": "b t c y x"}, r"expected axes b t c y x, found shape \(2, 2, 4, 5\)"),
        ({"axes": "b y x c"}, "fails on a batch of states"),
    ],
)
def test_a_call_that_does_not_fit_is_one_line(call: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        built(call)


class Totalled(nn.Module):
    """Adds what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, states: Tensor, labels: Tensor) -> Tensor:
        return states * self.scale + labels.float().sum(dim=-1)[:, None, None, None]


def test_labels_that_the_call_gives_are_those_the_network_gets() -> None:
    call = {"arguments": {"labels": [10.0, 20.0]}}
    network = surrogate.build(f"{__name__}:Totalled", {}, shape=(2, 8, 8), seed=0, call=call)
    states, labels = torch.zeros(1, 1, 2, 8, 8), torch.tensor([[1, 3]])
    assert network(context.of(network, states, labels)).mean() == 30
