"""Roll one checkpoint out from every start time of every probe trajectory -> errors, and fields of one rollout."""

from dataclasses import dataclass
from pathlib import Path

import torch
import xarray as xr

from surroscope import device, store, transitions
from surroscope.diagnostics.rollout import errors, rollout
from surroscope.models import loading
from surroscope.stages import cli, progress


@dataclass(frozen=True)
class Settings(cli.Network):
    seed: int
    epoch: int
    probes: int
    channels: list[str]


def stage(settings: Settings, *, stores: list[Path], split: Path, weights: Path, rollouts: Path) -> None:
    place = device.pick()
    by_class = transitions.by_class(stores, split, "test", chosen=slice(settings.probes))
    states = torch.stack([torch.from_numpy(block) for block in by_class.values()]).to(place)
    classes, probes, snapshots, *grid = states.shape
    shape, boundary = tuple(grid), settings.boundary
    network = loading.build(settings.factory, settings.options, shape=shape, boundary=boundary, seed=settings.seed)
    loading.load_weights(network, weights, settings.epoch)
    network.to(place).eval()
    with progress.bar(f"rollouts of {settings.model}", snapshots - 1, "start") as bar:
        surrogate, persistence = errors(network, states.flatten(0, 1), bar.update)
    shown = states[:, 0]
    predicted = torch.cat([shown[:, :1], rollout(network, shown[:, 0], snapshots - 1)], dim=1)
    predicted = torch.where(torch.isfinite(predicted), predicted, torch.inf)
    lead, fields = ("class", "probe", "start", "snapshot"), ("class", "snapshot", "channel", "y", "x")
    errors_of = (classes, probes, snapshots - 1, snapshots)
    keys = ("system", "model", "seed", "epoch")
    dataset = xr.Dataset(
        {
            "error": (lead, surrogate.reshape(errors_of).numpy(), {"long_name": "SMSE of the rollout at each step"}),
            "persistence": (lead, persistence.reshape(errors_of).numpy()),
            "truth": (fields, shown.cpu().numpy()),
            "prediction": (fields, predicted.cpu().numpy()),
        },
        coords={
            "class": store.names("class", list(by_class)),
            "channel": store.names("channel", settings.channels),
            "time": ("snapshot", store.read(stores[0], contents=False)["time"].values),
        },
        attrs={key: getattr(settings, key) for key in keys},
    )
    with store.writing(
        rollouts, cli.provenance("evaluate", settings, loading.module_of(settings.factory))
    ) as temporary:
        dataset.to_zarr(temporary, zarr_format=3, consolidated=False)


if __name__ == "__main__":
    cli.run(stage, Settings, paths=("split", "weights", "rollouts"), lists=("stores",), writes=("rollouts",))
