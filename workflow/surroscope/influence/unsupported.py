"""Which module of a network a derivative fails at, and what to do about it."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad, jvp, vmap
from torch.utils._pytree import tree_leaves

from surroscope.influence.functional import Tree, as_real, call_with, plain

REWRITE = "write it with differentiable torch operations"
REMEDIES = {
    "loop": REWRITE,
    "gradients": f'{REWRITE} that torch.func.vmap can batch, or give gradients.method the gradients "loop"',
    "vmap": f'{REWRITE} that have a forward-mode derivative, or give gradients.method the tangents "double_backward"',
    "double_backward": f'{REWRITE} that can be differentiated twice, or give gradients.method the tangents "vmap"',
}


def failing_module(network: nn.Module, kind: str, states: Tensor) -> str | None:
    """The innermost module that the derivative fails at, by its name and type; None if no module fails alone."""
    calls: dict[nn.Module, tuple[Any, Any]] = {}

    def record(module: nn.Module, args: Any, kwargs: Any) -> None:
        calls[module] = args, kwargs

    handles = [module.register_forward_pre_hook(record, with_kwargs=True) for module in network.modules()]
    try:
        with torch.no_grad(), plain():
            network(states)
    finally:
        for handle in handles:
            handle.remove()
    for name, module in reversed(list(network.named_modules())):
        if module in calls:
            try:
                probe(module, *calls[module], kind)
            except (TypeError, ValueError):
                continue
            except RuntimeError:
                return (
                    f"module '{name}' ({type(module).__name__})" if name else f"the network ({type(module).__name__})"
                )
    return None


def probe(module: nn.Module, args: Any, kwargs: Any, kind: str) -> None:
    """Differentiate one module, by its parameters and inputs, as the network is; raises RuntimeError if it fails."""
    inputs = {n: part.detach() for n, part in enumerate(args) if isinstance(part, Tensor) and part.is_floating_point()}
    leaves = {name: as_real(p) for name, p in module.named_parameters()}

    def call(leaves: Tree, inputs: dict[int, Tensor]) -> Tensor:
        filled = tuple(inputs.get(n, part) for n, part in enumerate(args))
        found = call_with(module, leaves, filled, kwargs, adapted=kind in ("gradients", "vmap"))
        outputs = [part for part in tree_leaves(found) if isinstance(part, Tensor)]
        return sum((part.sum() for part in outputs if part.is_floating_point()), torch.zeros(()))

    if kind == "gradients":
        single = {n: part[:, None] for n, part in inputs.items() if part.dim()}
        vmap(grad(call), in_dims=(None, 0))(leaves, single)
    elif kind == "vmap":
        directions = [{key: part.expand(2, *part.shape) for key, part in tree.items()} for tree in (leaves, inputs)]
        vmap(lambda *direction: jvp(call, (leaves, inputs), direction)[1])(*directions)
    else:
        with torch.enable_grad():
            leaves = {name: part.clone().requires_grad_() for name, part in leaves.items()}
            inputs = {n: part.clone().requires_grad_() for n, part in inputs.items()}
            variables = [*leaves.values(), *inputs.values()]
            value = call(leaves, inputs)
            if value.requires_grad and kind == "loop":
                torch.autograd.grad(value, variables, allow_unused=True)
            elif value.requires_grad:
                dummy = torch.ones_like(value, requires_grad=True)
                first = torch.autograd.grad(value, variables, dummy, create_graph=True, allow_unused=True)
                used = [part for part in first if part is not None and part.requires_grad]
                torch.autograd.grad(used, dummy, [torch.ones_like(part) for part in used])
