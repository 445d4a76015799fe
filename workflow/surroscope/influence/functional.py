"""Networks as functions of their parameters, and products of vectors of parameters."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

Tree = dict[str, Tensor]
COLUMNS = 2**16


def call_with(network: nn.Module, parameters: Tree, args: Any, kwargs: Any = None) -> Any:
    """network(*args, **kwargs) with other parameters, named as `named_parameters` names them; it keeps its own.

    Each place of a shared parameter gets it, and a module with two names counts once: torch's own tying would leave
    the replacement in such a module.
    """
    names = {id(p): name for name, p in network.named_parameters()}
    replaced = {}
    for path, module in network.named_modules():
        for key, p in module.named_parameters(recurse=False, remove_duplicate=False):
            if names[id(p)] in parameters:
                replaced[f"{path}.{key}" if path else key] = parameters[names[id(p)]]
    return functional_call(network, replaced, args, kwargs, tie_weights=False)


def reverse(value: Tensor, leaves: Tree, cotangent: Tensor | None = None, **options: bool) -> Tree:
    """Jᵀ u for every leaf; zeros for a leaf that the value does not depend on."""
    if not value.requires_grad:
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    parts = torch.autograd.grad(value, list(leaves.values()), cotangent, allow_unused=True, **options)
    pairs = zip(leaves.items(), parts, strict=True)
    return {name: torch.zeros_like(leaf) if part is None else part for (name, leaf), part in pairs}


def inner(a: Tensor, b: Tensor, columns: int = COLUMNS) -> np.ndarray:
    """a bᵀ of (K, P) and (L, P), some columns at a time, accumulated in float64: (K, L)."""
    parts = zip(a.split(columns, dim=1), b.split(columns, dim=1), strict=True)
    total = torch.zeros(len(a), len(b), dtype=torch.float64, device=a.device)
    for left, right in parts:
        total += left.double() @ right.double().T
    return total.cpu().numpy()
