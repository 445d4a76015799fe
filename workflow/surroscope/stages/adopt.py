"""Take the weights of a network that was trained elsewhere -> the same files as of one that was trained here."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from surroscope import device
from surroscope.config import jobs
from surroscope.config.weights import digest
from surroscope.data import transitions
from surroscope.diagnostics import mistakes
from surroscope.diagnostics.verdict import WEAK
from surroscope.errors import UserError
from surroscope.models import context, surrogate
from surroscope.models import weights as files
from surroscope.runtime import cli, store
from surroscope.training import loop

BATCH = 48
# Of validation, at which other calls are tried.
TRAJECTORIES = 6


def stage(
    settings: jobs.Adopt,
    *,
    stores: list[Path],
    split: Path,
    saved: cli.Foreigns,
    weights: cli.Output,
    history: cli.Output,
) -> None:
    """saved: the files of the epochs, in their order"""
    place = device.pick(0)
    validation = torch.from_numpy(transitions.trajectories(stores, split, "validation", settings.snapshots))
    persistence, rows = loop.persistence(validation, **settings.given), []
    network = surrogate.build(**settings.network, shape=validation.shape[2:], seed=settings.seed)
    if (settings.call or {}).get("normalize"):
        train = transitions.trajectories(stores, split, "train", settings.snapshots)
        surrogate.normalise(network, torch.from_numpy(train))
    with store.writing(weights, cli.provenance("adopt", settings)) as temporary:
        temporary.mkdir()
        for epoch, path, expected in zip(settings.epochs, saved, settings.files, strict=True):
            if digest(path) != expected:
                raise UserError(f"{path}: written again since this job was planned; run snakemake again")
            adopt(network, settings, path)
            surrogate.save_weights(network, surrogate.weights_of(temporary, epoch))
            error = loop.one_step(network.to(place), validation, BATCH, classes=len(stores))
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


def why(network: torch.nn.Module, validation: torch.Tensor, settings: jobs.Adopt) -> str:
    """How it may be meant to be called, as `mistakes` finds out at some transitions of every class."""
    some = validation[:: -(-len(validation) // TRAJECTORIES)]
    history, place = settings.given["history"], device.pick(0)
    given, following = loop.gather(some, np.arange(loop.transitions_in(some, history)), history)

    def predict(snapshots: torch.Tensor) -> torch.Tensor:
        return network(context.of(network, snapshots))

    targets = following[:, : len(settings.channels)]
    told = mistakes.likelier(predict, given.to(place), targets.to(place), settings.channels)
    if told:
        print(f"likelier: {told}", flush=True)
    return told


def adopt(network: torch.nn.Module, settings: jobs.Adopt, path: Path) -> None:
    """Give the network the weights of a file, and say under which names they were found."""
    found = files.read(path, settings.entry, pickled=settings.pickled, loader=settings.loader)
    prefix = files.fit(surrogate.inner(network), found, path, settings.prefix)
    count = surrogate.size(network)
    print(f"{path}: {count:,} parameters{f' behind {prefix!r}' if prefix else ''}", flush=True)


if __name__ == "__main__":
    cli.run(stage)
