"""A job of a plan, and what it takes."""

from dataclasses import dataclass

from surroscope.runtime import cost


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
        return cost.stage_of_rule(self.rule)


@dataclass(frozen=True)
class Work:
    """What a job takes: seconds of one core, operations of networks, and bytes of one kind that it leaves on disk."""

    seconds: float
    operations: float = 0.0
    kind: str = "results"
    size: float = 0.0
