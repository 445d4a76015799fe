"""Run one checkpoint forward -> errors of rollouts, drift of totals, errors at images of states."""

from pathlib import Path

import torch
import xarray as xr

from surroscope import device
from surroscope.config import jobs
from surroscope.data import transitions
from surroscope.diagnostics import equivariance
from surroscope.diagnostics.rollout import drift, errors, rollout
from surroscope.models import labels, surrogate
from surroscope.runtime import cli, progress, store
from surroscope.symmetry import Action


def stage(settings: jobs.Evaluate, *, stores: list[Path], split: Path, weights: Path, evaluation: cli.Output) -> None:
    place, system = device.pick(), settings.equations
    by_class = transitions.by_class(stores, split, "test", subset=slice(settings.probes))
    states = torch.stack([torch.from_numpy(block) for block in by_class.values()]).to(place)
    classes, probes, snapshots, *grid = states.shape
    shape = tuple(grid)
    network = surrogate.build(**settings.network, shape=shape, seed=settings.seed)
    surrogate.load_weights(network, weights, settings.epoch)
    network.to(place).eval()
    steps, actions = settings.snapshots - 1, [Action.parse(name) for name in settings.actions]
    total = snapshots - 1 + len(actions)
    # Indices of class and time of every snapshot.
    told = torch.cartesian_prod(torch.arange(classes), torch.arange(probes), torch.arange(snapshots))[:, ::2]
    told = told.reshape(classes, probes, snapshots, labels.PLANES)
    surrogate.require_independent(
        network, labels.inputs(network, states[0, 0, :2], told[0, 0, :2]), f"factory {settings.factory!r}"
    )
    with progress.bar(f"evaluation of {settings.model} epoch {settings.epoch}", total, "pass") as bar:
        one_step, persistence = errors(network, states.flatten(0, 1), bar.update, told[:, :, 0, 0].flatten())
        inputs, targets = (part.flatten(0, 2) for part in (states[:, :, :steps], states[:, :, 1 : steps + 1]))
        moved = equivariance.errors(
            network, inputs, targets, actions, system, bar.update, told[:, :, :steps].flatten(0, 2)
        )
    first = states[:, :, 0].flatten(0, 1)
    flown = rollout(network, first, snapshots - 1, told[:, :, 0].flatten(0, 1))
    shown = torch.cat([states[:, 0, :1], flown.unflatten(0, (classes, probes))[:, 0]], dim=1)
    shown = torch.where(torch.isfinite(shown), shown, torch.inf)
    kept = [system.channels.index(name) for name in system.conserved]
    lead, fields = ("class", "probe", "start", "snapshot"), ("class", "snapshot", "channel", "y", "x")
    errors_of = (classes, probes, snapshots - 1, snapshots)
    drifts = drift(states.flatten(0, 1), flown)[:, :, kept].reshape(classes, probes, snapshots - 1, len(kept)).cpu()
    dataset = xr.Dataset(
        {
            "error": (lead, one_step.reshape(errors_of).numpy(), {"long_name": "SMSE of the rollout at each step"}),
            "persistence": (lead, persistence.reshape(errors_of).numpy(), {"long_name": "SMSE of no change"}),
            "drift": (
                ("class", "probe", "step", "conserved"),
                drifts.numpy(),
                {"long_name": "change of a conserved total in a rollout from the first snapshot, relative"},
            ),
            "image_error": (
                ("action", "class", "probe", "time"),
                moved.reshape(len(actions), classes, probes, steps).numpy(),
                {"long_name": "SMSE of one step from the image of a state under a symmetry"},
            ),
            "truth": (fields, states[:, 0].cpu().numpy()),
            "prediction": (fields, shown.cpu().numpy()),
        },
        coords={
            "class": store.names("class", list(by_class)),
            "channel": store.names("channel", list(system.channels)),
            "conserved": store.names("conserved", list(system.conserved)),
            "action": store.names("action", settings.actions),
            "seconds": ("snapshot", store.read(stores[0], contents=False)["time"].values),
        },
        attrs={key: getattr(settings, key) for key in ("system", "model", "seed", "epoch")},
    )
    made = cli.provenance("evaluate", settings)
    with store.writing(evaluation, made) as temporary:
        dataset.to_zarr(temporary, zarr_format=3, consolidated=False)


if __name__ == "__main__":
    cli.run(stage)
