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
from surroscope.models import surrogate
from surroscope.runtime import cli, progress, store
from surroscope.training import distributed, loop, windows
from surroscope.training.checkpoints import Checkpoints
from surroscope.training.recipe import Recipe, averaged
from surroscope.training.strategy import Window, asked_for, history_of

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
        strategy, without = asked_for(settings), windows.placed(settings.without, [path.stem for path in stores])
        normalise = partial(normalised, train=train, classes=len(stores), without=without)
        normalise(network)
        training = partial(
            loop.Training,
            network,
            train,
            validation,
            Recipe(**settings.recipe),
            seed=settings.seed,
            until=settings.epochs,
            classes=len(stores),
            strategy=strategy,
            without=without,
            group=group,
        )
        if group.rank:
            for _ in training().epochs(group.from_first(None)):
                pass
            return
        untrained = build()
        normalise(untrained)
        require_differentiable(settings, untrained, train, len(stores), place)
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

        length = history_of(network) + strategy.following
        batches = loop.batches_in(train, settings.batch, length)
        done = len(resume["history"]) if resume else 0
        # The steps of an epoch are as many as its budget pays for.
        total, unit = (settings.budget, "forward") if settings.budget else (settings.epochs * batches, "batch")
        with progress.bar(f"train {settings.model} seed {settings.seed}", int(total), unit) as bar:
            bar.update(int(total * done / settings.epochs))
            told = (
                (lambda _, forwards: bar.update(forwards)) if settings.budget else (lambda count, _: bar.update(count))
            )
            for state in training().epochs(group.from_first(resume), told):
                saved.claim.require()
                if state["epoch"] in trained:
                    with averaged(network, state["weights"]):
                        surrogate.save_weights(network, saved.weights(state["epoch"]))
                    surrogate.save_moments(network, state["optimizer"], saved.moments(state["epoch"]))
                saved.save(state)
                bar.set_postfix(epoch=state["epoch"], validation=f"{state['history'][-1]['validation']:.3g}")

        final = saved.load(trained)
        assert final is not None
        rows = pd.DataFrame(final["history"][: settings.epochs])
        print(cost(rows[done:], place), flush=True)
        if 0 in settings.save_epochs:
            untrained.to(place)
            error = loop.one_step(untrained, validation, settings.batch, classes=len(stores), without=without)
            # An epoch that trains nothing has no error of training, learning rate, time or cost.
            rows = pd.concat([pd.DataFrame({"epoch": [0], "validation": [error]}), rows], ignore_index=True)[list(rows)]
        still = loop.persistence(validation, *settings.given.values(), classes=len(stores), without=without)
        rows.insert(0, "persistence", still)
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
    length = (history := history_of(network)) + 1
    some = np.arange(min(FEW, windows.count(train, length)))
    told = torch.from_numpy(windows.labels(train, some, classes, history, length))
    given = Window(network, windows.gather(train, some, length), told).given()
    try:
        require(network.to(place), given.to(place))
    except ValueError as error:
        raise UserError(f"{settings.model} on {settings.system}: {error}") from None


def normalised(network: nn.Module, train: Tensor, classes: int, without: windows.Without) -> None:
    """Have a network that normalises by the data do so by those that are trained on."""
    if without and surrogate.scales(network):
        length = history_of(network) + 1
        train = windows.states_of(train, windows.allowed(train, classes, without, length - 1), length)
    surrogate.normalise(network, train)


def cost(rows: pd.DataFrame, place: torch.device) -> str:
    """What training took, in words. rows: of the epochs of this run"""
    # ru_maxrss is in KiB, as Linux has it.
    memory = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB"
    if place.type == "cuda":
        memory += f", of its GPU {torch.cuda.max_memory_allocated(place) / 2**20:,.0f} MiB"
    rate = f"{rows['windows'].sum() / rows['seconds'].sum():,.1f}" if len(rows) else "no"
    return f"{rate} transitions per second over {len(rows)} epochs; peak memory of the first process {memory}"


def provenance(settings: jobs.Train) -> dict[str, Any]:
    return cli.provenance("train", settings)


def identity(settings: jobs.Train, stores: list[Path], split: Path) -> dict[str, Any]:
    """What must be equal for a checkpoint to be gone on from: all but what to keep, and, where it matters, how long."""
    endless = settings.budget is None and settings.schedule == "constant" and not settings.warmup
    return {
        "settings": settings.model_dump(mode="json", exclude={"save_epochs"} | ({"epochs"} if endless else set())),
        "code": provenance(settings)["code"],
        **transitions.source(stores, split),
    }


if __name__ == "__main__":
    paths = ("split", "weights", "history", "checkpoints", "mapping")
    cli.run(stage)
