"""Small networks that the response is tested on, and what is exact about them by dense float64 algebra."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from torch import Tensor, nn

from surroscope.cost_function import Observable
from surroscope.influence.linearize import Linearization, Method
from surroscope.influence.span import Span, solve_span
from surroscope.models import unet, vit
from surroscope.models.unet import AttentionBlock
from surroscope.observables.named import observable
from surroscope.system import COMPRESSIBLE_EULER

# On a busy machine small products take many times longer on several threads than on one.
torch.set_num_threads(1)

FIELDS = 4
OBSERVABLES: dict[str, Observable] = {name: observable(name, COMPRESSIBLE_EULER) for name in ("smse", "mass", "energy")}


def linear_layer() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(FIELDS * 4, FIELDS * 4), nn.Unflatten(1, (FIELDS, 2, 2)))


def circular(inputs: int = FIELDS, outputs: int = FIELDS) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="circular")


def convolution() -> nn.Module:
    return nn.Sequential(circular(outputs=3), nn.SiLU(), circular(inputs=3))


def shared_weights() -> nn.Module:
    layer = circular()
    return nn.Sequential(layer, nn.Tanh(), layer)


def frozen_weights() -> nn.Module:
    network = convolution()
    network[0].weight.requires_grad_(False)
    return network


@dataclass(frozen=True)
class Case:
    """twin: the last sample repeats the first"""

    build: Callable[[], nn.Module]
    samples: int = 5
    size: int = 4
    twin: bool = False


CASES = {
    "linear layer": Case(linear_layer, size=2),
    "convolution": Case(convolution),
    "attention block": Case(lambda: AttentionBlock(FIELDS, heads=2)),
    "shared weights": Case(shared_weights),
    "frozen weights": Case(frozen_weights),
    # 20 parameters: the gradients of 24 samples depend on each other and span all parameters.
    "rank-deficient batch": Case(lambda: nn.Conv2d(FIELDS, FIELDS, 1), samples=24, size=2),
    "duplicated sample": Case(convolution, twin=True),
    # More parameters than outputs, as in practice.
    "ViT": Case(lambda: vit.build(FIELDS, 4, patch=2, width=8, depth=1, heads=2, mlp_ratio=2)),
    "UNet": Case(lambda: unet.build(FIELDS, 4, width=2, stages=1, kernels=(3, 3, 1), heads=1, blocks=1)),
}


def transitions(samples: int, size: int, seed: int = 1, fields: int = FIELDS) -> tuple[Tensor, Tensor]:
    """Noise about 1, so that the mass and the energy are positive: states and targets (N, F, Y, X)."""
    draw = torch.Generator().manual_seed(seed)
    shape = (samples, fields, size, size)
    x, y = (1 + 0.3 * torch.randn(shape, generator=draw, dtype=torch.float64) for _ in range(2))
    return x, y


def generic(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network in float64, off the special point of zero biases."""
    draw = torch.Generator().manual_seed(seed)
    for parameter in network.double().parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
    return network


def gradients(linear: Linearization, function: Observable, x: Tensor, y: Tensor, chunk: int = 4) -> Tensor:
    return linear.gradients(function, x, y, Method(sample_chunk=chunk))


def tangents(linear: Linearization, x: Tensor, directions: Tensor, chunk: int = 64, samples: int = 5) -> Tensor:
    return linear.tangents(x, directions, Method(direction_chunk=chunk, tangent_samples=samples))


def metric(linear: Linearization, x: Tensor, directions: Tensor, chunk: int = 64, samples: int = 5) -> Tensor:
    return linear.metric(x, directions, Method(direction_chunk=chunk, tangent_samples=samples))


def jacobian(linear: Linearization, x: Tensor) -> np.ndarray:
    """Dense J (M, P) by reverse mode: an independent way to the tangents."""
    rows = torch.func.jacrev(lambda parameters: linear.predict(parameters, x))(linear.parameters)
    return torch.cat([rows[name].reshape(-1, p.numel()) for name, p in linear.parameters.items()], 1).numpy()


def weights(function: Observable, linear: Linearization, x: Tensor, y: Tensor) -> Tensor:
    """w = ∂Q/∂ŷ of every sample, (N, F, Y, X)."""
    prediction = linear.predict(linear.parameters, x).requires_grad_()
    return torch.autograd.grad(function(prediction, y, x).sum(), prediction)[0]


def grams(linear: Linearization, g: Tensor, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """G Gᵀ and (J Gᵀ)ᵀ (J Gᵀ) / M."""
    t = tangents(linear, x, g).flatten(1).numpy()
    return (g @ g.T).numpy(), t @ t.T / t.shape[1]


class Problem:
    """A network at a batch of transitions, in float64, with its gradients and its metric; `single` is it in float32."""

    def __init__(self, network: nn.Module, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y
        self.linear = Linearization(network)
        self.single = Linearization(deepcopy(network).float())
        self._rows: dict[str, Tensor] = {}

    def rows(self, *names: str) -> Tensor:
        """Gradients of observables, stacked in this order (len(names) N, P)."""
        for name in set(names) - set(self._rows):
            self._rows[name] = gradients(self.linear, OBSERVABLES[name], self.x, self.y)
        return torch.cat([self._rows[name] for name in names])

    def metric(self, directions: Tensor) -> Tensor:
        """V η in the precision of the directions."""
        double = directions.dtype == torch.float64
        return metric(self.linear if double else self.single, self.x.to(directions), directions)

    def span(self, rows: Tensor, discarded_share: float = 0.0) -> Span:
        return solve_span(*grams(self.linear, rows, self.x), discarded_share=discarded_share)

    @cached_property
    def eta(self) -> np.ndarray:
        j = jacobian(self.linear, self.x)
        return j.T @ j / len(j)

    def steps(self, rows: Tensor, damping: float) -> np.ndarray:
        """(η + λ)⁻¹ g of every row, by its definition: (P, rows)."""
        return np.linalg.solve(self.eta + damping * np.eye(len(self.eta)), rows.numpy().T)

    def influence(self, rows: Tensor, perturbations: int, damping: float) -> np.ndarray:
        """H (rows, perturbations), the steps on the first `perturbations` rows."""
        return rows.numpy() @ self.steps(rows[:perturbations], damping)


@cache
def problem(name: str) -> Problem:
    case = CASES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = generic(case.build())
    x, y = transitions(case.samples, case.size)
    if case.twin:
        x, y = (torch.cat([part, part[:1]]) for part in (x, y))
    return Problem(network, x, y)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
