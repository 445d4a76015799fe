"""What a study will take, before it runs: jobs, memory, core-hours and GPU-hours by stage, disk, and time.

The jobs are Snakemake's own plan of a study of which nothing is done yet. What one takes is counted in network passes,
solver steps, contractions and bytes, each of which is timed here on one core; GPU-hours are the networks' operations
at an assumed rate. `full` is counted to its last iteration, which it may not need.
"""

import contextlib
import io
import os
import sys
from pathlib import Path

import pandas as pd
import torch
from snakemake.api import SnakemakeApi
from snakemake.settings.enums import Quietness
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings

from surroscope.errors import UserError
from surroscope.runtime import cli, cost, environment
from surroscope.tools.schedule import Job, duration, schedule, size
from surroscope.tools.verify import configured
from surroscope.tools.workload import Model


def planned(configuration: Path) -> list[Job]:
    """Every job of a study, done or not. Raises UserError where Snakemake cannot plan it."""
    said = io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
            SnakemakeApi(OutputSettings(quiet={Quietness.ALL}, dryrun=True)) as api,
        ):
            plan = api.workflow(
                resource_settings=ResourceSettings(cores=1),
                config_settings=ConfigSettings(configfiles=[configuration]),
                snakefile=Path("Snakefile"),
            )
            plan.dag(DAGSettings(forceall=True)).execute_workflow(executor="dryrun")
            dag = plan._workflow.dag
            numbers = {job: number for number, job in enumerate(dag.jobs)}
    except Exception as error:  # Snakemake's own, of many kinds
        raise UserError(f"{configuration}: Snakemake cannot plan this study: {' '.join(str(error).split())}") from None
    return [
        Job(
            rule=job.rule.name,
            wildcards=dict(job.wildcards_dict),
            threads=job.threads,
            mem_mb=job.resources.get("mem_mb", 0),
            runtime=job.resources.get("runtime", 0),
            needs=tuple(numbers[other] for other in dag.dependencies[job]),
        )
        for job in numbers
    ]


def estimate(configuration: Path, cores: int, rate: float) -> str:
    """The estimate as text. rate: operations a second that a GPU sustains"""
    study, jobs = configured(configuration), planned(configuration)
    works = [*map(Model(study).work, jobs)]
    wall, shards = schedule(jobs, works, cores)
    classes = {system: study.classes(system) for system in study.systems}
    benchmarks = map(Path, cost.places(study.study, study.data.dataset, classes))
    measured = {stage.stage: stage.core_hours for stage in cost.by_stage(benchmarks)}
    table = pd.DataFrame(
        {
            "stage": [job.stage for job in jobs],
            "memory": [job.mem_mb for job in jobs],
            "limit": [job.runtime / 60 for job in jobs],
            "hours": [work.seconds * job.threads / 3600 for job, work in zip(jobs, works, strict=True)],
            "gpu": [work.operations / rate / 3600 for work in works],
        }
    )
    stages = table[table["stage"] != "all"].groupby("stage", sort=False)
    hours, gpu, took = stages["hours"].sum(), stages["gpu"].sum(), pd.Series(measured, dtype=float)
    took = took.reindex(hours.index)
    columns = {
        "jobs": stages.size().astype(str),
        "MB a job": stages["memory"].max().astype(str),
        "core-hours": hours.map(short),
        "GPU-hours": gpu.map(short).where(gpu > 0, "-"),
    }
    total = [str(stages.size().sum()), "", short(hours.sum()), short(gpu.sum())]
    if measured:
        columns["measured"] = took.map(short).where(took.notna(), "-")
        total.append(short(took.sum()))
    shown = pd.DataFrame(columns).rename_axis(index=None, columns="stage")
    shown.loc["total"] = total
    lines = [f"{configuration}: study {study.study!r}, nothing of it counted as done", "", shown.to_string(), ""]
    lines.append(f"on {cores} cores of this kind and no GPU: {duration(wall)}")
    if took.any():
        share = took.sum() / hours[took.notna()].sum()
        lines.append(f"measured / estimated, of the stages that have been run: {share:.2f} in core-hours")
    lines.append(
        f"with GPUs of {rate / 1e12:g} TFLOP/s, sustained in float32 (assumed): the GPU-hours instead of those stages' "
        "core-hours"
    )
    lines += [
        f"  {stage}: {longest:,.0f} GPU-hours a job, above its limit on a cluster of {limit:g} h; set its `runtime` in "
        "the profile"
        for stage, longest, limit in zip(hours.index, stages["gpu"].max(), stages["limit"].first(), strict=True)
        if longest > limit
    ]
    disk = pd.Series([work.size for work in works]).groupby([work.kind for work in works]).sum()
    if not study.gradients.keep:
        disk["shards"] = shards
    lines.append("disk at its peak: " + ", ".join(f"{kind} {size(count)}" for kind, count in disk.items() if count))
    lines.append(
        f"  together {size(disk.sum())}; shards are those that are there at once, the store before compression"
    )
    return "\n".join(lines)


def short(number: float) -> str:
    return f"{number:.3g}"


def main(configuration: Path = Path("config.yaml"), *, cores: int = os.cpu_count() or 1, tflops: float = 10.0) -> None:
    torch.set_num_threads(1)
    print(estimate(configuration, cores, tflops * 1e12))


if __name__ == "__main__":
    # Before anything is timed: the environment that the jobs get.
    if any(os.environ.get(name) != value for name, value in environment.FIXED.items()):
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **environment.FIXED})
    cli.tool(main, cores="[all of this machine]", tflops="that a GPU sustains [%(default)g]")
