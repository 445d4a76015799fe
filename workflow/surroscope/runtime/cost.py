"""What the jobs of a study took, from the benchmark files that Snakemake leaves beside their results.

Only finished jobs have one; where a job ran twice, it is of the last run. With `benchmark-extended: true`, which
the profiles set, it names threads and resources. The stage is told by the file's place: rules may have other names in a
workflow that has this one as a module.
"""

import ast
import csv
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

SUFFIX = ".benchmark.tsv"
# Files that are not called after their stage, as they lie in data/ and in results/.
BY_FOLDER = {"splits": "split", "gradients": "gradients", "cross": "cross_gradients", "retraining": "retrain"}
BY_NAME = {"linearization": "calibrate", "evaluation": "evaluate"}


@dataclass(frozen=True)
class StageCost:
    """What the jobs of one stage took. None: no job recorded it.

    core_hours: threads of all tasks x time; gpu_hours: GPUs of all machines x time; longest: of one job, in s;
    peak_mb: the most that one job held; asked_mb: the most that one asked for; cpu_hours: a lower bound, as Snakemake
    last looked 0.5 s before the end of a short job, and up to 30 s before that of one above 15 s.
    """

    stage: str
    jobs: int
    core_hours: float
    cpu_hours: float | None
    gpu_hours: float | None
    longest: float
    peak_mb: float | None
    asked_mb: float | None


def places(study: str, dataset: str, classes: Mapping[str, Iterable[str]]) -> list[str]:
    """Where the jobs of a study leave benchmark files: folders, and files that may be there. classes: by system"""
    own = [f"{dataset}/{system}/{ic}" for system, names in classes.items() for ic in names]
    return [f"results/{study}", *(f"data/raw/{ic}" for ic in own), *(f"data/store/{ic}{SUFFIX}" for ic in own)]


def by_stage(places: Iterable[Path]) -> list[StageCost]:
    """The cost of every stage, the dearest first, from benchmark files and from folders that hold some.

    A line that is not of a job is passed over.
    """
    rows: list[dict[str, Any]] = []
    for place in places:
        for path in sorted(place.rglob(f"*{SUFFIX}")) if place.is_dir() else [place] * place.is_file():
            with path.open(errors="replace", newline="") as lines:
                for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
                    rows.append(row | _resources(row.get("resources")) | {"stage": stage_of(path)})
    columns = ["s", "threads", "tasks", "cpu_time", "gpu", "max_rss", "mem_mb"]
    jobs = pd.DataFrame(rows, columns=["stage", *columns])
    jobs[columns] = jobs[columns].map(_number)
    jobs = jobs.dropna(subset="s")
    jobs["core_s"] = jobs["s"] * jobs["threads"].fillna(1) * jobs["tasks"].fillna(1)
    jobs["gpu_s"] = jobs["s"] * jobs["gpu"]
    costs = [
        StageCost(
            stage=str(stage),
            jobs=len(group),
            core_hours=math.fsum(group["core_s"]) / 3600,
            cpu_hours=_known(group["cpu_time"], lambda seconds: math.fsum(seconds) / 3600),
            gpu_hours=_known(group["gpu_s"], lambda seconds: math.fsum(seconds) / 3600),
            longest=max(group["s"]),
            peak_mb=_known(group["max_rss"], max),
            asked_mb=_known(group["mem_mb"], max),
        )
        for stage, group in jobs.groupby("stage")
    ]
    return sorted(costs, key=lambda cost: (-cost.core_hours, cost.stage))


def stage_of(path: Path) -> str:
    """The stage whose benchmark lies there."""
    name = path.name.removesuffix(SUFFIX)
    if path.parts[-6:-4] == ("data", "raw"):
        return "simulate" if name.startswith("block") else "download"
    if path.parts[-5:-3] == ("data", "store"):
        return "ingest"
    return BY_FOLDER.get(path.parent.name) or BY_NAME.get(name, name)


def _known(column: pd.Series, summary: Callable[[pd.Series], float]) -> float | None:
    """What those jobs sum to that recorded it, None if none did."""
    known = column.dropna()
    return summary(known) if len(known) else None


def _number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def _resources(text: str | None) -> dict[str, Any]:
    """A job's resources, none if they are not recorded."""
    try:
        return {"gpu": 0} | ast.literal_eval(text or "")
    except (ValueError, SyntaxError, TypeError):
        return {}
