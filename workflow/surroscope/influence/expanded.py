"""Per-sample gradients from one batched reverse pass that keeps the samples of each parameter's gradient apart."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from surroscope.influence.functional import Tree


class ExpandedWeights(TorchFunctionMode):
    """Keeps the samples apart in the gradient of each leaf parameter: {name: (N, ...)} after one reverse pass.

    Follows a parameter into a linear map, a convolution, or arithmetic by which it is broadcast over the samples; the
    first axis of the other operand has to count samples, or run over all tokens of one sample before the next.

    Raises ValueError, naming the parameter, at any other use of one.
    """

    def __init__(self, leaves: Tree, samples: int) -> None:
        super().__init__()
        self.names = {id(leaf): name for name, leaf in leaves.items()}
        self.samples = samples
        self.gradients: Tree = {}

    def keep(self, parameter: Tensor | None, gradient: Callable[[], Tensor]) -> None:
        if parameter is not None and id(parameter) in self.names:
            name = self.names[id(parameter)]
            # A parameter that the network uses twice has the sum of both.
            self.gradients[name] = self.gradients[name] + gradient() if name in self.gradients else gradient()

    def refusal(self, name: str, where: str) -> str:
        return (
            f"parameter '{name}' is used in {where}, which expanded weights cannot follow; take gradients by \"vmap\""
        )

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        used = [part for part in tree_leaves((args, kwargs)) if id(part) in self.names]
        if not used:
            return func(*args, **kwargs)
        result = NotImplemented
        if func is F.linear:
            result = self.linear(*args, **kwargs)
        elif func in (torch.conv1d, torch.conv2d, torch.conv3d):
            result = self.convolution(*args, **kwargs)
        elif func in ARITHMETIC and len(used) < len([part for part in args if isinstance(part, Tensor)]):
            result = self.arithmetic(func, args, kwargs)
        if result is NotImplemented:
            result = func(*args, **kwargs)
            if any(isinstance(part, Tensor) and part.requires_grad for part in tree_leaves(result)):
                raise ValueError(self.refusal(self.names[id(used[0])], getattr(func, "__name__", str(func))))
        return result

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
        if id(x) in self.names or len(x) % self.samples or weight.dim() != 2:
            return NotImplemented
        return ExpandedLinear.apply(self, x, weight, bias)

    def convolution(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Any:
        axes = weight.dim() - 2
        if id(x) in self.names or len(x) != self.samples or x.dim() != weight.dim() or isinstance(padding, str):
            return NotImplemented
        options = [[value] * axes if isinstance(value, int) else list(value) for value in (stride, padding, dilation)]
        return ExpandedConvolution.apply(self, x, weight, bias, options, groups)

    def arithmetic(self, func: Any, args: Any, kwargs: Any) -> Any:
        others = [part for part in args if isinstance(part, Tensor) and id(part) not in self.names]
        axes = max(part.dim() for part in others)
        if not all(len(part) == self.samples for part in others if part.dim() == axes):
            return NotImplemented
        expanded = []
        for part in args:
            if id(part) in self.names:
                if part.dim() >= axes and not (part.dim() == axes and len(part) == 1):
                    return NotImplemented
                part = Expanded.apply(self, part, axes)
            expanded.append(part)
        return func(*expanded, **kwargs)


ARITHMETIC = {
    operation
    for name in ("add", "sub", "mul", "div", "addcmul", "true_divide")
    for operation in (getattr(torch, name), getattr(Tensor, name))
} | {getattr(Tensor, f"__{side}{name}__") for side in ("", "r") for name in ("add", "sub", "mul", "truediv")}


class Expanded(torch.autograd.Function):
    """A parameter (...) as (N, 1, ..., 1, ...) with `axes` axes."""

    @staticmethod
    def forward(ctx: Any, mode: ExpandedWeights, parameter: Tensor, axes: int) -> Tensor:
        ctx.mode, ctx.parameter = mode, parameter
        inner = parameter.shape[1:] if parameter.dim() == axes else parameter.shape
        return parameter.view(*[1] * (axes - len(inner)), *inner).expand(mode.samples, *[-1] * (axes - 1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> Any:
        ctx.mode.keep(ctx.parameter, lambda: cotangent.reshape(-1, *ctx.parameter.shape))
        return None, None, None


class ExpandedLinear(torch.autograd.Function):
    """x Wᵀ + b, (N T, ..., I) -> (N T, ..., O)."""

    @staticmethod
    def forward(ctx: Any, mode: ExpandedWeights, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.mode, ctx.bias = mode, bias
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        tokens, outputs = (part.reshape(ctx.mode.samples, -1, part.shape[-1]) for part in (x, cotangent))
        ctx.mode.keep(weight, lambda: outputs.mT @ tokens)
        ctx.mode.keep(ctx.bias, lambda: outputs.sum(1))
        return None, cotangent @ weight if ctx.needs_input_grad[1] else None, None, None


class ExpandedConvolution(torch.autograd.Function):
    """x * W + b over the last axes, (N, I, ...) -> (N, O, ...)."""

    @staticmethod
    def forward(
        ctx: Any, mode: ExpandedWeights, x: Tensor, weight: Tensor, bias: Tensor | None, options: Any, groups: int
    ) -> Tensor:
        ctx.mode, ctx.bias, ctx.options, ctx.groups = mode, bias, options, groups
        ctx.save_for_backward(x, weight)
        stride, padding, dilation = options
        return torch.convolution(x, weight, bias, stride, padding, dilation, False, [0] * len(stride), groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> Any:
        x, weight = ctx.saved_tensors

        def derivative(cotangent: Tensor, x: Tensor, weight: Tensor, groups: int, wanted: list[bool]) -> Any:
            stride, padding, dilation = ctx.options
            none = [0] * len(stride)
            return torch.ops.aten.convolution_backward(
                cotangent, x, weight, None, stride, padding, dilation, False, none, groups, wanted
            )

        def weights() -> Tensor:
            # The samples as groups of one convolution: quicker than unfolding them into matrices.
            each = weight.expand(len(x), *weight.shape).flatten(0, 1)
            outputs, inputs = cotangent.flatten(0, 1)[None], x.flatten(0, 1)[None]
            parts = derivative(outputs, inputs, each, len(x) * ctx.groups, [False, True, False])
            return parts[1].view(-1, *weight.shape)

        ctx.mode.keep(weight, weights)
        ctx.mode.keep(ctx.bias, lambda: cotangent.flatten(2).sum(2))
        x = derivative(cotangent, x, weight, ctx.groups, [True, False, False])[0] if ctx.needs_input_grad[1] else None
        return None, x, None, None, None, None
