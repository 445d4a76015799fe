"""Look at what a network that was trained elsewhere does on validation trajectories -> the history of its epochs."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from surroscope import device
from surroscope.config import jobs
from surroscope.data import transitions
from surroscope.diagnostics import mistakes
from surroscope.diagnostics.verdict import WEAK
from surroscope.models import context, surrogate
from surroscope.runtime import cli, store
from surroscope.training import loop, windows

BATCH = 48
# Of validation, at which other calls are tried.
TRAJECTORIES = 6


def stage(
    settings: jobs.Validate, *, stores: list[Path], split: Path, weights: list[Path], history: cli.Output
) -> None:
    """weights: the folders of the epochs, in their order"""
    place = device.pick(0)
    validation = torch.from_numpy(transitions.trajectories(stores, split, "validation", settings.snapshots))
    persistence, rows = loop.persistence(validation, *settings.given.values()), []
    network = surrogate.build(**settings.network, shape=validation.shape[2:], seed=settings.seed).to(place)
    for epoch, folder in zip(settings.epochs, weights, strict=True):
        surrogate.load_weights(network, folder, epoch)
        error = loop.one_step(network, validation, BATCH, classes=len(stores))
        told = "" if error < WEAK * persistence else why(network, validation, settings)
        rows.append({"epoch": epoch, "validation": error, "likelier": told})
        print(f"epoch {epoch}: one-step error {error:.4g}, of no change {persistence:.4g}", flush=True)
    # Of its training nothing is known.
    table = pd.DataFrame(rows).reindex(columns=["epoch", "train", "validation", "learning_rate", "seconds", "likelier"])
    for name, value in (
        ("persistence", persistence),
        *((name, getattr(settings, name)) for name in ("seed", "model", "system")),
    ):
        table.insert(0, name, value)
    with store.atomic(history) as temporary:
        table.to_csv(temporary, index=False)


def why(network: torch.nn.Module, validation: torch.Tensor, settings: jobs.Validate) -> str:
    """How it may be meant to be called, as `mistakes` finds out at some transitions of every class; "" if not."""
    if getattr(network, "labelled", False):  # what it is told belongs to each transition
        return ""
    some = validation[:: -(-len(validation) // TRAJECTORIES)]
    history, place = settings.given["history"], device.pick(0)
    both = windows.gather(some, np.arange(windows.count(some, history + 1)), history + 1)
    given, following = both[:, :history], both[:, history]

    def predict(snapshots: torch.Tensor) -> torch.Tensor:
        return network(context.of(network, snapshots))

    targets = following[:, : len(settings.channels)]
    told = mistakes.likelier(predict, given.to(place), targets.to(place), settings.channels)
    if told:
        print(f"likelier: {told}", flush=True)
    return told


if __name__ == "__main__":
    cli.run(stage)
