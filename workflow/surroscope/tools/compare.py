"""Lay finished studies side by side: results/compare.html, .csv, .png and .pdf.

Give folders results/STUDY, two or more: what each network learned, how the main numbers of networks that several have
differ, with intervals, and which settings differ.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from surroscope.errors import UserError
from surroscope.plots import style
from surroscope.plots.plane import plane
from surroscope.report import compare as page
from surroscope.report.page import webp
from surroscope.results import recorded
from surroscope.runtime import cli, store
from surroscope.tables import compare
from surroscope.tables.reading import labels_of, read_csv
from surroscope.tools.verify import RESULTS

WRITTEN = RESULTS / "compare.html"


def main(*studies: Path) -> None:
    if len(studies) < 2:
        raise UserError(
            f"found {len(studies)} studies, expected two or more: make compare STUDIES='results/a results/b'"
        )
    studies = tuple(
        RESULTS / folder if len(folder.parts) == 1 and not folder.is_dir() else folder for folder in studies
    )
    names = [folder.resolve().name for folder in studies]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in studies]
    if len(set(names)) < len(names):
        raise UserError(f"{', '.join(names)}: one study is named twice")
    records = {name: recorded(folder) for name, folder in zip(names, studies, strict=True)}
    found: dict[tuple[str, str], dict[str, compare.Sampled]] = {}
    answers: list[dict[str, Any]] = []
    places = []
    for name, folder in zip(names, studies, strict=True):
        for system, chosen in records[name]["config"]["systems"].items():
            verdicts, shown = concluded(folder / system / "tables")
            called = labels_of(chosen["models"])
            answers += [
                {"study": name, "system": system, "name": model, "model": called[model]} | told
                for model, told in verdicts.items()
            ]
            places.append(shown.assign(model=[f"{name}: {called[of]} on {system}" for of in shown["model"]]))
    for name, folder in zip(names, studies, strict=True):
        print(f"reading {folder}", file=sys.stderr)
        for network, numbers in compare.numbers(folder, records[name]).items():
            found.setdefault(network, {})[name] = numbers
    plane_of = pd.concat(places, ignore_index=True)
    if plane_of["noise"].nunique() > 1:
        plane_of["model"] += plane_of["noise"].map(", noise {:g}".format)
    table = compare.table(found, records)
    WRITTEN.parent.mkdir(exist_ok=True)
    table.to_csv(WRITTEN.with_suffix(".csv"), index=False)
    with style.styled():
        figure = plane(plane_of, style.Options())
    style.save(figure, [WRITTEN.with_suffix(suffix) for suffix in (".png", ".pdf")], dpi=200)
    text = page.render(
        *(names, answers, table, compare.settings(records)),
        plane=webp(WRITTEN.with_suffix(".png")),
        csv=str(WRITTEN.with_suffix(".csv")),
    )
    with store.atomic(WRITTEN) as temporary:
        temporary.write_text(text)
    print(f"wrote {WRITTEN}, and beside it .csv, .png and .pdf")


def concluded(tables: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """The verdicts on a system's networks, by name, and where the trained ones lie by the study's own noise."""
    verdict, plane_of = tables / "verdict.json", tables / "verdict_plane.csv"
    if verdict.is_file() and not plane_of.is_file():
        raise UserError(f"{tables}: is of an older version; run the study again, which makes its tables again")
    for path in (verdict, plane_of):
        store.require_whole(path)
    found = read_csv(plane_of)
    own = found[(found["weights"] == "trained") & (found["noise"] == found["noise"].iloc[0])]
    return json.loads(verdict.read_text()), own


if __name__ == "__main__":
    cli.tool(main, studies="folders results/STUDY, two or more")
