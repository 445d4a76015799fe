"""How a network is trained: from windows of snapshots to a loss for each of them, and which windows make a batch.

A strategy is made by a function that is given by import path: ``function(**options)``, or ``function(system, ...)`` to
be told the equations. Those of the package are in `training.strategies`, each a file of its own, so that an edit of one
trains no network again that is trained by another.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from surroscope.cost_function import smse
from surroscope.errors import UserError
from surroscope.importing import imported
from surroscope.models import context
from surroscope.system import System

# From contexts, see `models.context`, to the next states (N, F, Y, X). What goes through it is counted.
Forward = Callable[[Tensor], Tensor]
TRIED = 3
# Of one sample, in forwards: a forward without a gradient, and one with the backward pass behind it.
FORWARD, WITH_BACKWARD = 1, 3


class Counted:
    """A network as training calls it, and how many forwards of one sample that took.

    half: whether its passes are in bfloat16, by autocast; predictions are float32
    world: processes that count together
    """

    def __init__(
        self, forward: Forward, place: torch.device | str = "cpu", *, half: bool = False, world: int = 1
    ) -> None:
        self.forward, self.place, self.half, self.world = forward, torch.device(place).type, half, world
        self.spent = 0.0

    def __call__(self, contexts: Tensor) -> Tensor:
        self.spent += len(contexts) * (WITH_BACKWARD if torch.is_grad_enabled() else FORWARD)
        with torch.autocast(self.place, torch.bfloat16, enabled=self.half):
            return self.forward(contexts).float()

    def spend(self, forwards: int) -> None:
        """Forwards that each process makes, all of them the same ones: they count once."""
        self.spent += forwards / self.world


@dataclass(frozen=True)
class Window:
    """N samples of consecutive snapshots (N, T + K, C, Y, X): T that the network is given, and K that follow.

    network: that is trained; labels: index of the class, and of the time of the last given snapshot, (N, 2)

    Places count from that snapshot, which is 0; each may be one number, or one for each sample, (N,).
    """

    network: nn.Module
    snapshots: Tensor
    labels: Tensor

    @property
    def history(self) -> int:
        """T"""
        return history_of(self.network)

    def _at(self, place: int | Tensor) -> Tensor:
        if isinstance(place, int):
            return self.snapshots[:, place]
        return self.snapshots[torch.arange(len(self.snapshots), device=place.device), place]

    def given(self, at: int | Tensor = 0, lead: int | Tensor = 1) -> Tensor:
        """The contexts from which the network predicts the state at place ``at + lead``."""
        past = torch.stack([self._at(at + place) for place in range(self.history)], dim=1)
        labels = self.labels.clone()
        labels[:, 1] += at
        return context.of(self.network, past, labels, lead)

    def state(self, at: int | Tensor) -> Tensor:
        """The states (N, F, Y, X) at a place."""
        snapshot = self._at(self.history - 1 + at)
        return snapshot[:, : snapshot.shape[1] - constants_of(self.network)]

    def error(self, prediction: Tensor, at: int | Tensor = 1) -> Tensor:
        """SMSE (N,) of predictions of the state at a place."""
        target = self.state(at)
        return smse(prediction, target, target)


@dataclass(frozen=True)
class Pass:
    """What the batches of one pass over the windows are made from.

    order: numbers of all windows that may be trained on, shuffled; labels: class and time of each, (n, 2)
    count: of batches, at most `size` windows each; draw: generator of this pass
    network: that is trained; window: gives windows of some numbers
    spend: counts forwards of one sample that are made here, as a look at the network
    memory: what the strategy keeps from pass to pass, with the checkpoints
    """

    order: np.ndarray
    labels: np.ndarray
    size: int
    draw: np.random.Generator
    network: nn.Module
    window: Callable[[np.ndarray], Window]
    spend: Callable[[int], None]
    memory: dict[str, Any]

    @property
    def count(self) -> int:
        return -(-len(self.order) // self.size)


def in_order(of: Pass) -> list[np.ndarray]:
    """Every window once."""
    return np.array_split(of.order, of.count)


@dataclass(frozen=True)
class Strategy:
    """What training does that is not the optimiser's.

    loss: of (forward, window) to a loss for each sample, (N,), whose mean over a batch is descended
    following: K, how many snapshots of a window follow those that the network is given
    batches: of a pass to numbers of windows, batch by batch
    stepped: called after every step of the optimiser with the network and with the strategy's memory
    weights: of the strategy's memory to the parameters that are validated and kept in place of the network's, if any
    """

    loss: Callable[[Forward, Window], Tensor]
    following: int = 1
    batches: Callable[[Pass], list[np.ndarray]] = in_order
    stepped: Callable[[nn.Module, dict[str, Any]], None] = field(default=lambda network, memory: None)
    weights: Callable[[dict[str, Any]], dict[str, Tensor]] = field(default=lambda memory: {})


def next_state() -> Strategy:
    """SMSE of the next state, from true ones."""
    return Strategy(lambda forward, window: window.error(forward(window.given())))


def require(holds: bool, found: str, expected: str) -> None:
    """Raise UserError unless an option of a strategy is what it has to be."""
    if not holds:
        raise UserError(f"training.strategy: {found}; expected {expected}")


def require_counts(**options: object) -> None:
    """Raise UserError unless each is a whole number of 1 or more."""
    for name, found in options.items():
        counts = isinstance(found, int) and not isinstance(found, bool) and found >= 1
        require(counts, f"{name} is {found!r}", "a whole number, 1 or more")


def require_share(**options: float) -> None:
    """Raise UserError unless each is a number from 0 to 1."""
    for name, found in options.items():
        require(0 <= found <= 1, f"{name} is {found!r}", "a number from 0 to 1")


def load(factory: str, options: dict[str, Any], system: System) -> Strategy:
    """The strategy that ``factory(**options)`` makes; a parameter `system` is the system.

    Raises UserError if it cannot be imported, refuses the options, or makes something else.
    """
    make = imported(factory, "training.strategy")
    try:
        told = {"system": system} if "system" in inspect.signature(make).parameters else {}
        made = make(**told, **options)
    except UserError:
        raise
    except Exception as error:  # a user's factory may fail in any way
        raise UserError(f"training.strategy {factory!r} with options {options} fails: {error}") from None
    if not isinstance(made, Strategy):
        raise UserError(
            f"training.strategy {factory!r}: gives {type(made).__name__}; expected a "
            "surroscope.training.strategy.Strategy"
        )
    return made


def asked_for(training: Any) -> Strategy:
    """The strategy of a training, by its `strategy` (factory, options) and `equations`; one step if it has none."""
    if training.strategy is None:
        return next_state()
    return load(training.strategy.factory, training.strategy.options, training.equations)


def check(strategy: Strategy, network: nn.Module, shape: tuple[int, ...], snapshots: int, name: str) -> None:
    """Raise UserError, before hours are spent, unless random windows make batches and a loss that can be descended.

    shape: of a snapshot, (C, Y, X); snapshots: of a trajectory; name: of the strategy
    """
    require_room(history_of(network) + strategy.following, snapshots)
    window = random_window(strategy, network, shape)

    def chosen(numbers: np.ndarray) -> Window:
        return Window(network, window.snapshots[numbers], window.labels[numbers])

    every, draw = np.arange(TRIED), np.random.default_rng(0)
    labels = np.stack([every, 0 * every], axis=1)  # of a class each
    of = Pass(every, labels, 1, draw, network, chosen, lambda forwards: None, {})
    try:
        with torch.random.fork_rng(devices=[]):
            losses = strategy.loss(lambda contexts: network(contexts).float(), window)
            require_losses(losses, TRIED)
            losses.sum().backward()
            found = [number for batch in strategy.batches(of) for number in batch.tolist()]
            require(set(found) <= set(every), f"batches are of {found}", f"numbers of the windows of a pass, {every}")
    except UserError:
        raise
    except Exception as error:  # a user's loss may fail in any way
        raise UserError(
            f"training.strategy {name!r} fails on windows {tuple(window.snapshots.shape)}: {error}"
        ) from None
    finally:
        network.zero_grad(set_to_none=True)


def random_window(strategy: Strategy, network: nn.Module, shape: tuple[int, ...]) -> Window:
    """A few windows of random positive snapshots (C, Y, X)."""
    length = history_of(network) + strategy.following
    states = 0.5 + torch.rand(TRIED, length, *shape, generator=torch.Generator().manual_seed(0))
    return Window(network, states, torch.zeros(TRIED, context.LABELS, dtype=torch.long))


def price(strategy: Strategy, network: nn.Module, shape: tuple[int, ...], draws: int = 16) -> float:
    """Forwards of one sample that a window costs, a backward counting two, on average over some draws of its chance."""
    window, forward = random_window(strategy, network, shape), Counted(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(draws):
            strategy.loss(forward, window)
    return forward.spent / (draws * TRIED)


def require_losses(losses: Tensor, count: int) -> None:
    """Raise UserError unless they are a loss for each of `count` samples."""
    if tuple(losses.shape) != (count,):
        raise UserError(
            f"training.strategy: a loss of shape {tuple(losses.shape)} for {count} samples; expected one number for "
            f"each, ({count},): take means over channels and cells alone"
        )


def require_room(length: int, snapshots: int) -> None:
    """Raise UserError unless trajectories have windows of that length."""
    if length > snapshots:
        raise UserError(
            f"training.strategy: a window has {length} snapshots, but probe.snapshots is {snapshots}; raise that"
        )


def history_of(network: nn.Module) -> int:
    """How many snapshots a network is given."""
    return network.history if isinstance(network, context.Contextual) else 1


def constants_of(network: nn.Module) -> int:
    """How many channels a network is given that it does not predict, the last ones."""
    return network.constants if isinstance(network, context.Contextual) else 0
