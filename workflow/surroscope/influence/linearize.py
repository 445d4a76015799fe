"""What a network's Jacobian does: per-sample gradients g = ∇_θ Q, tangents J v, and the metric (1/M) Jᵀ J v."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.func import grad, jvp, vjp, vmap

from surroscope.cost_function import Observable
from surroscope.influence.functional import Tree, as_real, call_with, reverse
from surroscope.influence.unsupported import REMEDIES, failing_module
from surroscope.models import context

T = TypeVar("T")


@dataclass(frozen=True)
class Method:
    """How derivatives are taken. Every choice is exact: it changes speed, memory and which layers are possible.

    One exception: next to a skip connection, a layer of the user's own whose backward cannot be differentiated drops
    out of "double_backward" without an error from torch. `calibrate` finds that out.

    gradients: "vmap" of reverse mode over samples; or "loop", a backward pass a sample, for layers that cannot be
        batched by torch.func
    sample_chunk: samples differentiated at once by "vmap"
    tangents: "vmap" of forward mode over directions; or "double_backward", J v = ∂(vᵀ Jᵀ u)/∂u, whose graph serves
        the directions of a chunk one after the other and which needs no forward mode
    direction_chunk, tangent_samples: directions and samples that share a primal pass
    """

    gradients: Literal["vmap", "loop"] = "vmap"
    sample_chunk: int = 16
    tangents: Literal["vmap", "double_backward"] = "vmap"
    direction_chunk: int = 48
    tangent_samples: int = 2


DEFAULT = Method()
# By the kind of device. "vmap" works for the most networks. On an H200 with a UNet of 13.9 million parameters at
# 128 x 128 a gradient took 6.6 ms, and 5.6 ms by 48 at once; a tangent 12 ms, and 18 ms by double backward. There the
# blocks of the CPU's method, 48 directions at 2 samples, took the memory from 13 to 62 GB; these hold a quarter.
FIXED = {"cpu": DEFAULT, "cuda": Method(direction_chunk=24, tangent_samples=1)}


class Linearization:
    """A network as a function of its trainable parameters, flattened to one vector of length P.

    The samples of a batch must not interact, and a prediction has the shape of its state. What are called states are
    contexts where the network is given more, see `models.context`; observables get the states alone. A complex
    parameter counts as pairs of real ones. Vectors have the precision `dtype`, float64 if all parameters have it, else
    float32.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval()
        self.parameters = {name: as_real(p) for name, p in network.named_parameters() if p.requires_grad}
        self.size = sum(p.numel() for p in self.parameters.values())
        double = all(p.dtype == torch.float64 for p in self.parameters.values())
        self.dtype = torch.float64 if double else torch.float32
        self.adapted = False

    def fields(self, states: Tensor) -> Tensor:
        """The states in what the network is given, of the shape of the predictions."""
        return context.state(self.network, states)

    def split(self, vectors: Tensor) -> Tree:
        """(B, P) to one view (B, p) for each parameter."""
        parts = vectors.split([p.numel() for p in self.parameters.values()], dim=-1)
        return dict(zip(self.parameters, parts, strict=True))

    def flatten(self, tree: Tree) -> Tensor:
        """Parameters with one leading batch axis, (B, ...) each, to (B, P)."""
        return torch.cat([tree[name].flatten(1).to(self.dtype) for name in self.parameters], dim=1)

    def unflatten(self, vectors: Tensor) -> Tree:
        """(B, P) to parameters with one leading batch axis."""
        parts = self.split(vectors).items()
        return {name: part.reshape(-1, *p.shape).to(p) for name, part in parts for p in [self.parameters[name]]}

    def predict(self, parameters: Tree, states: Tensor) -> Tensor:
        return call_with(self.network, parameters, (states,), adapted=self.adapted).to(states.dtype)

    def gradients(self, observable: Observable, states: Tensor, targets: Tensor, method: Method = DEFAULT) -> Tensor:
        """Per-sample gradients of an observable: states and targets (N, F, Y, X) to (N, P).

        Raises ValueError, naming the module or the parameter, where the method cannot differentiate the network.
        """

        def value(parameters: Tree, state: Tensor, target: Tensor) -> Tensor:
            prediction = self.predict(parameters, state[None])
            return observable(prediction, target[None], self.fields(state[None]))[0]

        if method.gradients == "loop":
            pairs = zip(states.split(1), targets.split(1), strict=True)
            rows = (self._derivative("loop", pair[0], self.backward, observable, *pair) for pair in pairs)
            return torch.cat(list(rows))
        result = torch.empty(len(states), self.size, dtype=states.dtype, device=states.device)
        for start in range(0, len(states), method.sample_chunk):
            part = slice(start, start + method.sample_chunk)
            chunk = states[part], targets[part]
            each = vmap(grad(value), in_dims=(None, 0, 0))
            tree = self._derivative("gradients", chunk[0], each, self.parameters, *chunk)
            for name, block in self.split(result[part]).items():
                block.copy_(tree[name].flatten(1))
        return result

    def backward(self, observable: Observable, states: Tensor, targets: Tensor) -> Tensor:
        """The gradient of an observable's sum over samples, (1, P), by one backward pass."""
        leaves = {name: p.clone().requires_grad_() for name, p in self.parameters.items()}
        with torch.enable_grad():
            value = observable(self.predict(leaves, states), targets, self.fields(states)).sum()
        return self.flatten({name: part[None] for name, part in reverse(value, leaves).items()})

    def pullbacks(self, state: Tensor, cotangents: Tensor, method: Method = DEFAULT) -> Iterator[tuple[slice, Tensor]]:
        """J_nᵀ u_k at one sample: a state (F, Y, X) and cotangents (K, F, Y, X) to blocks (slice of the rows, (k, P)).

        Raises ValueError as `iter_tangents`.
        """
        group = state[None]
        _, pull = self._derivative(method.tangents, group, self._products, group, method)
        for start in range(0, len(cotangents), method.sample_chunk):
            rows = slice(start, min(start + method.sample_chunk, len(cotangents)))
            yield rows, self.flatten(self._derivative(method.tangents, group, pull, cotangents[rows, None]))

    def iter_tangents(
        self, states: Tensor, directions: Tensor, method: Method = DEFAULT
    ) -> Iterator[tuple[slice, slice, Tensor]]:
        """J_n v_i for every sample n and direction i, in blocks: (N, F, Y, X) and (K, P) to K x N tangents.

        Yields (slice of the directions, slice of the samples, block (k, n, F*Y*X) on the device of the states); all
        samples of one chunk of directions, then the next chunk.

        Raises ValueError, naming the module, where the method cannot differentiate the network.
        """

        def product(group: Tensor, tree: Tree) -> Tensor:
            return self._products(group, method)[0](tree).flatten(2)

        for rows, columns, tree in self._blocks(states, directions, method):
            group = states[columns]
            yield rows, columns, self._derivative(method.tangents, group, product, group, tree)

    def tangents(
        self,
        states: Tensor,
        directions: Tensor,
        method: Method = DEFAULT,
        progress: Callable[[int], None] = lambda done: None,
    ) -> Tensor:
        """All blocks of `iter_tangents` as one array on the CPU: (N, F, Y, X) and (K, P) to (K, N, F*Y*X).

        progress: is told the number of tangents of each block
        """
        outputs = self.fields(states)[0].numel()
        result = torch.empty(len(directions), len(states), outputs, dtype=states.dtype)
        for rows, columns, block in self.iter_tangents(states, directions, method):
            result[rows, columns] = block.cpu()
            progress(block.shape[0] * block.shape[1])
        return result

    def metric(self, states: Tensor, directions: Tensor, method: Method = DEFAULT) -> Tensor:
        """η v_i = (1/M) Σ_n J_nᵀ J_n v_i, M = N F Y X: states (N, F, Y, X) and directions (K, P) to (K, P).

        The forward and the reverse product share the primal pass, and one block of tangents is held at a time.
        Raises ValueError as `iter_tangents`.
        """
        result = torch.zeros_like(directions)

        def product(group: Tensor, tree: Tree) -> Tree:
            push, pull = self._products(group, method)
            return pull(push(tree))

        for rows, columns, tree in self._blocks(states, directions, method):
            group = states[columns]
            pulled = self._derivative(method.tangents, group, product, group, tree)
            for name, block in self.split(result[rows]).items():
                block += pulled[name].flatten(1)
        return result / self.fields(states).numel()

    def _blocks(self, states: Tensor, directions: Tensor, method: Method) -> Iterator[tuple[slice, slice, Tree]]:
        for row in range(0, len(directions), method.direction_chunk):
            rows = slice(row, min(row + method.direction_chunk, len(directions)))
            # Forward mode copies a tangent that is a view into a larger array, at every use.
            tree = {name: part.contiguous() for name, part in self.unflatten(directions[rows]).items()}
            for column in range(0, len(states), method.tangent_samples):
                yield rows, slice(column, min(column + method.tangent_samples, len(states))), tree

    def _products(self, group: Tensor, method: Method) -> tuple[Callable[[Tree], Tensor], Callable[[Tensor], Tree]]:
        """v -> J v and u -> Jᵀ u for k directions at once at the states of a group: trees (k, ...), u (k, n, F, Y, X).

        Jᵀ u is summed over the group.
        """
        if method.tangents == "double_backward":
            return self._reverse_products(group)

        def predict(parameters: Tree) -> Tensor:
            return self.predict(parameters, group)

        def push(tree: Tree) -> Tensor:
            return vmap(lambda direction: jvp(predict, (self.parameters,), (direction,))[1])(tree)

        def pull(cotangents: Tensor) -> Tree:
            transpose = vjp(predict, self.parameters)[1]
            return vmap(lambda cotangent: transpose(cotangent)[0])(cotangents)

        return push, pull

    def _reverse_products(self, group: Tensor) -> tuple[Callable[[Tree], Tensor], Callable[[Tensor], Tree]]:
        leaves = {name: p.clone().requires_grad_() for name, p in self.parameters.items()}
        with torch.enable_grad():
            prediction = self.predict(leaves, group)
            dummy = torch.zeros_like(prediction, requires_grad=True)
            pulled = reverse(prediction, leaves, dummy, create_graph=True)
        used = {name: g for name, g in pulled.items() if g.requires_grad}

        def push(tree: Tree) -> Tensor:
            rows = range(len(next(iter(tree.values()))))
            if not used:
                return prediction.new_zeros(len(rows), *prediction.shape)
            parts = ([tree[name][row] for name in used] for row in rows)
            return torch.stack(
                [torch.autograd.grad(list(used.values()), dummy, p, retain_graph=True)[0] for p in parts]
            )

        def pull(cotangents: Tensor) -> Tree:
            each = [reverse(prediction, leaves, cotangent, retain_graph=True) for cotangent in cotangents]
            return {name: torch.stack([tree[name] for tree in each]) for name in leaves}

        return push, pull

    def _derivative(self, kind: str, states: Tensor, taken: Callable[..., T], *args: Any) -> T:
        """What is taken of the arguments; where torch fails, ValueError names the innermost module without derivative.

        By torch.func it is tried once more with the network adapted to it, see `functional.Adapted`,
        and if that helps, so is all that follows: the derivatives are the same.
        """
        try:
            return taken(*args)
        except RuntimeError as error:
            require_memory(error)
            if kind in ("gradients", "vmap") and not self.adapted:
                self.adapted = True
                try:
                    return taken(*args)
                except RuntimeError as again:
                    self.adapted = False
                    require_memory(again)
            where = failing_module(self.network, kind, states) or "the network"
            raise ValueError(f"no derivative of {where}: {error}\n{REMEDIES[kind]}") from error


def require_memory(error: RuntimeError) -> None:
    """Raise an error again that says that there is too little memory."""
    if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
        raise error
