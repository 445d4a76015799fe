"""Gather figures, captions, numbers, settings and provenance -> one self-contained HTML page, and provenance.json."""

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

from PIL import Image

from surroscope.config import jobs
from surroscope.influence.solvers import QUANTITIES
from surroscope.report.catalogue import MODULES, caption, figure
from surroscope.report.page import (
    Audit,
    DataCard,
    MainNumber,
    ReportFigure,
    SystemSection,
    Verdict,
    caption_html,
    render,
)
from surroscope.runtime import cli, cost, fingerprint, store
from surroscope.runtime.provenance import record, stores_of
from surroscope.tables.reading import read_csv

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
        drawn = [path for path in figures if path.parents[1].name == name and path.suffix in (".png", ".gif")]
        verdicts = json.loads(own["verdict"].read_text())
        systems.append(
            SystemSection(
                name=name,
                title=settings.titles[name],
                verdicts=tuple(
                    Verdict(name, model, **verdict | {"influence": QUANTITIES[verdict["influence"]]})
                    for model, verdict in verdicts.items()
                ),
                scalars=tuple(MainNumber(**row) for row in read_csv(own["scalars"]).to_dict("records")),
                figures=tuple(
                    ReportFigure(
                        name=path.stem,
                        title=spec.title,
                        question=spec.question,
                        caption_html=caption_html(caption(path.stem, name, settings.n, settings.unit)),
                        image=path.read_bytes(),
                        suffix=path.suffix.removeprefix("."),
                        table=str(own[spec.table]),
                        csv=small(own[spec.table]),
                        still=last_frame(path) if spec.moving else None,
                    )
                    for path, spec in ((path, figure(path.stem)) for path in drawn)
                ),
                folder=str(own["scalars"].parent),
                downloads={name: own[name].read_bytes() for name in ("scalars", "checkpoints")},
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


def last_frame(animation: Path) -> bytes:
    """As a PNG."""
    frame = BytesIO()
    with Image.open(animation) as moving:
        moving.seek(moving.n_frames - 1)  # type: ignore[attr-defined]
        moving.save(frame, "png", save_all=False)
    return frame.getvalue()


def small(table: Path) -> bytes | None:
    """The table's bytes, or None where they would weigh the page down (fields, pixel by pixel)."""
    return table.read_bytes() if table.stat().st_size <= EMBEDDED_BYTES else None


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
