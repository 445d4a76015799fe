"""What the jobs of a run will take, for its console: reads their plan as JSON, and writes an estimate of each as JSON.

A process of its own, so that Snakemake imports no PyTorch and starts jobs meanwhile.
"""

import json
import os
import sys
from dataclasses import asdict, replace
from typing import Any

import torch

from surroscope.config.study import Study, check
from surroscope.errors import UserError
from surroscope.runtime import cli, launch
from surroscope.tools.schedule import Job, Work, schedule
from surroscope.tools.workload import Model

# Operations a second that a GPU sustains in float32, as `make estimate` assumes.
GPU = 1e13


def priced(study: Study, jobs: list[Job], gpus: list[int], start: float) -> list[Work]:
    """What each job takes. gpus: how many each has; start: seconds until a stage has imported what it needs"""
    model = Model(study)
    model.start = lambda stage: start  # type: ignore[method-assign]
    works = list(map(model.work, jobs))
    return [
        replace(work, seconds=start + work.operations / GPU / count) if count and work.operations else work
        for work, count in zip(works, gpus, strict=True)
    ]


def disk(study: Study, jobs: list[Job], works: list[Work], cores: int) -> float:
    """Bytes at the peak; shards that are not kept are counted while they are there."""
    kept = sum(work.size for work in works if work.kind != "shards" or study.gradients.keep)
    return kept if study.gradients.keep else kept + schedule(jobs, works, cores)[1]


def main() -> None:
    # Importing has taken what it takes a stage.
    start = sum(os.times()[:2])
    launch.end_with_parent()
    torch.set_num_threads(1)
    asked: dict[str, Any] = json.load(sys.stdin)
    study = check(asked["config"], asked["source"])
    jobs = [Job(**job | {"needs": tuple(job["needs"])}) for job in asked["jobs"]]
    works = priced(study, jobs, asked["gpus"], start)
    json.dump({"works": list(map(asdict, works)), "disk": disk(study, jobs, works, asked["cores"])}, sys.stdout)


if __name__ == "__main__":
    cli.working_folder_last()
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
