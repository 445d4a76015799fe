"""Training: AdamW on windows of snapshots, drawn at random over classes, trajectories and times."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from surroscope import seeding
from surroscope.errors import UserError
from surroscope.models.weights import tensors_of
from surroscope.training import windows
from surroscope.training.distributed import ALONE, Group
from surroscope.training.recipe import Recipe, averaged
from surroscope.training.strategy import (
    Counted,
    Pass,
    Strategy,
    Window,
    history_of,
    next_state,
    require_losses,
    require_room,
)

PERSISTENCE_BATCH = 64


@dataclass
class Training:
    """A network in training.

    train, validation: trajectories (n, snapshots, C, Y, X); a batch at a time goes to the network's device
    until: epochs of all of it
    classes: in the trajectories, which are stacked class by class, as many of each
    strategy: the loss, and what makes a batch
    without: transitions that are neither trained on nor validated

    Raises UserError if a batch has fewer windows than there are processes, or if nothing is left to train or to
    validate on.
    """

    network: nn.Module
    train: Tensor
    validation: Tensor
    recipe: Recipe
    seed: int
    until: int
    classes: int = 1
    strategy: Strategy = field(default_factory=next_state)
    without: windows.Without = ()
    group: Group = ALONE
    # What it goes on from, beside the network and the optimiser.
    history: list[dict[str, Any]] = field(default_factory=list, init=False)
    passes: int = field(default=0, init=False)
    left: list[np.ndarray] = field(default_factory=list, init=False)  # batches of the pass under way
    memory: dict[str, Any] = field(default_factory=dict, init=False)  # the strategy's
    average: dict[str, Tensor] = field(default_factory=dict, init=False)
    steps: int = field(default=0, init=False)
    spent: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        network, recipe = self.network, self.recipe
        self.place, self.past = next(network.parameters()).device, history_of(network)
        self.length = self.past + self.strategy.following
        require_room(self.length, self.train.shape[1])
        self.numbers = windows.allowed(self.train, self.classes, self.without, self.past, self.strategy.following)
        if not len(self.numbers) or not len(windows.allowed(self.validation, self.classes, self.without, self.past)):
            raise UserError("training: what is held out leaves nothing to train or to validate on; hold less out")
        self.parts = batches_in(self.train, recipe.batch, self.length)
        require_shares(min(len(self.numbers), windows.count(self.train, self.length) // self.parts), self.group)
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        replica = self.group.replica(network)
        forward = compile_network(replica) if recipe.compile else replica
        half = recipe.precision == "bfloat16"
        self.forward = Counted(forward, self.place, half=half, world=self.group.world)
        self.operations = flops(network, self.window(self.numbers[:1]).given())
        if recipe.average is not None:
            self.average = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}

    def epochs(
        self,
        resume: dict[str, Any] | None = None,
        progress: Callable[[int, float], None] = lambda batches, forwards: None,
    ) -> Iterator[dict[str, Any]]:
        """Train, yielding after each epoch a state from which training can go on bit by bit.

        resume: a state that was yielded before, or None
        progress: called after each batch with how many batches that was, 1, and how many forwards

        A state holds "epoch", "network", "optimizer", "weights", those that are kept if they are not the network's (an
        average), and "history": one row an epoch with the mean loss over training batches and the mean SMSE of one
        step over the validation transitions, the learning rate, the seconds and the windows that it took, and since
        the beginning the forwards of one sample (a backward counts two) and the floating-point operations that torch's
        counter gives for them. The order of a pass depends on (seed, pass) alone, the global generator (dropout,
        noise) on the epoch and the process too.
        Raises UserError if a gradient is not finite, a budget is spent too early, or the network cannot be compiled.
        """
        if resume:
            self.restore(resume)
        for epoch in range(len(self.history) + 1, self.until + 1):
            self.history.append(self.run(epoch, progress))
            yield self.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state that `epochs` yielded."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history, self.memory, self.passes = list(state["history"]), state["memory"], state["passes"]
        self.left, self.steps = [np.array(numbers) for numbers in state["left"]], state["steps"]
        self.average = {name: tensor.to(self.place) for name, tensor in state["average"].items()}
        self.spent = self.history[-1]["forwards"]

    def state(self) -> dict[str, Any]:
        """What `epochs` yields."""
        return {
            "epoch": len(self.history),
            "network": tensors_of(self.network),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
            "passes": self.passes,
            "left": [numbers.tolist() for numbers in self.left],
            "memory": self.memory,
            "average": self.average,
            "weights": self.weights(),
            "steps": self.steps,
        }

    def weights(self) -> dict[str, Tensor]:
        """The parameters that are validated and kept, if they are not the network's."""
        return self.average or self.strategy.weights(self.memory)

    def window(self, numbers: np.ndarray) -> Window:
        """The windows of these numbers, where the network is."""
        told = torch.from_numpy(windows.labels(self.train, numbers, self.classes, self.past, self.length))
        snapshots = windows.gather(self.train, numbers, self.length).to(self.place)
        return Window(self.network, snapshots, told.to(self.place))

    def batches(self) -> list[np.ndarray]:
        """Those of the next pass over the windows."""
        self.passes += 1
        draw = seeding.generator(self.seed, "order", self.passes)
        order = draw.permutation(windows.count(self.train, self.length))
        order = order[np.isin(order, self.numbers)]
        told = windows.labels(self.train, order, self.classes, self.past, self.length)
        return self.strategy.batches(
            Pass(order, told, self.recipe.batch, draw, self.network, self.window, self.forward.spend, self.memory)
        )

    def run(self, epoch: int, progress: Callable[[int, float], None]) -> dict[str, Any]:
        """Train for an epoch; its row of the history."""
        start, budget = time.perf_counter(), self.recipe.budget
        rank = [self.group.rank] if self.group.rank else []
        torch.manual_seed(seeding.integer(self.seed, "training", epoch, *rank))
        self.network.train()
        due = None if budget is None else budget * epoch / self.until
        if due is not None and self.spent >= due:
            raise UserError(
                f"training: a budget of {budget:g} forwards in {self.until} epochs is spent before epoch {epoch} of "
                f"them begins, which ends at {due:g}; raise training.budget, or make fewer epochs of it"
            )
        total, seen, number, before, self.forward.spent = 0.0, 0, 0, self.spent, 0.0
        while number < self.parts if due is None else self.spent < due:
            self.left = self.left or self.batches()
            indices, number = self.left.pop(0), number + 1
            loss = self.descend(indices, epoch, number)
            spent = before + self.group.total(self.forward.spent, self.place)
            # In the middle of the step.
            if budget is None:
                done = ((epoch - 1) * self.parts + number - 0.5) / (self.until * self.parts)
            else:
                done = (self.spent + spent) / (2 * budget)
            rate = self.recipe.rate(min(done, 1.0))
            self.step(rate)
            total, seen = total + loss * (len(indices) / self.group.world), seen + len(indices)
            progress(1, spent - self.spent)
            self.spent = spent
        with averaged(self.network, self.weights()):
            error = one_step(self.network, self.validation, self.recipe.batch, self.group, self.classes, self.without)
        return {
            "epoch": epoch,
            "train": self.group.total(total, self.place) / seen,
            "validation": error,
            "learning_rate": rate,
            "seconds": time.perf_counter() - start,
            "windows": seen,
            "forwards": self.spent,
            "flops": self.spent * self.operations,
        }

    def descend(self, indices: np.ndarray, epoch: int, number: int) -> float:
        """Set the gradients to those of the mean loss of a batch; this process's part of that."""
        require_shares(len(indices), self.group)
        mine = self.group.share(indices)
        losses = self.strategy.loss(self.forward, self.window(mine))
        require_losses(losses, len(mine))
        # The mean of these over the processes is the mean over the batch.
        loss = losses.sum() / (len(indices) / self.group.world)
        self.optimizer.zero_grad()
        loss.backward()
        require_finite(self.network, loss, epoch, number)
        if self.recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        return loss.item()

    def step(self, rate: float) -> None:
        """Change the weights by their gradients, and what follows them."""
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = rate
        self.optimizer.step()
        self.strategy.stepped(self.network, self.memory)
        self.steps += 1
        if self.recipe.average is not None:
            decay = min(self.recipe.average, (1 + self.steps) / (10 + self.steps))
            latest = self.strategy.weights(self.memory)
            for name, parameter in self.network.named_parameters():
                self.average[name].lerp_(latest.get(name, parameter).detach().to(self.place), 1 - decay)


@torch.no_grad()
def flops(network: nn.Module, contexts: Tensor) -> float:
    """Floating-point operations of a forward at one sample, of those operations that torch's counter knows."""
    mode = network.training
    with FlopCounterMode(display=False) as counter:
        network.eval()(contexts)
    network.train(mode)
    return float(counter.get_total_flops())


def require_shares(count: int, group: Group) -> None:
    """Raise UserError unless a batch of so many windows has one or more for each process."""
    if count < group.world:
        raise UserError(
            f"training: a batch of {count} transitions for {group.world} processes; expected one or more for each: "
            "raise training.batch, or set the resource `processes` lower"
        )


def batches_in(train: Tensor, batch: int, length: int = 2) -> int:
    """Batches of a pass over the windows of (n, snapshots, ...): as few as have at most `batch` each."""
    return -(-windows.count(train, length) // batch)


def compile_network(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """The network, compiled when it is first called. That raises UserError if it fails."""
    compiled = torch.compile(network)

    def forward(state: Tensor) -> Tensor:
        try:
            return compiled(state)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = " ".join(str(error).partition("\n\n")[0].split())
            raise UserError(f"training.compile: torch.compile fails ({reason}); set it to false") from None

    return forward


def require_finite(network: nn.Module, loss: Tensor, epoch: int, number: int) -> None:
    """Raise UserError naming epoch, batch and parameter if a gradient is NaN or infinite."""
    norms = torch.stack([parameter.grad.norm() for parameter in network.parameters() if parameter.grad is not None])
    if not torch.isfinite(norms.sum()):
        names = [name for name, parameter in network.named_parameters() if parameter.grad is not None]
        name = names[int(torch.nonzero(~torch.isfinite(norms))[0])]
        raise UserError(
            f"training: the gradient of {name} is not finite at epoch {epoch}, batch {number} (loss {loss.item():g}); "
            "lower training.learning_rate, or look for bad values in the data"
        )


@torch.no_grad()
def one_step(
    network: nn.Module,
    trajectories: Tensor,
    batch: int,
    group: Group = ALONE,
    classes: int = 1,
    without: windows.Without = (),
) -> float:
    """Mean SMSE of the network's one-step predictions over the transitions of the trajectories, in float64."""
    numbers = windows.allowed(trajectories, classes, without, history_of(network))
    errors = errors_of(network, trajectories, group.share(numbers), batch, classes)
    return group.total(errors.sum().item(), place_of(network, trajectories)) / len(numbers)


@torch.no_grad()
def errors_of(network: nn.Module, trajectories: Tensor, numbers: np.ndarray, batch: int, classes: int = 1) -> Tensor:
    """SMSE (N,) of the network's one-step predictions at transitions of these numbers, in float64, on the CPU."""
    network.eval()
    place, history = place_of(network, trajectories), history_of(network)
    errors = [torch.zeros(0, dtype=torch.float64)]
    for start in range(0, len(numbers), batch):
        part = numbers[start : start + batch]
        told = torch.from_numpy(windows.labels(trajectories, part, classes, history, history + 1))
        window = Window(network, windows.gather(trajectories, part, history + 1).to(place), told.to(place))
        errors.append(window.error(network(window.given())).double().cpu())
    return torch.cat(errors)


def place_of(network: nn.Module, trajectories: Tensor) -> torch.device:
    """Where a network is; of one without parameters, where the trajectories are."""
    return next((parameter.device for parameter in network.parameters()), trajectories.device)


def persistence(
    trajectories: Tensor, history: int = 1, constants: int = 0, *, classes: int = 1, without: windows.Without = ()
) -> float:
    """Mean SMSE of predicting no change, over the transitions of a network; see `context`."""
    states = trajectories[:, history - 1 :, : trajectories.shape[2] - constants]
    # Of the network's transitions, see `windows.allowed`.
    moved = [(ic, first - history + 1, last) for ic, first, last in without]
    return one_step(nn.Identity(), states, PERSISTENCE_BATCH, classes=classes, without=moved)
