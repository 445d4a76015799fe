"""Training: AdamW on windows of snapshots, drawn at random over classes, trajectories and times."""

import time
from collections.abc import Callable, Iterator
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


def epochs(
    network: nn.Module,
    train: Tensor,
    validation: Tensor,
    recipe: Recipe,
    *,
    seed: int,
    until: int,
    classes: int = 1,
    strategy: Strategy | None = None,
    without: windows.Without = (),
    group: Group = ALONE,
    resume: dict[str, Any] | None = None,
    progress: Callable[[int, float], None] = lambda batches, forwards: None,
) -> Iterator[dict[str, Any]]:
    """Train until epoch `until`, yielding after each one a state from which training can go on bit by bit.

    train, validation: trajectories (n, snapshots, C, Y, X); a batch at a time goes to the network's device
    classes: in the trajectories, which are stacked class by class, as many of each
    strategy: the loss, and what makes a batch; None: one step
    without: transitions that are neither trained on nor validated
    resume: a state that was yielded before, or None
    progress: called after each batch with how many batches that was, 1, and how many forwards

    A state holds "epoch", "network", "optimizer", "weights", those that are kept if they are not the network's (an
    average), and "history": one row an epoch with the mean loss over training batches and the mean SMSE of one step
    over the validation transitions, the learning rate, the seconds and the windows that it took, and since the
    beginning the forwards of one sample (a backward counts two) and the floating-point operations that torch's counter
    gives for them. The order of a pass depends on (seed, pass) alone, the global generator (dropout, noise) on the
    epoch and the process too.
    Raises UserError if a gradient is not finite, if a batch has fewer windows than there are processes, if nothing is
    left to train or to validate on, or if the network cannot be compiled.
    """
    place = next(network.parameters()).device
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    strategy, past = strategy or next_state(), history_of(network)
    length = past + strategy.following
    require_room(length, train.shape[1])
    state: dict[str, Any] = {"history": [], "passes": 0, "left": [], "memory": {}, "average": {}, "steps": 0}
    if resume:
        network.load_state_dict(resume["network"])
        optimizer.load_state_dict(resume["optimizer"])
        state |= {name: resume[name] for name in state}
    history, memory, average = list(state["history"]), state["memory"], state["average"]
    left = [np.array(numbers) for numbers in state["left"]]
    average = {name: tensor.to(place) for name, tensor in average.items()}
    if recipe.average is not None and not average:
        average = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    numbers = windows.allowed(train, classes, without, past, strategy.following)
    if not len(numbers) or not len(windows.allowed(validation, classes, without, past)):
        raise UserError("training: what is held out leaves nothing to train or to validate on; hold less out")
    parts = batches_in(train, recipe.batch, length)
    require_shares(min(len(numbers), windows.count(train, length) // parts), group)
    replica = group.replica(network)
    half = recipe.precision == "bfloat16"
    forward = Counted(compile_network(replica) if recipe.compile else replica, place, half=half, world=group.world)

    def window(chosen: np.ndarray) -> Window:
        told = torch.from_numpy(windows.labels(train, chosen, classes, past, length))
        return Window(network, windows.gather(train, chosen, length).to(place), told.to(place))

    def batches() -> list[np.ndarray]:
        draw = seeding.generator(seed, "order", state["passes"] + 1)
        kept = np.isin(order := draw.permutation(windows.count(train, length)), numbers)
        told = windows.labels(train, order[kept], classes, past, length)
        of = Pass(order[kept], told, recipe.batch, draw, network, window, forward.spend, memory)
        state["passes"] += 1
        return strategy.batches(of)

    operations = flops(network, window(numbers[:1]).given())
    before = history[-1]["forwards"] if history else 0.0
    for epoch in range(len(history) + 1, until + 1):
        start = time.perf_counter()
        torch.manual_seed(seeding.integer(seed, "training", epoch, *([group.rank] if group.rank else [])))
        network.train()
        total, seen, number, spent, rate, forward.spent = 0.0, 0, 0, before, recipe.learning_rate, 0.0
        part = None if recipe.budget is None else recipe.budget * epoch / until
        if part is not None and spent >= part:
            raise UserError(
                f"training: a budget of {recipe.budget:g} forwards in {until} epochs is spent before epoch {epoch} of "
                f"them begins, which ends at {part:g}; raise training.budget, or make fewer epochs of it"
            )
        while number < parts if part is None else spent < part:
            left = left or batches()
            indices, number = left.pop(0), number + 1
            require_shares(len(indices), group)
            mine = group.share(indices)
            losses = strategy.loss(forward, window(mine))
            require_losses(losses, len(mine))
            # The mean of these over the processes is the mean over the batch.
            loss = losses.sum() / (len(indices) / group.world)
            optimizer.zero_grad()
            loss.backward()
            require_finite(network, loss, epoch, number)
            if recipe.clip is not None:
                nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
            now = before + group.total(forward.spent, place)
            # In the middle of the step.
            steps = (epoch - 1) * parts + number - 0.5
            done = steps / (until * parts) if recipe.budget is None else (spent + now) / (2 * recipe.budget)
            rate = recipe.rate(min(done, 1.0))
            for parameters in optimizer.param_groups:
                parameters["lr"] = rate
            optimizer.step()
            strategy.stepped(network, memory)
            state["steps"] += 1
            if recipe.average is not None:
                decay = min(recipe.average, (1 + state["steps"]) / (10 + state["steps"]))
                for name, parameter in network.named_parameters():
                    average[name].lerp_(parameter.detach(), 1 - decay)
            total, seen = total + loss.item() * (len(indices) / group.world), seen + len(indices)
            progress(1, now - spent)
            spent = now
        before = spent
        weights = average or strategy.weights(memory)
        with averaged(network, weights):
            error = one_step(network, validation, recipe.batch, group, classes, without)
        history.append(
            {
                "epoch": epoch,
                "train": group.total(total, place) / seen,
                "validation": error,
                "learning_rate": rate,
                "seconds": time.perf_counter() - start,
                "windows": seen,
                "forwards": spent,
                "flops": spent * operations,
            }
        )
        yield {
            "epoch": epoch,
            "network": tensors_of(network),
            "optimizer": optimizer.state_dict(),
            "history": history,
            "passes": state["passes"],
            "left": [numbers.tolist() for numbers in left],
            "memory": memory,
            "average": average,
            "weights": weights,
            "steps": state["steps"],
        }


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
