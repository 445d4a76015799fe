"""The study's configuration: typed, checked before any job, and cut into the slice that each stage reads."""

import json
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from surroscope.errors import UserError
from surroscope.partition import split_counts
from surroscope.system import SYSTEMS

BASELINE = "persistence"
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, and nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Data(Section):
    dataset: Name
    source: Literal["simulation"] = "simulation"
    preset: Literal["paper", "calibrated"] = "calibrated"
    seed: int = 0
    size: Count = 128
    refinement: Count = 2
    snapshots: Annotated[int, Field(ge=3)] = 21
    block: Count = 64

    @field_validator("size")
    @classmethod
    def _even(cls, size: int) -> int:
        if size % 2 or size < 8:
            raise ValueError("expected an even number of cells per side, at least 8")
        return size


class Split(Section):
    train: Positive = 0.65
    validation: Positive = 0.05
    test: Positive = 0.30

    @model_validator(mode="after")
    def _fractions(self) -> "Split":
        if abs(self.train + self.validation + self.test - 1) > 1e-9:
            raise ValueError(f"train + validation + test is {self.train + self.validation + self.test:g}; make it 1")
        return self


class Training(Section):
    epochs: Count
    learning_rate: Positive = 5e-4
    weight_decay: NonNegative = 1e-4
    batch: Count = 48


class Model(Section):
    factory: str
    options: dict[str, Any] = {}
    training: Training
    probe_epochs: Annotated[list[Count], Field(min_length=1)]

    @property
    def module(self) -> str:
        """The module of the factory's import path."""
        return self.factory.partition(":")[0]

    @field_validator("factory")
    @classmethod
    def _import_path(cls, factory: str) -> str:
        if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", factory):
            raise ValueError("expected 'package.module:function'")
        return factory

    @model_validator(mode="after")
    def _probed_epochs_are_trained(self) -> "Model":
        if max(self.probe_epochs) > self.training.epochs:
            raise ValueError(
                f"probe_epochs holds {max(self.probe_epochs)}, but training.epochs is {self.training.epochs}; "
                "raise the one or drop the other"
            )
        if self.probe_epochs != sorted(set(self.probe_epochs)):
            raise ValueError(f"probe_epochs is {self.probe_epochs}; list each epoch once, in increasing order")
        return self


class SystemStudy(Section):
    trajectories: Annotated[int, Field(ge=3)]
    classes: Annotated[list[str], Field(min_length=2)] | None = None
    observables: Annotated[list[str], Field(min_length=1)] | None = None
    models: Annotated[dict[Name, Model], Field(min_length=1)]

    @field_validator("classes", "observables")
    @classmethod
    def _distinct(cls, names: list[str] | None) -> list[str] | None:
        return names and _once(names)

    @field_validator("models")
    @classmethod
    def _not_the_baseline(cls, models: dict[str, Model]) -> dict[str, Model]:
        if BASELINE in models:
            raise ValueError(f"a model is called {BASELINE!r}, the name of the baseline in the tables; rename it")
        return models


class Probe(Section):
    batches: Count = 18
    snapshots: Annotated[int, Field(ge=3)] = 17


class Gradients(Section):
    shards: Count = 1
    sample_chunk: Count = 16
    direction_chunk: Count = 48
    keep: bool = False


class Influence(Section):
    solver: Literal["subspace"] = "subspace"
    discarded_share: Annotated[float, Field(ge=0, lt=1)] = 1e-4
    damping: Positive = 1e-6
    chunk_mb: Positive = 32.0


class Figures(Section):
    heatmap_limit: Positive = 7.0
    dpi: Count = 150


class Study(Section):
    study: Name
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    data: Data
    split: Split = Split()
    systems: Annotated[dict[str, SystemStudy], Field(min_length=1)]
    probe: Probe = Probe()
    gradients: Gradients = Gradients()
    influence: Influence = Influence()
    figures: Figures = Figures()

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: list[int]) -> list[int]:
        return _once(seeds)

    @model_validator(mode="after")
    def _fits_together(self) -> "Study":
        if self.probe.snapshots > self.data.snapshots:
            raise ValueError(
                f"probe.snapshots is {self.probe.snapshots}, but data.snapshots is {self.data.snapshots}; lower it"
            )
        if self.gradients.shards > self.probe.batches:
            raise ValueError(
                f"gradients.shards is {self.gradients.shards}, but there are only {self.probe.batches} probe batches "
                "(probe.batches); lower it"
            )
        _known("systems", list(self.systems), tuple(SYSTEMS))
        for name, system in self.systems.items():
            test = split_counts(system.trajectories, self.split.train, self.split.validation)[2]
            if self.probe.batches > test:
                raise ValueError(
                    f"probe.batches is {self.probe.batches}, but systems.{name}.trajectories = {system.trajectories} "
                    f"leaves {test} test trajectories a class; lower it or add trajectories"
                )
            _known(f"systems.{name}.classes", system.classes, SYSTEMS[name].classes)
            _known(f"systems.{name}.observables", system.observables, SYSTEMS[name].observables)
            if "smse" not in self.observables(name):
                raise ValueError(f"systems.{name}.observables lacks 'smse', the cost that every step descends; add it")
        return self

    def classes(self, system: str) -> list[str]:
        return self.systems[system].classes or list(SYSTEMS[system].classes)

    def observables(self, system: str) -> list[str]:
        chosen = self.systems[system].observables or SYSTEMS[system].observables
        return sorted(chosen, key=lambda name: name != "smse")

    def blocks(self, system: str) -> list[int]:
        """Numbers of the simulation jobs of one class; each makes `data.block` trajectories or fewer."""
        return list(range(-(-self.systems[system].trajectories // self.data.block)))

    @property
    def sample_size(self) -> str:
        """What n counts in the influence figures."""
        seeds, batches = len(self.seeds), self.probe.batches
        return f"n = {seeds} seed{'s' * (seeds > 1)} x {batches} probe batch{'es' * (batches > 1)}"

    def memory_mb(self, system: str, trajectories: int) -> int:
        """What a job needs that holds this many trajectories at stored resolution twice, in MB, and 2 GB to work in."""
        data, channels = self.data, len(SYSTEMS[system].channels)
        return 2000 + 2 * trajectories * data.snapshots * channels * data.size**2 * 4 // 10**6

    def settings(self, stage: str, **wildcards: str) -> str:
        """The slice of the configuration that one job of `stage` reads, as JSON with sorted keys."""
        return json.dumps(getattr(self, f"_{stage}")(**wildcards), sort_keys=True)

    def _simulate(self, system: str, ic: str, block: str) -> dict[str, Any]:
        data, start = self.data, int(block) * self.data.block
        stop = min(start + data.block, self.systems[system].trajectories)
        keys = ("preset", "seed", "size", "refinement", "snapshots")
        return {"ic": ic, "start": start, "stop": stop} | {key: getattr(data, key) for key in keys}

    def _ingest(self, system: str, ic: str) -> dict[str, Any]:
        return {"system": system, "ic": ic}

    def _split(self, system: str, seed: str) -> dict[str, Any]:
        fractions = {"train": self.split.train, "validation": self.split.validation}
        return {"seed": int(seed), "classes": self.classes(system), "probe_batches": self.probe.batches} | fractions

    def _network(self, system: str, model: str) -> dict[str, Any]:
        chosen = self.systems[system].models[model]
        return {"system": system, "model": model, "factory": chosen.factory, "options": chosen.options}

    def _train(self, system: str, model: str, seed: str) -> dict[str, Any]:
        chosen = self.systems[system].models[model]
        return (
            self._network(system, model)
            | {"seed": int(seed), "snapshots": self.probe.snapshots, "save_epochs": chosen.probe_epochs}
            | dict(chosen.training)
        )

    def _gradients(self, system: str, model: str, seed: str, epoch: str, shard: str) -> dict[str, Any]:
        gradients = self.gradients
        return self._network(system, model) | {
            "seed": int(seed),
            "epoch": int(epoch),
            "observables": self.observables(system),
            "snapshots": self.probe.snapshots,
            "probes": list(range(self.probe.batches))[int(shard) :: gradients.shards],
            "sample_chunk": gradients.sample_chunk,
            "direction_chunk": gradients.direction_chunk,
        }

    def _influence(self, system: str, model: str, seed: str, epoch: str) -> dict[str, Any]:
        return self.influence.model_dump(exclude={"solver"})

    def _evaluate(self, system: str, model: str, seed: str, epoch: str) -> dict[str, Any]:
        return self._network(system, model) | {"seed": int(seed), "epoch": int(epoch)}

    def _tables(self, system: str) -> dict[str, Any]:
        return {"system": system, "models": list(self.systems[system].models)}

    def _figures(self, system: str, figure: str) -> dict[str, Any]:
        shown = {"models": list(self.systems[system].models), "last_training_snapshot": self.probe.snapshots - 1}
        return {"figure": figure} | shown | dict(self.figures)

    def _report(self, command: str, n: str) -> dict[str, Any]:
        return {"config": self.model_dump(exclude_none=True), "command": command, "n": n}


def check(config: dict[str, Any], source: str) -> Study:
    """The configuration as a Study. Raises UserError, one line for each key that is wrong."""
    try:
        return Study.model_validate(config)
    except ValidationError as error:
        raise UserError("\n".join(_line(source, found) for found in error.errors())) from None


def _line(source: str, error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{source}: {key}: unknown key; remove it or mend its spelling (config.yaml comments every key)"
    if error["type"] == "missing":
        return f"{source}: {key}: missing; add it (config.yaml comments every key)"
    message = error["msg"].removeprefix("Value error, ")
    value = error["input"]
    if error["type"] == "float_type" and isinstance(value, str) and re.fullmatch(r"[-+]?\d+e[-+]?\d+", value):
        message = f"YAML reads it as text; write it with a point, {value.replace('e', '.0e')}"
    found = f"found {value!r}; " if not isinstance(value, dict | BaseModel) else ""
    return ": ".join(part for part in (source, key, found + message) if part)


def _once(entries: list[Any]) -> list[Any]:
    for entry in entries:
        if entries.count(entry) > 1:
            raise ValueError(f"{entry!r} stands twice; list each once")
    return entries


def _known(key: str, found: list[str] | None, known: tuple[str, ...]) -> None:
    for name in found or ():
        if name not in known:
            raise ValueError(f"{key} holds {name!r}; choose from {', '.join(known)}")
