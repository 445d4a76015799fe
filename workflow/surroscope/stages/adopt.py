"""Take the weights of a network that was trained elsewhere -> the file that training would have written."""

from collections.abc import Sequence
from pathlib import Path

import torch

from surroscope.config import jobs
from surroscope.config.weights import digest
from surroscope.data import transitions
from surroscope.errors import UserError
from surroscope.models import surrogate
from surroscope.models import weights as files
from surroscope.runtime import cli, store


def stage(
    settings: jobs.Adopt,
    *,
    saved: cli.Foreign,
    weights: cli.Output,
    stores: Sequence[Path] = (),
    split: Path | None = None,
) -> None:
    """Needs no data, so that whatever is wrong with the file or the network is told before there are any.

    stores, split: for a network that normalises by the data alone
    """
    if digest(saved) != settings.file:
        raise UserError(f"{saved}: written again since this job was planned; run snakemake again")
    network = surrogate.build(**settings.network, shape=settings.shape, seed=settings.seed)
    found = files.read(saved, settings.entry, pickled=settings.pickled, loader=settings.loader)
    prefix = files.fit(surrogate.inner(network), found, saved, settings.prefix)
    count = surrogate.size(network)
    print(f"{saved}: {count:,} parameters{f' behind {prefix!r}' if prefix else ''}", flush=True)
    if beside := [name for name in found if not name.startswith(prefix)]:
        print(f"{saved}: left out are {files.listed(beside)}", flush=True)
    scales = surrogate.scales(network)
    if scales and set(scales) <= set(found):  # of a network that was normalised here
        network.load_state_dict(network.state_dict() | {name: found[name] for name in scales})
    elif split:
        train = transitions.trajectories(list(stores), split, "train", settings.snapshots)
        surrogate.normalise(network, torch.from_numpy(train))
    print(f"{settings.factory} with {settings.options}", flush=True)
    with store.writing(weights, cli.provenance("adopt", settings)) as temporary:
        temporary.mkdir()
        surrogate.save_weights(network, surrogate.weights_of(temporary, settings.epoch))


if __name__ == "__main__":
    cli.run(stage)
