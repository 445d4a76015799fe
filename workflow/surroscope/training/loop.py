"""Training: AdamW on the SMSE of single transitions, drawn at random over classes, trajectories and times."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from surroscope import seeding
from surroscope.errors import UserError
from surroscope.observables import smse

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
    resume: dict[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[dict[str, Any]]:
    """Train until epoch `until`, yielding after each one a state from which training can go on bit by bit.

    train, validation: trajectories (n, snapshots, F, Y, X); a batch at a time goes to the network's device
    resume: a state that was yielded before, or None
    progress: called with (batches done, batches in this epoch)

    A state holds "epoch", "network", "optimizer" and "history": one row an epoch with the mean SMSE over
    training batches and over the validation transitions, the learning rate and the seconds it took.
    The order of an epoch, and the global generator (dropout), depend on (seed, epoch) alone.
    Raises UserError if a gradient is not finite.
    """
    place = next(network.parameters()).device
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
    history: list[dict[str, float]] = []
    if resume:
        network.load_state_dict(resume["network"])
        optimizer.load_state_dict(resume["optimizer"])
        history = list(resume["history"])
    steps = train.shape[1] - 1
    for epoch in range(len(history) + 1, until + 1):
        start = time.perf_counter()
        torch.manual_seed(seeding.integer(seed, "training", epoch))
        order = seeding.generator(seed, "order", epoch).permutation(len(train) * steps)
        batches = np.array_split(order, batches_in(train, batch))
        total = 0.0
        network.train()
        for number, indices in enumerate(batches, 1):
            state, target = (part.to(place) for part in gather(train, indices))
            loss = smse(network(state), target, state).mean()
            optimizer.zero_grad()
            loss.backward()
            require_finite(network, loss, epoch, number)
            optimizer.step()
            total += loss.item() * len(indices)
            progress(number, len(batches))
        history.append(
            {
                "epoch": epoch,
                "train": total / len(order),
                "validation": one_step(network, validation, batch),
                "learning_rate": learning_rate,
                "seconds": time.perf_counter() - start,
            }
        )
        yield {
            "epoch": epoch,
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "history": history,
        }


def batches_in(train: Tensor, batch: int) -> int:
    """Batches of an epoch over the transitions of (n, snapshots, ...): as few as have at most `batch` each."""
    return -(-len(train) * (train.shape[1] - 1) // batch)


def gather(trajectories: Tensor, indices: np.ndarray) -> tuple[Tensor, Tensor]:
    """States and targets (N, F, Y, X) of transitions of (n, snapshots, F, Y, X), numbered trajectory by trajectory."""
    snapshots = trajectories.shape[1]
    trajectory, step = np.divmod(indices, snapshots - 1)
    frames, first = trajectories.flatten(0, 1), torch.from_numpy(trajectory * snapshots + step)
    # Copies whole frames, where indexing by two tensors goes number by number.
    return frames.index_select(0, first), frames.index_select(0, first + 1)


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
def one_step(network: nn.Module, trajectories: Tensor, batch: int) -> float:
    """Mean SMSE of the network's one-step predictions over all transitions of the trajectories."""
    network.eval()
    place = next((parameter.device for parameter in network.parameters()), trajectories.device)
    count = len(trajectories) * (trajectories.shape[1] - 1)
    errors = []
    for start in range(0, count, batch):
        indices = np.arange(start, min(start + batch, count))
        state, target = (part.to(place) for part in gather(trajectories, indices))
        errors.append(smse(network(state), target, state).double().cpu())
    return torch.cat(errors).mean().item()


def persistence(trajectories: Tensor) -> float:
    """Mean SMSE of predicting no change."""
    return one_step(nn.Identity(), trajectories, PERSISTENCE_BATCH)
