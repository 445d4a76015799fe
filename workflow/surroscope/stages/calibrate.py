"""Measure which way of taking gradients and tangents is the fastest for a network on this machine -> JSON."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch

from surroscope import device
from surroscope.config import jobs
from surroscope.cost_function import smse
from surroscope.data import transitions
from surroscope.influence.calibrate import calibrate
from surroscope.influence.linearize import Linearization
from surroscope.models import context, surrogate
from surroscope.runtime import cli, store
from surroscope.stages.checkpoint import linearizing


def stage(settings: jobs.Calibrate, *, stores: list[Path], calibration: cli.Output) -> None:
    place = device.pick()
    probe = transitions.Probe(
        np.stack(
            [
                store.read(path, contents=False)["state"].isel(trajectory=0, time=slice(settings.snapshots))
                for path in stores
            ]
        ),
        tuple(path.stem for path in stores),
        (0,) * len(stores),
        **settings.given,
    )
    snapshots, targets = (torch.from_numpy(part).to(place) for part in (probe.snapshots, probe.targets))
    network = surrogate.build(**settings.network, shape=probe.states.shape[2:], seed=0)
    states = context.of(network, snapshots, torch.from_numpy(probe.labels))
    with linearizing(settings.model, settings.system):
        found = calibrate(Linearization(network.to(place)), smse, states, targets)
    text = json.dumps(dataclasses.asdict(found) | {"device": str(place)}, indent=1)
    print(text)
    with store.atomic(calibration) as temporary:
        temporary.write_text(text + "\n")


if __name__ == "__main__":
    cli.run(stage)
