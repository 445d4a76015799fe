"""The sections of the configuration but for the data's."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator, field_validator, model_validator

from surroscope.config.base import (
    MOST,
    Count,
    Name,
    Natural,
    Positive,
    Section,
    Seed,
    Seeds,
    once,
)
from surroscope.config.data import Equations
from surroscope.config.networks import Model
from surroscope.data import splits
from surroscope.influence.normalize import NORMALIZATIONS
from surroscope.influence.solvers import SOLVERS

BASELINE = "persistence"
# Folders of a system's results beside those of its models.
OF_SYSTEM = {"figures", "splits", "tables"}
# Names of the registries, which no type checker can read.
SolverName = Literal[*SOLVERS]  # type: ignore[valid-type]
Normalization = Literal[*NORMALIZATIONS]  # type: ignore[valid-type]


def _trained(found: Any) -> Any:
    """What networks were trained on, if that can be read."""
    if isinstance(found, dict):
        splits.require_listed(found)
    elif isinstance(found, str) and found.endswith(".json"):
        splits.read(Path(found).expanduser())
    elif found not in ("unknown", "none", "split"):
        raise ValueError(f"expected unknown, none, split, a JSON file, or {splits.EXPECTED}")
    return found


class HeldOut(Section):
    """Transitions that no network is trained on: of some classes, and from some times of every class."""

    classes: Annotated[list[str], AfterValidator(once)] = []
    times: Annotated[list[Natural], Field(min_length=2, max_length=2)] | None = None

    @model_validator(mode="after")
    def _something(self) -> "HeldOut":
        if not (self.classes or self.times):
            raise ValueError("holds nothing out; give classes, or times as [first, last]")
        if self.times and self.times[0] > self.times[1]:
            raise ValueError(f"times is {self.times}; expected [first, last]")
        return self


class Split(Section):
    train: Positive = 0.65
    validation: Positive = 0.05
    test: Positive = 0.30
    held_out: HeldOut | None = None
    # Of networks that were trained elsewhere; a file of what is otherwise listed here.
    trained: Annotated[str | splits.Listed, PlainValidator(_trained, str | splits.Listed)] = "unknown"

    @property
    def files(self) -> list[Path]:
        """The file that lists what was trained on, if one does."""
        path = self.trained if isinstance(self.trained, str) else ""
        return [Path(path).expanduser()] if path.endswith(".json") else []

    def listed(self) -> dict[str, set[int]] | None:
        """Of each class the trajectories that were trained on; None where fractions say it, of "none" no class."""
        if self.trained in ("unknown", "split"):
            return None
        found = self.trained if isinstance(self.trained, dict) else {}
        for path in self.files:
            found = splits.read(path)
        return {ic: splits.numbers(listed) for ic, listed in found.items()}

    @model_validator(mode="after")
    def _fractions(self) -> "Split":
        if self.listed() is not None:
            if given := sorted({"train", "test"} & self.model_fields_set):
                raise ValueError(
                    f"trained says what was trained on, but {' and '.join(given)} is a fraction; leave that out: what "
                    "does not validate tests"
                )
            return self
        if abs(self.train + self.validation + self.test - 1) > 1e-9:
            raise ValueError(f"train + validation + test is {self.train + self.validation + self.test:g}; make it 1")
        return self


class SystemStudy(Section):
    trajectories: Annotated[int, Field(ge=3, le=MOST)]
    equations: Equations | None = None
    classes: Annotated[list[str], Field(min_length=1), AfterValidator(once)] | None = None
    observables: Annotated[list[str], Field(min_length=1), AfterValidator(once)] | None = None
    pairs: Annotated[list[Annotated[list[str], Field(min_length=2, max_length=2)]], AfterValidator(once)] = []
    models: Annotated[dict[Name, Model], Field(min_length=1)]

    @field_validator("models")
    @classmethod
    def _own_names(cls, models: dict[str, Model]) -> dict[str, Model]:
        if BASELINE in models:
            raise ValueError(f"a model is called {BASELINE!r}, the name of the baseline in the tables; rename it")
        if taken := sorted(OF_SYSTEM & set(models)):
            raise ValueError(f"a model is called {taken[0]!r}, a folder of results of the system; rename it")
        return models


class Probe(Section):
    batches: Count = 18
    snapshots: Annotated[int, Field(ge=3, le=MOST)] = 17


class Method(Section):
    """How gradients and tangents are computed; it changes speed and memory only."""

    gradients: Literal["vmap", "loop"] = "vmap"
    sample_chunk: Count = 16
    tangents: Literal["vmap", "double_backward"] = "vmap"
    direction_chunk: Count = 48
    tangent_samples: Count = 2


class Gradients(Section):
    shards: Count = 1
    method: Method | Literal["fixed", "measured"] = "fixed"
    keep: bool = False


class Rules(Section):
    """How the metric is inverted in a span."""

    discarded_share: Annotated[float, Field(ge=0, lt=1)] = 1e-4
    damping: Positive = 1e-6
    damping_scale: Literal["absolute", "relative"] = "absolute"


class Iterations(Section):
    """When iterations in all parameters end."""

    tolerance: Positive = 1e-2
    max_iterations: Count = 40


class Influence(Rules, Iterations):
    solvers: Annotated[list[SolverName], Field(min_length=1), AfterValidator(once)] = ["subspace"]
    span: Literal["perturbation", "joint"] = "joint"
    modes: Count = 10
    normalization: Normalization = "standard"
    shared_lags: Literal["leave out", "count"] = "leave out"
    memory_mb: Positive = 2000.0


class Tls(Section):
    """Files by which the parts of a Dask cluster know each other."""

    ca: str
    certificate: str
    key: str

    @field_validator("*")
    @classmethod
    def _there(cls, path: str) -> str:
        if not os.path.isfile(place := os.path.expanduser(path)):
            raise ValueError("no such file; docs/dask.md tells how to make it")
        return place


class Dask(Section):
    """Where gradients are contracted; it changes no result."""

    cluster: str = "local"
    # Snakemake's --config gives text.
    workers: Annotated[int, Field(ge=1, le=MOST, strict=False)] = 4
    runtime: Annotated[int, Field(ge=1, le=MOST, strict=False)] = 60
    interface: Name = "lo"
    tls: Tls | None = None

    @field_validator("cluster")
    @classmethod
    def _place(cls, cluster: str) -> str:
        address = r"(tcp|tls)://([\w.-]+|\[[\da-fA-F:]+\]):\d+"
        if cluster not in ("local", "slurm") and not re.fullmatch(address, cluster):
            raise ValueError(
                "choose local, slurm, or the address of a scheduler: tcp://host:port, or tls://host:port if it is "
                "encrypted (not tcps://)"
            )
        return cluster

    @model_validator(mode="after")
    def _encrypted(self) -> "Dask":
        if self.cluster.startswith("tls://") and not self.tls:
            raise ValueError(f"cluster is {self.cluster}, but tls is missing; give it ca, certificate and key")
        if self.cluster.startswith("tcp://") and self.tls:
            raise ValueError(f"cluster is {self.cluster}, which takes no tls; write tls:// or leave tls out")
        return self


class Coupling(Section):
    """How the kernel between inputs is measured, apart from what is left to learn."""

    draws: Annotated[int, Field(ge=8, le=MOST)] = 12
    patterns: Annotated[int, Field(ge=4, le=MOST)] = 4
    noises: Annotated[list[Positive], Field(min_length=1), AfterValidator(once)] = [1.0, 0.3, 0.1]
    probes: Count | None = None
    untrained_probes: Natural = 1


class Sensitivity(Iterations):
    seeds: Seeds
    probes: Count = 1
    dampings: Annotated[list[Positive], Field(min_length=2)] = [1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6]
    full_dampings: list[Positive] = [1.0, 1e-1, 1e-2]

    @field_validator("dampings", "full_dampings")
    @classmethod
    def _decreasing(cls, dampings: list[float]) -> list[float]:
        if dampings != sorted(set(dampings), reverse=True):
            raise ValueError("list each damping once, in decreasing order")
        return dampings


class Cross(Section):
    seed: Seed
    test: Count = 1
    train: Count
    every: Count = 1


# [class, time] that responds, [class, time] of the step; YAML has lists for tuples.
Pair = Annotated[tuple[str, Natural, str, Natural], Field(strict=False)]


class Maps(Section):
    seed: Seed
    pairs: Annotated[list[Pair], Field(min_length=1)] | None = None


class Symmetry(Section):
    seeds: Seeds | None = None
    probes: Count = 1
    line: Natural | None = None
    # So many shifts each way along both axes, all of which a plan lists.
    box: Annotated[int, Field(ge=0, le=64)] | None = None


class Fidelity(Iterations):
    seeds: Seeds
    probes: Count = 1
    every: Count = 4
    kinds: Annotated[list[Literal["span", "full", "sgd", "adamw"]], Field(min_length=1), AfterValidator(once)] = [
        *("span", "full", "sgd", "adamw")
    ]
    falls: Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1), AfterValidator(once)] = [
        *(0.01, 0.1, 0.5)
    ]
    full_damping: Positive = 1e-1
    pbrf: Natural = 0


class Leads(Section):
    """Of networks that are told how far to predict; steps: in snapshots."""

    seeds: Seeds
    probes: Count = 1
    steps: Annotated[list[Count], Field(min_length=2)]

    @field_validator("steps")
    @classmethod
    def _increasing(cls, steps: list[int]) -> list[int]:
        if steps != sorted(set(steps)):
            raise ValueError("list each lead time once, in increasing order")
        return steps


class Remedies(Section):
    """Of all models of a system, which differ in how they are trained; early: the first epoch after 0, if left out

    trajectories: of each class that are rolled out, if it is not all that test
    """

    baseline: Name
    steps: Count = 16
    early: Count | None = None
    trajectories: Count | None = None


class Figures(Section):
    """heatmap_limit: None is the 98th percentile of a figure's own cells"""

    heatmap_limit: Annotated[Positive, Field(le=1e6)] | None = None
    notes: bool = True
    letters: bool = False
    formats: list[Literal["png", "pdf", "svg"]] = ["png", "pdf"]
    dpi: Annotated[int, Field(ge=1, le=1200)] = 150

    @field_validator("formats")
    @classmethod
    def _with_what_the_report_shows(cls, formats: list[str]) -> list[str]:
        if "png" not in formats or len(set(formats)) < len(formats):
            raise ValueError(f"found {', '.join(formats) or 'none'}; list each once, and png, which the report shows")
        return formats
