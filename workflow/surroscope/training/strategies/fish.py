"""Fish (Shi et al. 2022, arXiv 2104.09937): inner steps through all domains, and a part of the way that they lead.

To first order it raises the inner products of the gradients of different domains: of classes and windows of times.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from surroscope.training.strategy import Pass, Strategy, next_state, require_counts, require_share


def build(rate: float = 0.5, window: int = 4) -> Strategy:
    """θ ← θ + rate (θ' - θ), where θ' is after a step of the optimiser on a batch of each domain, in random order.

    A domain is a class and `window` consecutive times, of which the last takes what is left over. θ, not the inner
    steps, is what is validated and kept. A domain with fewer windows than others has smaller batches.
    """
    require_counts(window=window)
    require_share(rate=rate)

    def batches(of: Pass) -> list[np.ndarray]:
        times = of.labels[:, 1] - of.labels[:, 1].min()
        last = max(1, (times.max() + 1) // window) - 1
        numbers = of.labels[:, 0] * (last + 1) + np.minimum(times // window, last)
        domains = [of.order[numbers == number] for number in np.unique(numbers)]
        rounds = min(-(-max(map(len, domains)) // of.size), min(map(len, domains)))
        split = [np.array_split(domain, rounds) for domain in domains]
        of.memory["domains"] = len(domains)
        of.memory.setdefault("start", copies(of.network))
        return [split[d][r] for r in range(rounds) for d in of.draw.permutation(len(domains))]

    @torch.no_grad()
    def stepped(network: nn.Module, memory: dict[str, Any]) -> None:
        memory["steps"] = memory.get("steps", 0) + 1
        if memory["steps"] % memory["domains"] == 0:
            for name, parameter in network.named_parameters():
                parameter.copy_(torch.lerp(memory["start"][name].to(parameter), parameter, rate))
            memory["start"] = copies(network)

    return Strategy(next_state().loss, batches=batches, stepped=stepped, weights=lambda memory: memory["start"])


def copies(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
