"""Draw one figure from its tidy table -> PDF and PNG, or GIF if it moves."""

from contextlib import ExitStack
from pathlib import Path

import pandas as pd

from surroscope.config import jobs
from surroscope.errors import UserError
from surroscope.plots import style
from surroscope.plots.draw import draw
from surroscope.runtime import cli, store


def stage(settings: jobs.Figures, *, table: Path, files: cli.Outputs) -> None:
    options = style.Options(
        heatmap_limit=settings.heatmap_limit,
        dpi=settings.dpi,
        models=tuple(settings.models),
        last_training_snapshot=settings.last_training_snapshot,
    )
    try:
        drawn = draw(settings.figure, pd.read_csv(table), options)
    except ValueError as error:
        raise UserError(f"{table}: {error}; delete the table and run again") from None
    with ExitStack() as stack:
        style.save(drawn, [stack.enter_context(store.atomic(path)) for path in files], settings.dpi)


if __name__ == "__main__":
    cli.run(stage)
