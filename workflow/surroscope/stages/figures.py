"""Draw the figures of one system from their tidy tables -> PDF and PNG, or GIF of those that move."""

from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

from surroscope.config import jobs
from surroscope.errors import UserError
from surroscope.plots import style
from surroscope.report.catalogue import MODULES, figure
from surroscope.report.draw import draw
from surroscope.runtime import cli, store
from surroscope.tables.reading import read_csv


def stage(settings: jobs.Figures, *, tables: list[Path], files: cli.Outputs) -> None:
    """tables: by their names in the catalogue; files: what to draw, a figure's name with each of its suffixes

    Either all files are written or, if one table cannot be drawn, none.
    """
    options = style.Options(**settings.model_dump())
    places = {path.stem: path for path in tables}
    read = lru_cache(maxsize=1)(read_csv)
    names = sorted({path.stem for path in files}, key=lambda name: (figure(name).table, name))
    with ExitStack() as stack:
        for number, name in enumerate(names, start=1):
            table = places.get(figure(name).table)
            if table is None:
                raise UserError(f"--tables: no {figure(name).table}.csv, which the figure {name} shows; add it")
            try:
                drawn = draw(name, read(table), options)
            except ValueError as error:
                raise UserError(f"{table}: {error}; delete the table and run again") from None
            own = [stack.enter_context(store.atomic(path)) for path in files if path.stem == name]
            style.save(drawn, own, settings.dpi)
            print(f"figure {number} of {len(names)}: {name}", flush=True)


if __name__ == "__main__":
    cli.run(stage, *MODULES)
