"""Run one checkpoint forward -> errors of rollouts, drift of totals, errors at images of states."""

from pathlib import Path

import numpy as np
import torch
import xarray as xr

from surroscope import device
from surroscope.config import jobs
from surroscope.data import transitions
from surroscope.diagnostics import equivariance
from surroscope.diagnostics.rollout import drift, errors, rollout
from surroscope.models import context, surrogate
from surroscope.runtime import cli, progress, store
from surroscope.symmetry import Action
from surroscope.training import windows


def stage(settings: jobs.Evaluate, *, stores: list[Path], split: Path, weights: Path, evaluation: cli.Output) -> None:
    place, system = device.pick(), settings.equations
    by_class = transitions.by_class(stores, split, "test", subset=slice(settings.probes + settings.further))
    states = torch.stack([torch.from_numpy(block) for block in by_class.values()]).to(place)
    (classes, flown_from, snapshots), probes = states.shape[:3], settings.probes
    network = surrogate.build(**settings.network, shape=states.shape[3:], seed=settings.seed)
    surrogate.load_weights(network, weights, settings.epoch)
    network.to(place).eval()
    actions, history = [Action.parse(name) for name in settings.actions], settings.given["history"]
    total = snapshots - history + len(actions)
    runs, count = states.flatten(0, 1), len(system.channels)
    # What is given and what follows, of every transition of the probed times.
    probed = states[:, :probes].flatten(0, 1)[:, : settings.snapshots]
    every = np.arange(windows.count(probed, history + 1))
    both = windows.gather(probed, every, history + 1)
    given, following = both[:, :history], both[:, history]
    told = torch.from_numpy(windows.labels(probed, every, classes, history, history + 1))
    # And what is given at the beginning of each trajectory.
    starts = np.arange(len(runs)) * (snapshots - history)
    beginning = torch.from_numpy(windows.labels(runs, starts, classes, history, history + 1))
    first = context.of(network, runs[:, :history], beginning)
    surrogate.require_independent(network, context.of(network, given[:2], told[:2]), f"factory {settings.factory!r}")
    with progress.bar(f"evaluation of {settings.model} epoch {settings.epoch}", total, "pass") as bar:
        one_step, persistence = errors(network, runs, bar.update, beginning[:, 0], **settings.given)
        moved = equivariance.errors(network, given, following[:, :count], actions, system, bar.update, told)
    flown = rollout(network, first, snapshots - history)
    states = states[:, :, :, :count]
    shown = torch.cat([states[:, 0, :history], flown.unflatten(0, (classes, flown_from))[:, 0]], dim=1)
    shown = torch.where(torch.isfinite(shown), shown, torch.inf)
    kept = [system.channels.index(name) for name in system.conserved]
    lead, fields = ("class", "probe", "start", "snapshot"), ("class", "snapshot", "channel", "y", "x")
    one_step, persistence = (values.unflatten(0, (classes, flown_from)).cpu() for values in (one_step, persistence))
    drifts = drift(states.flatten(0, 1)[:, history - 1 :], flown)[:, :, kept].unflatten(0, (classes, flown_from)).cpu()
    dataset = xr.Dataset(
        {
            "error": (lead, one_step[:, :probes].numpy(), {"long_name": "SMSE of the rollout at each step"}),
            "persistence": (lead, persistence[:, :probes].numpy(), {"long_name": "SMSE of no change"}),
            "drift": (
                ("class", "probe", "step", "conserved"),
                drifts[:, :probes].numpy(),
                {"long_name": "change of a conserved total in a rollout from the first snapshot, relative"},
            ),
            "image_error": (
                ("action", "class", "probe", "time"),
                moved.reshape(len(actions), classes, probes, -1).numpy(),
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
    if flown_from > probes:
        # Of trajectories beyond the probe batches.
        dataset["further_error"] = (("class", "further", "start", "snapshot"), one_step[:, probes:].numpy())
        dataset["further_drift"] = (("class", "further", "step", "conserved"), drifts[:, probes:].numpy())
    made = cli.provenance("evaluate", settings)
    with store.writing(evaluation, made) as temporary:
        dataset.to_zarr(temporary, zarr_format=3, consolidated=False)


if __name__ == "__main__":
    cli.run(stage)
