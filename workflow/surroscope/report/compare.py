"""Finished studies side by side as one HTML page that stands alone."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from surroscope.report.page import FIRST, environment


def render(
    names: Sequence[str],
    answers: Sequence[Mapping[str, Any]],
    table: pd.DataFrame,
    settings: pd.DataFrame,
    plane: bytes,
    csv: str,
) -> str:
    """The page as text.

    answers: what verdict.json says of each network, with `study`, `system`, its `name` and what it is called, `model`;
    table, settings: of `tables.compare`; plane: a WebP image; csv: where the table is
    """
    labels: dict[tuple[str, str], list[str]] = {}
    for told in answers:
        labels.setdefault((told["system"], told["name"]), []).append(told["model"])
    return (
        environment()
        .get_template("compare.html.j2")
        .render(
            names=names,
            answers=answers,
            differences=differences(table),
            called={key: "/".join(dict.fromkeys(of)) for key, of in labels.items()},
            settings=settings.to_dict("index"),
            plane=b64encode(plane).decode("ascii"),
            csv=csv,
        )
    )


def differences(table: pd.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    """(system, model) -> studies, whether each is paired with the first, and rows of cells for the first numbers.

    A cell has value, low, high, and `apart`: whether it is a difference whose interval leaves out 0.
    """
    found = {}
    for network, part in table.groupby(["system", "model"], sort=False):
        studies = list(dict.fromkeys(part["study"]))
        if len(studies) < 2:
            continue
        by = part.set_index(["name", "study", "less"])
        rows = []
        for name, (words, _) in FIRST.items():
            wanted = [(name, study, "") for study in studies] + [(name, study, studies[0]) for study in studies[1:]]
            cells = [by.loc[key].to_dict() if key in by.index else None for key in wanted]
            for (_, _, less), cell in zip(wanted, cells, strict=True):
                if cell:
                    cell["apart"] = bool(less) and (cell["low"] > 0 or cell["high"] < 0)
            if any(cells):
                rows.append((words, cells))
        paired = dict(zip(part["study"], part["paired"], strict=True))
        found[network] = {"studies": studies, "paired": paired, "rows": rows}
    return found
