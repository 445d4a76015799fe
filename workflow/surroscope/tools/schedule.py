"""When jobs are done: on some cores, before a run and while it goes on. Imports no library."""

import functools
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# By so much of the time of all jobs an estimate is believed, whatever the first jobs took.
PRIOR = 0.05
# A job that has taken longer than expected takes so much of that time once more.
OVERRUN = 0.1


@dataclass(frozen=True)
class Job:
    """A job of Snakemake's plan; runtime: its limit in minutes; needs: the numbers of those that it waits for."""

    rule: str
    wildcards: dict[str, str]
    threads: int
    mem_mb: int
    runtime: int
    needs: tuple[int, ...]

    @property
    def stage(self) -> str:
        return "figures" if self.rule.startswith("figures_") else self.rule


@dataclass(frozen=True)
class Work:
    """What a job takes: seconds of one core, operations of networks, and bytes of one kind that it leaves on disk."""

    seconds: float
    operations: float = 0.0
    kind: str = "results"
    size: float = 0.0


def schedule(jobs: Sequence[Job], works: Sequence[Work], cores: int) -> tuple[float, float]:
    """Seconds until all jobs are done on so many cores, and the most bytes of shards that are there at once.

    What frees shards goes first, as with Snakemake, then what the longest chain of jobs waits for.
    """
    followers: list[list[int]] = [[] for _ in jobs]
    for number, job in enumerate(jobs):
        for other in job.needs:
            followers[other].append(number)

    @functools.cache
    def tail(number: int) -> float:
        return works[number].seconds + max(map(tail, followers[number]), default=0.0)

    shards = [work.size if work.kind == "shards" else 0.0 for work in works]
    urgency = [(not any(shards[n] for n in job.needs), -tail(number), number) for number, job in enumerate(jobs)]
    threads = [min(job.threads, cores) for job in jobs]
    waits, readers = [len(job.needs) for job in jobs], [len(each) for each in followers]
    ready = sorted(urgency[number] for number, count in enumerate(waits) if not count)
    running: list[tuple[float, int]] = []
    now = held = most = 0.0
    free = cores
    while ready or running:
        while ready and free >= threads[ready[0][-1]]:
            number = heapq.heappop(ready)[-1]
            heapq.heappush(running, (now + works[number].seconds, number))
            free -= threads[number]
            held += shards[number]
            most = max(most, held)
        now, number = heapq.heappop(running)
        free += threads[number]
        for other in jobs[number].needs:
            readers[other] -= 1
            held -= 0.0 if readers[other] else shards[other]
        for other in followers[number]:
            waits[other] -= 1
            if not waits[other]:
                heapq.heappush(ready, urgency[other])
    return now, most


class Forecast:
    """How far a run is and how long it goes on, by what its jobs were estimated at and what the first of them took.

    A stage takes ρ times its estimate, ρ = (m + r e)/(s + e), where its finished jobs took m of s estimated seconds and
    e is the mean of its jobs' estimates; r = (M + τ)/(S + τ) is the same of all stages, with τ = `PRIOR` of the whole
    estimate. So the first short jobs say little of the long ones, and the first job of a stage half of the others.
    """

    def __init__(self, jobs: Sequence[Job], works: Sequence[Work], cores: int) -> None:
        self.jobs, self.works, self.cores = jobs, works, cores
        self.took: dict[int, float] = {}

    def expected(self, running: Mapping[int, float]) -> list[float]:
        """Seconds of every job: what it took, or will take. running: seconds since they began, by number"""
        estimates = [work.seconds for work in self.works]
        stages: dict[str, list[int]] = {}
        for number, job in enumerate(self.jobs):
            stages.setdefault(job.stage, []).append(number)
        prior = PRIOR * sum(estimates)
        known = sum(estimates[number] for number in self.took) + prior
        overall = (sum(self.took.values()) + prior) / known if known else 1.0
        found = [0.0] * len(estimates)
        for numbers in stages.values():
            mean = sum(estimates[number] for number in numbers) / len(numbers)
            done = [number for number in numbers if number in self.took]
            seen = sum(estimates[number] for number in done) + mean
            ratio = (sum(self.took[number] for number in done) + overall * mean) / seen if seen else 1.0
            for number in numbers:
                longer = (1 + OVERRUN) * running.get(number, 0.0)
                found[number] = self.took.get(number, max(ratio * estimates[number], longer))
        return found

    def now(self, running: Mapping[int, float]) -> tuple[float, float]:
        """The share of all seconds of all jobs that are done, and seconds until the last job is. running: as above"""
        expected = self.expected(running)
        spent = [self.took.get(number, running.get(number, 0.0)) for number in range(len(expected))]
        left = [Work(whole - gone) for whole, gone in zip(expected, spent, strict=True)]
        whole = sum(expected)
        return sum(spent) / whole if whole else 1.0, schedule(self.jobs, left, self.cores)[0]


def duration(seconds: float) -> str:
    return f"{seconds / 60:.1f} minutes" if seconds < 7200 else f"{seconds / 3600:,.1f} hours"


def brief(seconds: float) -> str:
    """In two digits and more: 94 s, 12 min, 3.2 h, 2.1 days."""
    for least, unit, name in ((172800, 86400, "days"), (7200, 3600, "h"), (119.5, 60, "min")):
        if seconds >= least:
            return f"{seconds / unit:,.{0 if unit == 60 else 1}f} {name}"
    return f"{seconds:.0f} s"


def size(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"
