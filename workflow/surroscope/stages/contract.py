"""Build a network and check what is asked of one, before there are data -> how many parameters it has, as JSON."""

import json

from surroscope.config import jobs
from surroscope.models import surrogate
from surroscope.runtime import cli, store


def stage(settings: jobs.Contract, *, contract: cli.Output) -> None:
    network = surrogate.build(**settings.network, shape=settings.shape, seed=0)
    text = json.dumps({"parameters": surrogate.size(network)})
    print(text)
    with store.atomic(contract) as temporary:
        temporary.write_text(text + "\n")


if __name__ == "__main__":
    cli.run(stage)
