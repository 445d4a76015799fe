"""Draw the figures of one system from their tidy tables -> PDF and PNG, or GIF of those that move."""

from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from surroscope.config import jobs
from surroscope.errors import UserError
from surroscope.plots import style
from surroscope.report.catalogue import MODULES, figure
from surroscope.report.draw import draw
from surroscope.runtime import cli, disk, launch, store
from surroscope.tables.reading import read_csv


def stage(settings: jobs.Figures, *, tables: list[Path], files: cli.Outputs, threads: int = 1) -> None:
    """tables: by their names in the catalogue; files: what to draw, a figure's name with each of its suffixes

    threads: processes that draw. Either all files are written or, if one table cannot be drawn, none.
    """
    options = style.Options(**settings.model_dump(exclude={"formats"}))
    places = {path.stem: path for path in tables}
    names = sorted({path.stem for path in files})
    for name in names:
        if figure(name).table not in places:
            raise UserError(f"--tables: no {figure(name).table}.csv, which the figure {name} shows; add it")
    with ExitStack() as stack:
        own = {name: [stack.enter_context(store.atomic(path)) for path in files if path.stem == name] for name in names}
        pool = None
        if threads > 1:
            pool = stack.enter_context(ProcessPoolExecutor(threads, initializer=launch.end_with_parent))
        drawing = partial(drawn, options=options, dpi=settings.dpi)
        done = (pool.map if pool else map)(drawing, names, [places[figure(name).table] for name in names], own.values())
        for number, name in enumerate(done, start=1):
            print(f"figure {number} of {len(names)}: {name}", flush=True)


def drawn(name: str, table: Path, files: list[Path], options: style.Options, dpi: int) -> str:
    """Draw one figure; its name. Raises UserError if its table cannot be drawn."""
    try:
        with disk.unhidden():  # here, since an error goes from one process to another without what it hides
            style.save(draw(name, read_csv(table), options), files, dpi)
    except ValueError as error:
        raise UserError(f"{table}: {error}; delete the table and run again") from None
    return name


if __name__ == "__main__":
    cli.run(stage, *MODULES)
