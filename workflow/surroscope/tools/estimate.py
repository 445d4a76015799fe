"""What a study will take, before it runs: jobs, memory, core-hours and GPU-hours by stage, disk, and time.

The jobs are Snakemake's own plan of a study of which nothing is done yet. What one takes is counted in network passes,
solver steps, contractions and bytes, each of which is timed here on one core; GPU-hours are the networks' operations
at an assumed rate. `full` is counted to its last rung, which it may not need.
"""

import argparse
import contextlib
import functools
import heapq
import io
import os
import sys
from collections import Counter
from pathlib import Path

import torch
from snakemake.api import SnakemakeApi
from snakemake.settings.enums import Quietness
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings

from surroscope.config.study import Study
from surroscope.errors import UserError
from surroscope.runtime import cost, environment
from surroscope.tools.jobs import Job, Work
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
            jobs = list(dag.jobs)
    except Exception as error:  # Snakemake's own, of many kinds
        raise UserError(f"{configuration}: Snakemake cannot plan this study: {' '.join(str(error).split())}") from None
    numbers = {job: number for number, job in enumerate(jobs)}
    return [
        Job(
            job.rule.name,
            dict(job.wildcards_dict),
            job.threads,
            job.resources.get("mem_mb", 0),
            job.resources.get("runtime", 0),
            tuple(numbers[other] for other in dag.dependencies[job]),
        )
        for job in jobs
    ]


def schedule(jobs: list[Job], works: list[Work], cores: int) -> tuple[float, float]:
    """Seconds until all jobs are done on so many cores, and the most bytes of shards that are there at once.

    What frees shards goes first, as with Snakemake, then what the longest chain of jobs waits for.
    """
    followers: list[list[int]] = [[] for _ in jobs]
    for number, job in enumerate(jobs):
        for other in job.needs:
            followers[other].append(number)

    @functools.cache
    def tail(number: int) -> float:
        return works[number].seconds + max((tail(other) for other in followers[number]), default=0.0)

    def urgency(number: int) -> tuple[bool, float, int]:
        return not any(works[other].kind == "shards" for other in jobs[number].needs), -tail(number), number

    waits = [len(job.needs) for job in jobs]
    readers = [len(each) for each in followers]
    ready = [urgency(number) for number, count in enumerate(waits) if not count]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    now = held = most = 0.0
    free = cores
    while ready or running:
        while ready and free >= min(jobs[ready[0][-1]].threads, cores):
            number = heapq.heappop(ready)[-1]
            free -= min(jobs[number].threads, cores)
            heapq.heappush(running, (now + works[number].seconds, number))
            if works[number].kind == "shards":
                held += works[number].size
                most = max(most, held)
        now, number = heapq.heappop(running)
        free += min(jobs[number].threads, cores)
        for other in jobs[number].needs:
            readers[other] -= 1
            if works[other].kind == "shards" and not readers[other]:
                held -= works[other].size
        for other in followers[number]:
            waits[other] -= 1
            if not waits[other]:
                heapq.heappush(ready, urgency(other))
    return now, most


def estimate(configuration: Path, cores: int, rate: float) -> str:
    """The estimate as text. rate: operations a second that a GPU sustains"""
    study = configured(configuration)
    jobs = planned(configuration)
    model = Model(study)
    works = [model.work(job) for job in jobs]
    wall, shards = schedule(jobs, works, cores)
    measured = {stage.stage: stage for stage in cost.by_stage(places(study))}
    lines = [f"{configuration}: study {study.study!r}, nothing of it counted as done", ""]
    lines.append(row("stage", "jobs", "MB a job", "core-hours", "GPU-hours", *["measured"] * bool(measured)))
    counts = Counter(job.stage for job in jobs if job.rule != "all")
    totals = [0.0, 0.0, 0.0]
    for stage in counts:
        own = [number for number, job in enumerate(jobs) if job.stage == stage]
        hours = sum(works[number].seconds * jobs[number].threads for number in own) / 3600
        gpu = sum(works[number].operations for number in own) / rate / 3600
        memory = max(jobs[number].mem_mb for number in own)
        found = [f"{measured[stage].core_hours:.3g}" if stage in measured else "-"] * bool(measured)
        lines.append(row(stage, counts[stage], memory, f"{hours:.3g}", f"{gpu:.3g}" if gpu else "-", *found))
        done = measured[stage].core_hours if stage in measured else 0.0
        totals = [a + b for a, b in zip(totals, (hours, gpu, done), strict=True)]
    hours, gpu, done = totals
    lines.append(row("total", counts.total(), "", f"{hours:.3g}", f"{gpu:.3g}", *[f"{done:.3g}"] * bool(measured)))
    lines += ["", f"on {cores} cores of this kind and no GPU: {duration(wall)}"]
    if done:
        shared = (
            sum(w.seconds * job.threads for job, w in zip(jobs, works, strict=True) if job.stage in measured) / 3600
        )
        lines.append(f"measured / estimated, of the stages that have been run: {done / shared:.2f} in core-hours")
    lines.append(
        f"with GPUs of {rate / 1e12:g} TFLOP/s, sustained in float32 (assumed): the GPU-hours instead of those stages' "
        "core-hours"
    )
    for stage in counts:
        own = [number for number, job in enumerate(jobs) if job.stage == stage]
        longest = max(works[number].operations for number in own) / rate / 3600
        if longest > (limit := jobs[own[0]].runtime / 60):
            lines.append(
                f"  {stage}: {longest:,.0f} GPU-hours a job, above its limit on a cluster of {limit:g} h; set its "
                "`runtime` in the profile"
            )
    disk: Counter[str] = Counter()
    for work in works:
        disk[work.kind] += int(work.size)
    if not study.gradients.keep:
        disk["shards"] = int(shards)
    lines.append("disk at its peak: " + ", ".join(f"{kind} {size(disk[kind])}" for kind in sorted(disk) if disk[kind]))
    lines.append(
        f"  together {size(disk.total())}; shards are those that are there at once, the store before compression"
    )
    return "\n".join(lines)


def places(study: Study) -> list[Path]:
    """Where the study's jobs leave what they took."""
    classes = {system: study.classes(system) for system in study.systems}
    return [Path(path) for path in cost.places(study.study, study.data.dataset, classes)]


def row(stage: object, *cells: object) -> str:
    return f"{stage!s:<18}" + "".join(f"{cell!s:>12}" for cell in cells)


def duration(seconds: float) -> str:
    return f"{seconds / 60:.1f} minutes" if seconds < 7200 else f"{seconds / 3600:,.1f} hours"


def size(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"


if __name__ == "__main__":
    # Before anything is timed: the environment that the jobs get.
    if any(os.environ.get(name) != value for name, value in environment.FIXED.items()):
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **environment.FIXED})
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configuration", type=Path, nargs="?", default=Path("config.yaml"), help="[config.yaml]")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="[all of this machine]")
    parser.add_argument("--tflops", type=float, default=10.0, help="that a GPU sustains [10]")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        print(estimate(arguments.configuration, arguments.cores, arguments.tflops * 1e12))
    except UserError as error:
        sys.exit(f"error: {error}")
