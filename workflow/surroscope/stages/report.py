"""Gather figures, captions, numbers, settings and provenance -> one self-contained HTML page, and provenance.json."""

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import pandas as pd

from surroscope.config import jobs
from surroscope.influence.solvers import QUANTITIES
from surroscope.report import shipped
from surroscope.report.catalogue import MODULES, caption, figure
from surroscope.report.findings import FINDINGS, finding
from surroscope.report.page import (
    Audit,
    DataCard,
    MainNumber,
    ReportFigure,
    SystemSection,
    Verdict,
    caption_html,
    parted,
    render,
    webp,
)
from surroscope.report.spec import Question
from surroscope.runtime import cli, cost, fingerprint, store
from surroscope.runtime.provenance import record, stores_of
from surroscope.tables.reading import called, labels_of, read_csv

QUESTION = (
    "One-step error cannot tell whether a surrogate learned one operator or a collection of local solutions. What it "
    "shares between times and between classes of initial conditions says part of it: a network that keeps them apart "
    "cannot carry over what it learns, one that shares them can. Influence, the measure of arXiv 2509.00024, mixes "
    "what is shared with what is left to learn; here both are shown, together and apart."
)


EMBEDDED_BYTES = 2**18


def stage(
    settings: jobs.Report,
    *,
    figures: list[Path],
    tables: list[Path],
    data: list[Path],
    page: cli.Output,
    provenance: cli.Output,
    costs: Annotated[Sequence[Path], cli.FOREIGN] = (),
) -> None:
    """costs: benchmark files, of which any may be missing, and folders of them"""
    systems = []
    for name in settings.config["systems"]:
        own = {path.stem: path for path in tables if path.parents[1].name == name}
        drawn = [path for path in figures if path.parents[1].name == name and path.suffix == ".png"]
        labels = labels_of(settings.config["systems"][name]["models"])
        verdicts = json.loads(own["verdict"].read_text())
        scalars = read_csv(own["scalars"])
        systems.append(
            SystemSection(
                name=name,
                title=settings.titles[name],
                verdicts=tuple(
                    Verdict(name, labels.get(model, model), **verdict | {"influence": QUANTITIES[verdict["influence"]]})
                    for model, verdict in verdicts.items()
                ),
                scalars=main_numbers(called(scalars, labels)),
                shipped=shipped.told(settings.config, name, main_numbers(scalars)),
                figures=numbered(drawn, name, own, settings),
                folder=str(own["scalars"].parent),
                explorer=explored(own["explorer"], labels),
                cards=tuple(card(path) for path in data if path.parent.name == name),
            )
        )
    study = Audit(
        title=f"Study {settings.config['study']}",
        subject="; ".join([*(f"{', '.join(v.model for v in s.verdicts)} on {s.title}" for s in systems), settings.n]),
        question=QUESTION,
        systems=tuple(systems),
        command=settings.command,
        settings=settings.config,
        methods=dict(settings.methods),
        provenance=origins(settings, data),
        costs=tuple(stage for stage in cost.by_stage(costs) if stage.stage != "report"),
        facts=facts(),
        archive=(f"{settings.config['study']}-tables.zip", archived(tables)),
    )
    with store.atomic(page) as temporary:
        temporary.write_text(render(study))
    made = {
        "versions": cli.provenance("report", settings)["versions"],
        "code": {
            name: fingerprint.of_stage(name, {}, *modules)
            for name, modules in {"tables": [], "figures": MODULES, "report": []}.items()
        },
    }
    kept = stores_of(settings.stores, page.parent)
    files = [path for path in kept if path.is_file()]
    for path in files:
        store.require_whole(path)
    stores = [*data, *(path for path in kept if path.is_dir())]
    recorded = record(settings.config, made, files=[page, *tables, *figures, *files], stores=stores)
    with store.atomic(provenance) as temporary:
        temporary.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")


def facts() -> dict[str, str]:
    """When, from which commit and on what kind of machine the page is made."""
    found = {"Made on": datetime.now(UTC).strftime("%-d %B %Y")}
    root = Path(__file__).parents[3]
    # Only of a clone of Surroscope: a package may lie in the repository of something else.
    if (root / "Snakefile").is_file() and (root / ".git").exists():
        git = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=10"]
        told = subprocess.run(git, capture_output=True, text=True, check=False)
        if told.returncode == 0:
            found["from Surroscope's commit"] = told.stdout.strip()
    return found | {"on": f"{platform.system()} {platform.machine()} with torch {version('torch')}"}


def main_numbers(table: pd.DataFrame) -> tuple[MainNumber, ...]:
    return tuple(MainNumber(**row) for row in table.to_dict("records"))


def explored(path: Path, labels: Mapping[str, str]) -> str:
    """What the explorer reads, as JSON, with labels for the names of networks."""
    found = json.loads(path.read_text())
    for place in (found, found.get("fields", {})):
        for key in ("models", "rollouts", "responses", "predictions", "differences"):
            if key in place:
                place[key] = {labels.get(model, model): of for model, of in place[key].items()}
    return json.dumps(found, separators=(",", ":"))


def card(path: Path) -> DataCard:
    """What there is to say about the data of one class, from its store."""
    data = store.read(path, contents=False)
    known = ("source", "repo", "commit", "licence", "preset", "seed", "boundary")
    facts = {name: data.attrs[name] for name in known if name in data.attrs}
    y, x = data.sizes["y"], data.sizes["x"]
    facts |= {"trajectories": data.sizes["trajectory"], "snapshots": data.sizes["time"], "cells": f"{y} × {x}"}
    times = data["time"].values
    facts["time"] = f"{times[0]:.4g} to {times[-1]:.4g} in steps of {times[1] - times[0]:.4g}"
    facts["channels"] = ", ".join(f"{name} = {made}" for name, made in data.attrs["channels"].items())
    if skipped := data.attrs.get("skipped"):
        facts["left out"] = ", ".join(f"{count} {reason}" for reason, count in skipped.items())
    facts["files"] = len(set(data["file"].values.tolist()))
    channels = {
        str(name): {statistic: float(data[statistic][number]) for statistic in store.STATISTICS}
        for number, name in enumerate(data["channel"].values)
    }
    return DataCard(path.stem, facts, channels)


def numbered(
    drawn: Sequence[Path], system: str, own: dict[str, Path], settings: jobs.Report
) -> tuple[ReportFigure, ...]:
    """The figures of a system in the order of the page, from the PNG files of those that do not move."""
    specs = {path: figure(path.stem) for path in drawn}
    labels = labels_of(settings.config["systems"][system]["models"])
    told = {path: parted(caption(path.stem, system, settings.n, settings.unit)) for path in drawn}
    order = [path for question in Question for path, spec in specs.items() if spec.question == question]
    return tuple(
        ReportFigure(
            name=path.stem,
            title=specs[path].title,
            question=specs[path].question,
            caption_html=caption_html(told[path][0]),
            reading_html=caption_html(told[path][1]) if told[path][1] else "",
            image=webp(path),
            table=str(own[specs[path].table]),
            number=number,
            finding=finding(path.stem, called(read_csv(own[specs[path].table]), labels))
            if path.stem in FINDINGS
            else "",
        )
        for number, path in enumerate(order, 1)
    )


def archived(tables: Sequence[Path]) -> bytes:
    """The tables that would not weigh the page down, as fields would, as a zip that depends on them alone."""
    found = BytesIO()
    with ZipFile(found, "w", ZIP_DEFLATED) as archive:
        for path in tables:
            if path.suffix == ".csv" and path.stat().st_size <= EMBEDDED_BYTES:
                entry = ZipInfo(f"{path.parents[1].name}/{path.name}")
                entry.compress_type = ZIP_DEFLATED
                archive.writestr(entry, path.read_bytes())
    return found.getvalue()


def origins(settings: jobs.Report, data: list[Path]) -> dict[str, Any]:
    """Versions, code of this stage, and for each class where its data came from and the store's digest."""
    made = cli.provenance("report", settings)
    sources = {}
    for path in data:
        attributes = dict(store.read(path, contents=False).attrs)
        sources[path.stem] = attributes | {"digest": store.manifest(path)["digest"]}
    return {"versions": made["versions"], "code": made["code"], "data": sources}


if __name__ == "__main__":
    cli.run(stage)
