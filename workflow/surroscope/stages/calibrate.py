"""Measure which way of taking gradients and tangents is the fastest for a network on this machine -> JSON."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from surroscope import device, observables, store, transitions
from surroscope.models import loading
from surroscope.response.calibrate import calibrate
from surroscope.response.linearize import Linearization
from surroscope.stages import cli


@dataclass(frozen=True)
class Settings:
    system: str
    model: str
    factory: str
    options: dict[str, Any]
    snapshots: int


def stage(settings: Settings, *, stores: list[Path], split: Path, calibration: Path) -> None:
    place = device.pick()
    (probe,) = transitions.probes(stores, split, [("probe", 0)], settings.snapshots)
    states, targets = (torch.from_numpy(part).to(place) for part in (probe.inputs, probe.targets))
    _, channels, _, size = states.shape
    network = loading.build(settings.factory, settings.options, channels=channels, size=size, seed=0)
    found = calibrate(Linearization(network.to(place)), observables.smse, states, targets)
    text = json.dumps(dataclasses.asdict(found) | {"device": str(place)}, indent=1)
    print(text)
    with store.atomic(calibration) as temporary:
        temporary.write_text(text + "\n")


if __name__ == "__main__":
    cli.run(stage, Settings, paths=("split", "calibration"), lists=("stores",))
