"""What the jobs of a study took, from the benchmark files that Snakemake leaves beside their results.

Only a job that ended has one; that of a job that ran again is of the last time. With `benchmark-extended: true`, which
the profiles set, it names threads and resources. The stage is told by the file's place: rules may have other names in a
workflow that has this one as a module.
"""

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import fsum
from pathlib import Path
from typing import Any

SUFFIX = ".benchmark.tsv"
# Files that are not called after their stage, as they lie in data/ and in results/.
BY_FOLDER = {"splits": "split", "gradients": "gradients", "cross": "cross_gradients", "figures": "figures"}
BY_NAME = {"linearization": "calibrate", "evaluation": "evaluate"}


@dataclass(frozen=True)
class Job:
    """seconds: of the clock; threads: of all its tasks; gpus: of all machines; None: not recorded.

    cpu_seconds is a lower bound: Snakemake last looked 0.5 s before the end of a short job, and up to 30 s before that
    of one above 15 s.
    """

    stage: str
    seconds: float
    threads: int
    cpu_seconds: float | None
    gpus: float | None
    peak_mb: float | None
    asked_mb: float | None


@dataclass(frozen=True)
class StageCost:
    """Of the jobs of one stage: core-hours are threads x time; longest in s; peak_mb the most that one of them held,
    asked_mb the most that one asked for. None: no job recorded it."""

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
    """The cost of every stage, the dearest first, from benchmark files and from folders that hold some."""
    stages: dict[str, list[Job]] = {}
    for place in places:
        for path in sorted(place.rglob(f"*{SUFFIX}")) if place.is_dir() else [place] * place.is_file():
            for job in jobs(path):
                stages.setdefault(job.stage, []).append(job)
    costs = [of_jobs(stage, done) for stage, done in stages.items()]
    return sorted(costs, key=lambda cost: (-cost.core_hours, cost.stage))


def of_jobs(stage: str, done: list[Job]) -> StageCost:
    cpu = [job.cpu_seconds for job in done if job.cpu_seconds is not None]
    gpu = [job.gpus * job.seconds for job in done if job.gpus is not None]
    return StageCost(
        stage=stage,
        jobs=len(done),
        core_hours=fsum(job.threads * job.seconds for job in done) / 3600,
        cpu_hours=fsum(cpu) / 3600 if cpu else None,
        gpu_hours=fsum(gpu) / 3600 if gpu else None,
        longest=max(job.seconds for job in done),
        peak_mb=max((job.peak_mb for job in done if job.peak_mb is not None), default=None),
        asked_mb=max((job.asked_mb for job in done if job.asked_mb is not None), default=None),
    )


def jobs(path: Path) -> list[Job]:
    """The jobs of one benchmark file; none of a line that is not one."""
    header, *lines = path.read_text(errors="replace").splitlines() or [""]
    rows = [dict(zip(header.split("\t"), line.split("\t"), strict=False)) for line in lines]
    return [job for row in rows if (job := _job(path, row)) is not None]


def _job(path: Path, row: dict[str, str]) -> Job | None:
    seconds = _number(row.get("s"))
    if seconds is None:
        return None
    resources = _resources(row.get("resources"))
    return Job(
        stage=stage_of(path),
        seconds=seconds,
        threads=int((_number(row.get("threads")) or 1) * (_number((resources or {}).get("tasks")) or 1)),
        cpu_seconds=_number(row.get("cpu_time")),
        gpus=None if resources is None else _number(resources.get("gpu", 0)),
        peak_mb=_number(row.get("max_rss")),
        asked_mb=None if resources is None else _number(resources.get("mem_mb")),
    )


def stage_of_rule(rule: str) -> str:
    """The stage that a rule runs: of its own name, but that each figure has a rule."""
    return "figures" if rule.startswith("figure_") else rule


def stage_of(path: Path) -> str:
    """The stage whose benchmark lies there."""
    name = path.name.removesuffix(SUFFIX)
    if path.parts[-6:-4] == ("data", "raw"):
        return "simulate" if name.startswith("block") else "download"
    if path.parts[-5:-3] == ("data", "store"):
        return "ingest"
    return BY_FOLDER.get(path.parent.name) or BY_NAME.get(name, name)


def _number(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _resources(text: str | None) -> dict[str, Any] | None:
    """A job's resources, None if they are not recorded."""
    try:
        found = ast.literal_eval(text or "")
    except (ValueError, SyntaxError):
        return None
    return found if isinstance(found, dict) else None
