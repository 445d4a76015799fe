"""What a network's Jacobian does: per-sample gradients g = ∇_θ Q and tangents J g, by torch.func."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap

from surroscope.observables import Observable


class Linearization:
    """A network as a function of its trainable parameters, flattened to one vector of length P."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval()
        self.parameters = {name: p.detach() for name, p in network.named_parameters() if p.requires_grad}
        self.size = sum(p.numel() for p in self.parameters.values())

    def flatten(self, tree: dict[str, Tensor]) -> Tensor:
        """Parameters with one leading batch axis, (B, ...) each, to (B, P)."""
        return torch.cat([tree[name].flatten(1) for name in self.parameters], dim=1)

    def unflatten(self, vectors: Tensor) -> dict[str, Tensor]:
        """(B, P) to parameters with one leading batch axis."""
        parts = vectors.split([p.numel() for p in self.parameters.values()], dim=-1)
        return {
            name: part.reshape(-1, *p.shape) for (name, p), part in zip(self.parameters.items(), parts, strict=True)
        }

    def predict(self, parameters: dict[str, Tensor], states: Tensor) -> Tensor:
        return functional_call(self.network, parameters, (states,))

    def gradients(self, observable: Observable, states: Tensor, targets: Tensor, *, chunk: int) -> Tensor:
        """Per-sample gradients of an observable: states and targets (N, F, Y, X) to (N, P).

        chunk: how many samples are differentiated at once; it changes memory and speed only.
        """

        def value(parameters: dict[str, Tensor], state: Tensor, target: Tensor) -> Tensor:
            prediction = self.predict(parameters, state[None])
            return observable(prediction, target[None], state[None])[0]

        each = vmap(grad(value), in_dims=(None, 0, 0))
        parts = zip(states.split(chunk), targets.split(chunk), strict=True)
        return torch.cat([self.flatten(each(self.parameters, state, target)) for state, target in parts])

    def tangents(
        self,
        states: Tensor,
        directions: Tensor,
        *,
        chunk: int,
        samples: int = 2,
        progress: Callable[[int], None] = lambda done: None,
    ) -> Tensor:
        """J_n v_i for every sample n and direction i: (N, F, Y, X) and (K, P) to (K, N, F*Y*X), on the CPU.

        chunk, samples: how many directions and samples are pushed forward at once. The primal pass of a
        group of samples is shared by the directions of a chunk.
        """
        result = torch.empty(len(directions), len(states), states[0].numel(), dtype=states.dtype)
        for row in range(0, len(directions), chunk):
            tree = self.unflatten(directions[row : row + chunk])
            for column in range(0, len(states), samples):
                group = states[column : column + samples]

                def push(direction: dict[str, Tensor], group: Tensor = group) -> Tensor:
                    return jvp(lambda parameters: self.predict(parameters, group), (self.parameters,), (direction,))[1]

                result[row : row + chunk, column : column + samples] = vmap(push)(tree).flatten(2).cpu()
                progress(len(group) * len(directions[row : row + chunk]))
        return result
