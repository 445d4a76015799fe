"""Train one network with one seed -> weights at the named epochs (0: as initialised), and a history of every epoch."""

import resource
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from surroscope import device
from surroscope.config import jobs
from surroscope.data import mapped, transitions
from surroscope.errors import UserError
from surroscope.importing import imported
from surroscope.models import context, surrogate
from surroscope.runtime import cli, progress, store
from surroscope.training import distributed, loop
from surroscope.training.checkpoints import Checkpoints

# Transitions at which it is looked whether a network can be differentiated.
FEW = 3


def stage(
    settings: jobs.Train,
    *,
    stores: list[Path],
    split: Path,
    weights: cli.Output,
    history: cli.Output,
    checkpoints: cli.Foreign,
    mapping: cli.Foreign,
    reader: str = "memory",
) -> None:
    """Alone, or as one of the processes that torchrun has started; the first of them writes.

    reader: "memory" reads the stores into it; "mapped" maps the arrays of `mapping`, built where there are none.
    """
    with distributed.joined() as group:
        place = device.pick(group.local)
        folder = mapped.built(mapping, stores, split, settings.snapshots) if reader == "mapped" else None
        train, validation = (
            torch.from_numpy(
                transitions.mapped(folder, part)
                if folder
                else transitions.trajectories(stores, split, part, settings.snapshots)
            )
            for part in mapped.PARTS
        )
        shape = tuple(train.shape[2:])
        build = partial(
            surrogate.build,
            **settings.network,
            shape=shape,
            seed=settings.seed,
        )
        network = build().to(place)
        surrogate.normalise(network, train)
        epochs = partial(
            loop.epochs,
            network,
            train,
            validation,
            seed=settings.seed,
            until=settings.epochs,
            batch=settings.batch,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            classes=len(stores),
            precision=settings.precision,
            compiled=settings.compile,
            group=group,
        )
        if group.rank:
            for _ in epochs(resume=group.from_first(None)):
                pass
            return
        require_differentiable(settings, build(), train, len(stores), place)
        saved = Checkpoints(checkpoints, identity(settings, stores, split))
        # Those of epoch 0 are the network as built, and need not be kept for resuming.
        trained = [epoch for epoch in settings.save_epochs if epoch]
        resume = saved.load(trained)
        print(saved.message, flush=True)
        count = surrogate.size(network)
        processes = f" in {group.world} processes" if group.world > 1 else ""
        print(
            f"{settings.model}: {count:,} parameters, {len(train)} training trajectories, on {place}{processes}",
            flush=True,
        )

        batches = loop.batches_in(train, settings.batch, loop.history_of(network))
        done = len(resume["history"]) if resume else 0
        with progress.bar(f"train {settings.model} seed {settings.seed}", settings.epochs * batches, "batch") as bar:
            bar.update(done * batches)
            for state in epochs(resume=group.from_first(resume), progress=lambda number, total: bar.update(1)):
                saved.claim.require()
                if state["epoch"] in trained:
                    surrogate.save_weights(network, saved.weights(state["epoch"]))
                    surrogate.save_moments(network, state["optimizer"], saved.moments(state["epoch"]))
                saved.save(state)
                bar.set_postfix(epoch=state["epoch"], validation=f"{state['history'][-1]['validation']:.3g}")

        final = saved.load(trained)
        assert final is not None
        rows = pd.DataFrame(final["history"][: settings.epochs])
        print(cost(rows["seconds"][done:], loop.transitions_in(train, loop.history_of(network)), place), flush=True)
        if 0 in settings.save_epochs:
            untrained = build().to(place)
            surrogate.normalise(untrained, train)
            error = loop.one_step(untrained, validation, settings.batch, classes=len(stores))
            # An epoch that trains nothing has no error of training, learning rate or time.
            rows = pd.concat([pd.DataFrame({"epoch": [0], "validation": [error]}), rows], ignore_index=True)[list(rows)]
        rows.insert(0, "persistence", loop.persistence(validation, **settings.given))
        for name in ("seed", "model", "system"):
            rows.insert(0, name, getattr(settings, name))
        with store.writing(weights, provenance(settings)) as temporary:
            temporary.mkdir()
            if 0 in settings.save_epochs:
                surrogate.save_weights(untrained, surrogate.weights_of(temporary, 0))
            for epoch in trained:
                shutil.copyfile(saved.weights(epoch), surrogate.weights_of(temporary, epoch))
                shutil.copyfile(saved.moments(epoch), surrogate.moments_of(temporary, epoch))
        with store.atomic(history) as temporary:
            rows.to_csv(temporary, index=False)
        saved.claim.release()
        print(f"{settings.system}, {settings.model}: {rows.iloc[-1].to_dict()}")


def require_differentiable(
    settings: jobs.Train, network: nn.Module, train: Tensor, classes: int, place: torch.device
) -> None:
    """Raise UserError, before hours are spent, for a network that has no exact method, at its first transitions."""
    # By its name, since it changes no weight: an edit of it is to train nothing again.
    require = imported("surroscope.influence.calibrate:require_differentiable", "train")
    surrogate.normalise(network, train)
    history = loop.history_of(network)
    some = np.arange(min(FEW, loop.transitions_in(train, history)))
    snapshots, labels = loop.gather(train, some, history)[0], loop.labels_of(train, some, classes, history)
    try:
        require(network.to(place), context.of(network, snapshots, labels).to(place))
    except ValueError as error:
        raise UserError(f"{settings.model} on {settings.system}: {error}") from None


def cost(seconds: pd.Series, transitions: int, place: torch.device) -> str:
    """What training took, in words. seconds: of the epochs of this run; transitions: of one epoch"""
    # ru_maxrss is in KiB, as Linux has it.
    memory = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB"
    if place.type == "cuda":
        memory += f", of its GPU {torch.cuda.max_memory_allocated(place) / 2**20:,.0f} MiB"
    rate = f"{len(seconds) * transitions / seconds.sum():,.1f}" if len(seconds) else "no"
    return f"{rate} transitions per second over {len(seconds)} epochs; peak memory of the first process {memory}"


def provenance(settings: jobs.Train) -> dict[str, Any]:
    return cli.provenance("train", settings)


def identity(settings: jobs.Train, stores: list[Path], split: Path) -> dict[str, Any]:
    """What must be equal for a checkpoint to be gone on from: all but how long to train and what to keep."""
    return {
        "settings": settings.model_dump(mode="json", exclude={"epochs", "save_epochs"}),
        "code": provenance(settings)["code"],
        **transitions.source(stores, split),
    }


if __name__ == "__main__":
    paths = ("split", "weights", "history", "checkpoints", "mapping")
    cli.run(stage)
