"""A network that is called wrongly is told how it is meant, and one that merely errs is not."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from surroscope.diagnostics.mistakes import likelier

CHANNELS = ("density", "u", "v")
DRAW = torch.Generator().manual_seed(0)
SCALE, SHIFT = torch.tensor([1.0, 20.0, 0.3])[:, None, None], torch.tensor([5.0, -40.0, 0.0])[:, None, None]
STATES = torch.randn(12, 3, 6, 6, generator=DRAW) * SCALE + SHIFT
MEAN, STD = STATES.mean(dim=(0, 2, 3), keepdim=True), STATES.std(dim=(0, 2, 3), keepdim=True)


def step(x: Tensor) -> Tensor:
    """The truth: channels move along y, each by its own number of cells, and the first acts on the second."""
    moved = torch.stack([x[:, n].roll(n + 1, -2) for n in range(3)], dim=1)
    moved[:, 1] += 0.3 * moved[:, 0]
    return moved


ORDER, BACK = [2, 0, 1], [1, 2, 0]
MISTAKES: dict[str, Callable[[Tensor], Tensor]] = {
    r"normalised by the data's mean and standard deviation \(call\.mean": lambda z: (step(z * STD + MEAN) - MEAN) / STD,
    r"with its output added to the state \(call\.predicts: delta\)": lambda x: step(x) - x,
    r"normalised, and with its output added": lambda z: (step(z * STD + MEAN) - (z * STD + MEAN)) / STD,
    r"with x before y \(call\.axes: b c x y\)": lambda x: step(x.mT).mT,
    r"with its channels in the order v, density, u \(equations\.channels\)": lambda x: step(x[:, BACK])[:, ORDER],
}


@pytest.mark.parametrize("said", MISTAKES)
def test_a_call_that_was_meant_otherwise_is_named(said: str) -> None:
    found = likelier(lambda x: MISTAKES[said](x[:, -1]), STATES[:, None], step(STATES), CHANNELS)  # type: ignore[arg-type]
    assert re.match(said, found), found


@pytest.mark.parametrize("network", [step, torch.zeros_like, lambda x: x.flip(0), lambda x: x * torch.nan])
def test_no_call_is_named_for_one_that_is_right_or_has_learned_nothing(network: Callable[[Tensor], Tensor]) -> None:
    assert likelier(lambda x: network(x[:, -1]), STATES[:, None], step(STATES), CHANNELS) == ""  # type: ignore[arg-type]
