"""Train one network with one seed -> weights at the named epochs, and a history of every epoch."""

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from surroscope import device, store, transitions
from surroscope.errors import UserError
from surroscope.models import loading
from surroscope.stages import cli, progress
from surroscope.training import loop
from surroscope.training.checkpoints import Checkpoints


@dataclass(frozen=True)
class Settings(cli.Network):
    seed: int
    snapshots: int
    epochs: int
    save_epochs: list[int]
    learning_rate: float
    weight_decay: float
    batch: int


def stage(
    settings: Settings,
    *,
    stores: list[Path],
    split: Path,
    weights: Path,
    history: Path,
    checkpoints: Path,
    cache: Path | None = None,
) -> None:
    """cache: trajectories that the stage `cache` wrote, to be mapped into memory; None reads the stores into memory."""
    place = device.pick()
    train, validation = (
        torch.from_numpy(trajectories(settings, stores, split, part, cache)) for part in ("train", "validation")
    )
    boundary = settings.equations.boundary
    network = loading.build(
        settings.factory, settings.options, shape=tuple(train.shape[2:]), boundary=boundary, seed=settings.seed
    )
    network.to(place)
    folder = Checkpoints(checkpoints, identity(settings, stores, split))
    resume = folder.load(settings.save_epochs)
    print(folder.message, flush=True)
    count = sum(parameter.numel() for parameter in network.parameters())
    print(f"{settings.model}: {count:,} parameters, {len(train)} training trajectories, on {place}", flush=True)

    batches = loop.batches_in(train, settings.batch)
    done = len(resume["history"]) if resume else 0
    with progress.bar(f"train {settings.model} seed {settings.seed}", settings.epochs * batches, "batch") as bar:
        bar.update(done * batches)
        for state in loop.epochs(
            network,
            train,
            validation,
            seed=settings.seed,
            until=settings.epochs,
            batch=settings.batch,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            resume=resume,
            progress=lambda number, total: bar.update(1),
        ):
            if state["epoch"] in settings.save_epochs:
                loading.save_weights(network, folder.weights(state["epoch"]))
                loading.save_moments(network, state["optimizer"], folder.moments(state["epoch"]))
            folder.save(state)
            bar.set_postfix(epoch=state["epoch"], validation=f"{state['history'][-1]['validation']:.3g}")

    final = folder.load(settings.save_epochs)
    assert final is not None
    rows = pd.DataFrame(final["history"][: settings.epochs])
    rows.insert(0, "persistence", loop.persistence(validation))
    for name in ("seed", "model", "system"):
        rows.insert(0, name, getattr(settings, name))
    with store.writing(weights, provenance(settings)) as temporary:
        temporary.mkdir()
        for epoch in settings.save_epochs:
            shutil.copyfile(folder.weights(epoch), loading.weights_of(temporary, epoch))
            shutil.copyfile(folder.moments(epoch), loading.moments_of(temporary, epoch))
    with store.atomic(history) as temporary:
        rows.to_csv(temporary, index=False)
    print(f"{settings.equations.title}, {settings.model}: {rows.iloc[-1].to_dict()}")


def trajectories(settings: Settings, stores: list[Path], split: Path, part: str, cache: Path | None) -> np.ndarray:
    """(n, snapshots, F, Y, X) float32, from the cache if there is one. Raises UserError if it is of other data."""
    if cache is None:
        return transitions.trajectories(stores, split, part, settings.snapshots)
    made = store.manifest(cache)
    if made.get("source") != transitions.source(stores, split) or made["settings"]["snapshots"] != settings.snapshots:
        raise UserError(f"{cache}: made from other stores, another split or other snapshots; delete it and run again")
    return transitions.mapped(cache, part)


def provenance(settings: Settings) -> dict[str, Any]:
    return cli.provenance("train", settings, loading.module_of(settings.factory))


def identity(settings: Settings, stores: list[Path], split: Path) -> dict[str, Any]:
    """What must be equal for a checkpoint to be gone on from: all but how long to train and what to keep."""
    kept = dataclasses.asdict(settings)
    del kept["epochs"], kept["save_epochs"]
    return {
        "settings": kept,
        "code": provenance(settings)["code"],
        **transitions.source(stores, split),
    }


if __name__ == "__main__":
    cli.run(
        stage, Settings, paths=("split", "weights", "history", "checkpoints"), lists=("stores",), optional=("cache",)
    )
