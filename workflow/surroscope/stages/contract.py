"""Build a network and check what is asked of one, before there are data -> how many parameters it has, as JSON."""

import json

import torch

from surroscope.config import jobs
from surroscope.influence.bench import CHECKED
from surroscope.influence.calibrate import require_differentiable
from surroscope.influence.linearize import Method
from surroscope.models import context, surrogate
from surroscope.runtime import cli, store
from surroscope.stages.checkpoint import linearizing
from surroscope.training.strategy import asked_for, check


def stage(settings: jobs.Contract, *, contract: cli.Output) -> None:
    """What differentiates it is checked on the CPU, at random states and weights, and again by each job that does."""
    network = surrogate.build(**settings.network, shape=settings.shape, seed=0)
    draw = torch.Generator().manual_seed(0)
    snapshots = 0.5 + torch.rand(CHECKED, settings.given["history"], *settings.shape, generator=draw)
    states = context.of(network, snapshots, torch.zeros(CHECKED, context.LABELS))
    with linearizing(settings.model, settings.system):
        chosen = None if isinstance(settings.method, str) else Method(**dict(settings.method))
        require_differentiable(network, states, chosen)
    if settings.strategy:
        named = settings.strategy.factory
        check(asked_for(settings), network.train(), settings.shape, settings.snapshots, named)
    text = json.dumps({"parameters": surrogate.size(network)})
    print(text)
    with store.atomic(contract) as temporary:
        temporary.write_text(text + "\n")


if __name__ == "__main__":
    cli.run(stage)
