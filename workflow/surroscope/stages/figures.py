"""Draw one figure from its tidy table -> PDF and PNG, or GIF if it moves."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from surroscope.errors import UserError
from surroscope.plots import style
from surroscope.plots.draw import draw
from surroscope.runtime import cli, store


@dataclass(frozen=True)
class Settings:
    figure: str
    heatmap_limit: float
    dpi: int
    models: list[str]
    last_training_snapshot: int


def stage(settings: Settings, *, table: Path, files: list[Path]) -> None:
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
    cli.run(stage, Settings, paths=("table",), lists=("files",), writes=("files",))
