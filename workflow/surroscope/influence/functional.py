"""Networks as functions of their parameters, and products of vectors of parameters."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import group_norm
from torch.overrides import TorchFunctionMode
from torch.utils import checkpoint
from torch.utils._pytree import tree_leaves

Tree = dict[str, Tensor]
COLUMNS = 2**16
# What makes a tensor that depends on no sample and no direction, and that a network may then write into.
MAKERS = {
    getattr(place, name)
    for place in (torch, Tensor)
    for kind in ("zeros", "ones", "empty", "full")
    for name in (kind, f"{kind}_like", f"new_{kind}", "clone")
    if hasattr(place, name)
}


def as_real(parameter: Tensor) -> Tensor:
    """A parameter without its graph; a complex one as pairs of real numbers, (..., 2)."""
    return torch.view_as_real(parameter.detach()) if parameter.is_complex() else parameter.detach()


def copied(network: nn.Module) -> nn.Module:
    """A copy. Of what a module keeps of its last forward pass, as of attention, the values alone are copied."""
    kept = [part for module in network.modules() for part in vars(module).values() if isinstance(part, Tensor)]
    return deepcopy(network, {id(part): part.detach().clone() for part in kept if not part.is_leaf})


def converted(network: nn.Module, place: torch.device | None, dtype: torch.dtype) -> nn.Module:
    """The network itself, moved, with all its numbers in a precision; complex ones stay complex, as torch's `to` does
    not keep them."""
    pair = {torch.float32: torch.complex64, torch.float64: torch.complex128}[dtype]

    def convert(part: Tensor) -> Tensor:
        return part.to(place, pair if part.is_complex() else dtype if part.is_floating_point() else None)

    return network._apply(convert)


@contextmanager
def plain() -> Iterator[None]:
    """While a network is linearized: attention and weight norms by formula, checkpoints as calls, nothing compiled.

    Their kernels have no forward mode; recomputation drops out of torch.func without an error.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(mock.patch.object(torch, "_weight_norm", _weight_norm))
        # Both kinds of checkpoint, under whatever name a network has imported the function that chooses.
        stack.enter_context(mock.patch.object(checkpoint.CheckpointFunction, "apply", _called))
        stack.enter_context(mock.patch.object(checkpoint, "_checkpoint_without_reentrant_generator", _around))
        yield


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    return v * (g / torch.norm_except_dim(v, 2, dim))


def _called(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
    return function(*args)


def _around(*args: Any, **kwargs: Any) -> Iterator[None]:
    yield


class Adapted(TorchFunctionMode):
    """What torch.func asks of a network: a tensor that it makes and then writes into is made for each sample and
    direction, channels lie where they lie by default, and what goes into a group norm in one piece, with its tangent.

    zero: a number 0 that depends on the sample and the direction, so that a tensor to which it is added does too
    """

    def __init__(self, zero: Tensor) -> None:
        super().__init__()
        self.zero = zero

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.group_norm, group_norm):
            args = (args[0].clone(memory_format=torch.contiguous_format), *args[1:])
        kwargs = kwargs or {}
        if kwargs.get("memory_format") in (torch.channels_last, torch.channels_last_3d):
            kwargs = kwargs | {"memory_format": torch.contiguous_format}
        found = func(*args, **kwargs)
        if func in MAKERS and (found.is_floating_point() or found.is_complex()):
            return found + self.zero.to(found)
        return found


def call_with(network: nn.Module, parameters: Tree, args: Any, kwargs: Any = None, *, adapted: bool = False) -> Any:
    """network(*args, **kwargs) with other parameters, named as `named_parameters` names them; it keeps its own.

    Each place of a shared parameter gets it, and a module with two names counts once: torch's own tying would leave
    the replacement in such a module. Complex parameters are given as pairs of real numbers, see `as_real`.

    adapted: see `Adapted`
    """
    names = {id(p): name for name, p in network.named_parameters()}
    replaced = {}
    for path, module in network.named_modules():
        for key, p in module.named_parameters(recurse=False, remove_duplicate=False):
            if names[id(p)] in parameters:
                part = parameters[names[id(p)]]
                replaced[f"{path}.{key}" if path else key] = torch.view_as_complex(part) if p.is_complex() else part
    with ExitStack() as stack:
        stack.enter_context(plain())
        if adapted:
            given = [*tree_leaves(args), *tree_leaves(kwargs), *parameters.values()]
            numbers = [part for part in given if isinstance(part, Tensor) and part.is_floating_point() and part.numel()]
            first = [torch.zeros_like(part[(0,) * part.dim()], dtype=torch.float32) for part in numbers]
            zero = torch.stack(first).sum()
            stack.enter_context(Adapted(zero))
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
