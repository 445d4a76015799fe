"""Training: AdamW on the SMSE of single transitions, drawn at random over classes, trajectories and times."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from surroscope import seeding
from surroscope.cost_function import smse
from surroscope.errors import UserError
from surroscope.models import context
from surroscope.models.weights import tensors_of
from surroscope.training.distributed import ALONE, Group

PERSISTENCE_BATCH = 64


def epochs(
    network: nn.Module,
    train: Tensor,
    validation: Tensor,
    *,
    seed: int,
    until: int,
    batch: int,
    learning_rate: float,
    weight_decay: float,
    classes: int = 1,
    precision: str = "float32",
    compiled: bool = False,
    group: Group = ALONE,
    resume: dict[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[dict[str, Any]]:
    """Train until epoch `until`, yielding after each one a state from which training can go on bit by bit.

    train, validation: trajectories (n, snapshots, C, Y, X); a batch at a time goes to the network's device
    classes: in the trajectories, which are stacked class by class, as many of each; for networks that ask for labels
    batch: transitions per step, over all processes of `group`; the gradient is that of the mean over all of them
    precision: of the forward and backward pass, "float32" or "bfloat16" (autocast); weights, their updates, the SMSE
    and the validation are float32
    compiled: torch.compile the network for the training steps
    resume: a state that was yielded before, or None
    progress: called with (batches done, batches in this epoch)

    A state holds "epoch", "network", "optimizer" and "history": one row an epoch with the mean SMSE over
    training batches and over the validation transitions, the learning rate and the seconds it took.
    The order of an epoch depends on (seed, epoch) alone, the global generator (dropout) on the process too.
    Raises UserError if a gradient is not finite, if a batch has fewer transitions than there are processes, or if the
    network cannot be compiled.
    """
    place = next(network.parameters()).device
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
    history: list[dict[str, float]] = []
    if resume:
        network.load_state_dict(resume["network"])
        optimizer.load_state_dict(resume["optimizer"])
        history = list(resume["history"])
    replica = group.replica(network)
    forward = compile_network(replica) if compiled else replica
    past = history_of(network)
    count, parts = transitions_in(train, past), batches_in(train, batch, past)
    if count // parts < group.world:
        raise UserError(
            f"training: a batch of {count // parts} transitions for {group.world} processes; expected one or more for "
            "each: raise training.batch, or set the resource `processes` lower"
        )
    for epoch in range(len(history) + 1, until + 1):
        start = time.perf_counter()
        torch.manual_seed(seeding.integer(seed, "training", epoch, *([group.rank] if group.rank else [])))
        order = seeding.generator(seed, "order", epoch).permutation(count)
        batches = np.array_split(order, parts)
        total = 0.0
        network.train()
        for number, indices in enumerate(batches, 1):
            mine = group.share(indices)
            snapshots, following = (part.to(place) for part in gather(train, mine, past))
            given = context.of(network, snapshots, labels_of(train, mine, classes, past))
            with torch.autocast(place.type, torch.bfloat16, enabled=precision == "bfloat16"):
                prediction = forward(given)
            # The mean of these over the processes is the mean over the batch.
            target = following[:, : prediction.shape[1]]
            loss = smse(prediction.float(), target, context.state(network, given)).sum() / (len(indices) / group.world)
            optimizer.zero_grad()
            loss.backward()
            require_finite(network, loss, epoch, number)
            optimizer.step()
            total += loss.item() * (len(indices) / group.world)
            progress(number, len(batches))
        history.append(
            {
                "epoch": epoch,
                "train": group.total(total, place) / count,
                "validation": one_step(network, validation, batch, group, classes),
                "learning_rate": learning_rate,
                "seconds": time.perf_counter() - start,
            }
        )
        yield {
            "epoch": epoch,
            "network": tensors_of(network),
            "optimizer": optimizer.state_dict(),
            "history": history,
        }


def history_of(network: nn.Module) -> int:
    """How many snapshots a network is given."""
    return network.history if isinstance(network, context.Contextual) else 1


def transitions_in(trajectories: Tensor, history: int = 1) -> int:
    """Transitions of trajectories (n, snapshots, ...), of a network that is given so many snapshots."""
    return len(trajectories) * (trajectories.shape[1] - history)


def batches_in(train: Tensor, batch: int, history: int = 1) -> int:
    """Batches of an epoch over the transitions of (n, snapshots, ...): as few as have at most `batch` each."""
    return -(-transitions_in(train, history) // batch)


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


def gather(trajectories: Tensor, indices: np.ndarray, history: int = 1) -> tuple[Tensor, Tensor]:
    """Transitions of (n, S, C, Y, X), numbered trajectory by trajectory: what is given, (N, T, C, Y, X), what follows.

    history: T, how many snapshots a transition starts from
    """
    snapshots = trajectories.shape[1]
    trajectory, step = np.divmod(indices, snapshots - history)
    frames = trajectories.flatten(0, 1)
    first = torch.from_numpy(trajectory * snapshots + step).to(frames.device)
    # Copies whole frames, where indexing by two tensors goes number by number.
    given = [frames.index_select(0, first + place) for place in range(history)]
    return torch.stack(given, dim=1), frames.index_select(0, first + history)


def labels_of(trajectories: Tensor, indices: np.ndarray, classes: int, history: int = 1) -> Tensor:
    """Indices of class and time (N, 2) of transitions, numbered as `gather` does.

    classes: in the trajectories, stacked class by class, as many of each
    """
    trajectory, step = np.divmod(indices, trajectories.shape[1] - history)
    return torch.from_numpy(np.stack([trajectory * classes // len(trajectories), step + history - 1], axis=1))


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
def one_step(network: nn.Module, trajectories: Tensor, batch: int, group: Group = ALONE, classes: int = 1) -> float:
    """Mean SMSE of the network's one-step predictions over all transitions of the trajectories, in float64."""
    network.eval()
    place = next((parameter.device for parameter in network.parameters()), trajectories.device)
    history = history_of(network)
    count = transitions_in(trajectories, history)
    indices = group.share(np.arange(count))
    errors = [torch.zeros(0, dtype=torch.float64)]
    for start in range(0, len(indices), batch):
        part = indices[start : start + batch]
        snapshots, following = (values.to(place) for values in gather(trajectories, part, history))
        given = context.of(network, snapshots, labels_of(trajectories, part, classes, history))
        prediction = network(given)
        target, state = following[:, : prediction.shape[1]], context.state(network, given)
        errors.append(smse(prediction, target, state).double().cpu())
    return group.total(torch.cat(errors).sum().item(), place) / count


def persistence(trajectories: Tensor, history: int = 1, constants: int = 0) -> float:
    """Mean SMSE of predicting no change, over the transitions of a network; see `context`."""
    states = trajectories[:, history - 1 :, : trajectories.shape[2] - constants]
    return one_step(nn.Identity(), states, PERSISTENCE_BATCH)
