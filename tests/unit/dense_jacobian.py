"""The Jacobian of a module as it is, knowing nothing of torch.func or of how the package calls a network."""

import torch
from torch import Tensor, nn

from surroscope.influence.functional import copied


def pairs(values: Tensor) -> Tensor:
    return torch.view_as_real(values.resolve_conj()).flatten() if values.is_complex() else values.flatten()


def jacobian(network: nn.Module, states: Tensor) -> Tensor:
    """(N, F Y X, P) in float64, one backward pass of the module an output."""
    rows = []
    outputs = network(states[:1]).numel()
    for state in states:
        for output in range(outputs):
            network.zero_grad()
            network(state[None]).flatten()[output].backward()
            rows.append(torch.cat([pairs(torch.zeros_like(p) if p.grad is None else p.grad) for p in trained(network)]))
    network.zero_grad()
    return torch.stack(rows).reshape(len(states), -1, len(rows[0]))


def trained(network: nn.Module) -> list[Tensor]:
    return [p for p in network.parameters() if p.requires_grad]


def moved(network: nn.Module, states: Tensor, direction: Tensor, step: float = 1e-5) -> Tensor:
    """J v by differences of predictions, (N, F Y X)."""
    found = []
    for sign in (1, -1):
        other, start = copied(network), 0
        with torch.no_grad():
            for p in trained(other):
                flat = torch.view_as_real(p) if p.is_complex() else p
                flat += sign * step * direction[start : start + flat.numel()].reshape(flat.shape)
                start += flat.numel()
            found.append(other(states).flatten(1))
    return (found[0] - found[1]) / (2 * step)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())
