"""Networks, windows and strategies that the tests of training share."""

import torch
from torch import Tensor, nn

from surroscope.models import surrogate
from surroscope.system import SYSTEMS
from surroscope.training.strategy import Strategy, Window, load, next_state

EULER = SYSTEMS["CE"]
SHAPE = (4, 6, 6)
UNET = ("surroscope.models.unet:build", {"width": 4, "stages": 1, "kernels": [3, 3, 3], "heads": 1, "blocks": 1})
NAMES = ("noise", "symmetry", "strides", "pushforward", "unrolled", "fish")
PATHS = {name: f"surroscope.training.strategies.{name}:build" for name in NAMES} | {
    "weighted": "surroscope.influence.sampling:build"
}


class Scale(nn.Module):
    """f(s) = w s"""

    def __init__(self, weight: float = 0.7) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight, dtype=torch.float64))

    def forward(self, states: Tensor) -> Tensor:
        return self.weight * states


def window(following: int, network: nn.Module | None = None, count: int = 5) -> Window:
    states = 0.5 + torch.rand(count, 1 + following, *SHAPE, generator=torch.Generator().manual_seed(3)).double()
    return Window(network or Scale(), states, torch.zeros(count, 2, dtype=torch.long))


def built(name: str) -> tuple[nn.Module, Strategy]:
    factory, options = UNET
    call = None
    if name == "strides":
        factory, options, call = (
            "surroscope.models.wrapped:told",
            {"factory": factory, "options": options},
            {"lead": {"lead": 1.0}},
        )
    network = surrogate.build(factory, options, shape=SHAPE, seed=1, call=call)
    options = {"every": 2, "samples": 1} if name == "weighted" else {}
    return network, next_state() if name == "one_step" else load(PATHS[name], options, EULER)


def data() -> tuple[Tensor, Tensor]:
    states = 0.5 + torch.rand(6, 8, *SHAPE, generator=torch.Generator().manual_seed(0))
    return states, 0.5 + torch.rand(3, 8, *SHAPE, generator=torch.Generator().manual_seed(1))
