"""Fish (Shi et al. 2022, arXiv 2104.09937): inner steps through all domains, and a part of the way that they lead.

To first order it raises the inner products of the gradients of different domains: of classes and windows of times.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from surroscope.training.strategy import Pass, Strategy, next_state


def build(rate: float = 0.5, window: int = 4) -> Strategy:
    """θ ← θ + rate (θ' - θ), where θ' is after a step of the optimiser on a batch of each domain, in random order.

    A domain is a class and `window` consecutive times.
    """

    def batches(of: Pass) -> list[np.ndarray]:
        numbers = of.labels[:, 0] * (of.labels[:, 1].max() + 1) + of.labels[:, 1] // window
        domains = [of.order[numbers == number] for number in np.unique(numbers)]
        rounds = -(-max(map(len, domains)) // of.size)
        split = [np.array_split(domain, rounds) for domain in domains]
        of.memory["domains"] = len(domains)
        of.memory.setdefault("start", copies(of.network))
        return [split[d][r] for r in range(rounds) for d in of.draw.permutation(len(domains))]

    @torch.no_grad()
    def stepped(network: nn.Module, memory: dict[str, Any]) -> None:
        memory["steps"] = memory.get("steps", 0) + 1
        if memory["steps"] % memory["domains"] == 0:
            for parameter, start in zip(network.parameters(), memory["start"], strict=True):
                parameter.copy_(torch.lerp(start, parameter, rate))
            memory["start"] = copies(network)

    return Strategy(next_state().loss, batches=batches, stepped=stepped)


def copies(network: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]
