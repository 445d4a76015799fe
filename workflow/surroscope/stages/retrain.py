"""Train a network once more, without some groups of transitions -> its one-step errors at every test transition.

Initial weights, the order of the batches and the number of the optimiser's steps are those of the network that is
trained on all. Short trainings are not gone on from where they were killed.
"""

import json
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import nn

from surroscope import device
from surroscope.config import jobs
from surroscope.data import transitions
from surroscope.models import surrogate
from surroscope.runtime import cli, progress, store
from surroscope.training import loop, windows
from surroscope.training.masked import masked
from surroscope.training.recipe import Recipe, averaged
from surroscope.training.strategy import asked_for, history_of


def stage(settings: jobs.Retrain, *, stores: list[Path], split: Path, retrained: cli.Output) -> None:
    place, classes = device.pick(), [path.stem for path in stores]
    train, validation, test = (
        torch.from_numpy(transitions.trajectories(stores, split, part, settings.snapshots))
        for part in ("train", "validation", "test")
    )
    network = surrogate.build(**settings.network, shape=tuple(train.shape[2:]), seed=settings.seed).to(place)
    # By all of them, whatever is left out: in other units a network would be another one.
    surrogate.normalise(network, train)
    rule = asked_for(settings)
    history = history_of(network)
    training = loop.Training(
        network,
        train,
        validation,
        Recipe(**settings.recipe),
        seed=settings.seed,
        until=settings.epochs,
        classes=len(classes),
        strategy=masked(
            rule, windows.placed(settings.left_out, classes), draws=settings.strategy is not None or drops(network)
        ),
    )
    total = settings.epochs * loop.batches_in(train, settings.batch, history + rule.following)
    with progress.bar(f"{settings.member} of {settings.model} seed {settings.seed}", total, "batch") as bar:
        for state in training.epochs(progress=lambda count, _: bar.update(count)):
            bar.set_postfix(epoch=state["epoch"], validation=f"{state['history'][-1]['validation']:.3g}")
    every = np.arange(windows.count(test, history + 1))
    with averaged(network, state["weights"]):
        errors = loop.errors_of(network, test, every, settings.batch, len(classes))
    still = test[:, history - 1 :, : test.shape[2] - settings.given["constants"]]
    persistence = loop.errors_of(nn.Identity(), still, every, settings.batch)
    numbers = json.loads(split.read_text())
    shape = (len(classes), -1, train.shape[1] - history)
    lead = ("class", "trajectory", "time")
    dataset = xr.Dataset(
        {
            "error": (lead, errors.reshape(shape).numpy(), {"long_name": "SMSE of one step"}),
            "persistence": (lead, persistence.reshape(shape).numpy(), {"long_name": "SMSE of no change"}),
            "number": (lead[:2], [numbers[name]["test"] for name in classes], {"long_name": "in the class's store"}),
        },
        coords={
            "class": store.names("class", classes),
            "time": np.arange(history - 1, train.shape[1] - 1),
        },
        attrs={key: getattr(settings, key) for key in ("system", "model", "seed", "member")}
        | {"left_out": json.dumps(settings.left_out), "forwards": state["history"][-1]["forwards"]},
    )
    with store.writing(retrained, cli.provenance("retrain", settings)) as temporary:
        dataset.to_zarr(temporary, zarr_format=3, consolidated=False)


def drops(network: nn.Module) -> bool:
    """Whether a network draws what it leaves out in training."""
    shares = [
        part.p if isinstance(part, nn.modules.dropout._DropoutNd) else part.dropout
        for part in network.modules()
        if isinstance(part, nn.modules.dropout._DropoutNd | nn.MultiheadAttention)
    ]
    return max(shares, default=0.0) > 0


if __name__ == "__main__":
    cli.run(stage)
