"""The study's configuration: typed, and checked before any job."""

import glob
import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    field_validator,
    model_validator,
)

from surroscope import expressions, pdegym
from surroscope.errors import UserError
from surroscope.partition import split_counts
from surroscope.symmetry import Action
from surroscope.system import CLASSES, OBSERVABLES, SYSTEMS, System

BASELINE = "persistence"
SolverName = Literal["subspace", "full", "dense", "euclidean", "cosine", "adam"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, and nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _square(size: Any) -> Any:
    """A number of cells is that of both sides."""
    if isinstance(size, int) and not isinstance(size, bool):
        return [size, size]
    if not isinstance(size, list):
        raise ValueError("expected an integer, the cells per side, or a list [y, x]")
    return size


def _several(paths: Any) -> Any:
    return [paths] if isinstance(paths, str) else paths


def _dimensions(found: Any) -> Any:
    axes = ("trajectory", "time", "channel", "y", "x")
    names = list(found) if isinstance(found, dict | list) else [None]
    if set(names) - set(axes) or len(set(names)) < len(names) or not all(isinstance(name, str) for name in found):
        raise ValueError(
            f"expected some of {', '.join(axes)}, each with its name in the files, or a list of them in order"
        )
    return found


class Data(Section):
    dataset: Name
    source: Literal["simulation", "pdegym", "files"] = "simulation"
    size: Annotated[list[Count], Field(min_length=2, max_length=2), BeforeValidator(_square)] = [128, 128]
    snapshots: Annotated[int, Field(ge=3)] = 21
    preset: Literal["paper", "calibrated"] = "calibrated"
    seed: int = 0
    refinement: Count = 2
    block: Count = 64
    revision: str = "main"
    format: Literal["xarray", "well", "pdebench", "apebench"] = "xarray"
    files: dict[Name, Annotated[list[str], Field(min_length=1), BeforeValidator(_several)]] = {}
    channels: dict[str, str] = {}
    dimensions: Annotated[dict[str, str] | list[str], PlainValidator(_dimensions)] = []
    dtype: Literal["float16", "float32", "float64"] = "float32"
    time_step: Positive | None = None
    keep_raw: bool = True
    reader: Literal["memory", "mapped"] = "memory"

    @field_validator("channels")
    @classmethod
    def _expressions(cls, channels: dict[str, str]) -> dict[str, str]:
        for expression in channels.values():
            try:
                expressions.names(expression)
            except UserError as error:
                raise ValueError(str(error)) from None
        return channels

    @model_validator(mode="after")
    def _of_its_source(self) -> "Data":
        rows, columns = self.size
        if self.source == "simulation" and (rows != columns or columns % 2 or columns < 8):
            raise ValueError(
                f"size is {rows} x {columns}; the solvers need a square of an even number of cells per side, at least 8"
            )
        if (self.source == "files") != bool(self.files):
            raise ValueError(f"source is {self.source!r} and files {dict(self.files)}; files go with source: files")
        patterns = [pattern for chosen in self.files.values() for pattern in chosen]
        for pattern in patterns:
            if patterns.count(pattern) > 1:
                raise ValueError(f"files names {pattern!r} twice; a trajectory belongs to one class, once")
        return self

    def paths(self, ic: str) -> list[str]:
        """The files of a class in the order of its trajectories: as listed, a pattern's by the numbers in their names.

        Raises UserError if there are none.
        """
        found: list[str] = []
        for pattern in self.files[ic]:
            paths = sorted(glob.glob(pattern), key=_by_number)
            if not paths:
                raise UserError(f"data.files.{ic}: found no file {pattern!r}; mend the path or fetch the file")
            found += paths
        return found

    @property
    def grid(self) -> tuple[int, int]:
        """Cells (Y, X) of the stored states; Y is 1 on a line."""
        return self.size[0], self.size[1]


def _by_number(path: str) -> list[tuple[int, str]]:
    """So that file_10 comes after file_9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path)]


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


def _import_path(factory: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", factory):
        raise ValueError("expected 'package.module:function'")
    return factory


ImportPath = Annotated[str, AfterValidator(_import_path)]


class Factory(Section):
    """Something made by a function given by import path."""

    factory: ImportPath
    options: dict[str, Any] = {}

    @property
    def module(self) -> str:
        """The module of the factory's import path."""
        return self.factory.partition(":")[0]


class Model(Factory):
    training: Training
    probe_epochs: Annotated[list[Count], Field(min_length=1)]

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


class Equations(Section):
    """A system that is not of the table: see System."""

    title: str | None = None
    channels: Annotated[list[Name], Field(min_length=1)]
    positive: list[str] = []
    conserved: list[str] = []
    vectors: list[Annotated[list[str], Field(min_length=1, max_length=2)]] = []
    boundary: Literal["periodic", "open"] = "periodic"
    units: str = "dimensionless"

    @model_validator(mode="after")
    def _of_its_channels(self) -> "Equations":
        _once(self.channels)
        known = tuple(self.channels)
        _known("positive", self.positive, known)
        _known("conserved", self.conserved, known)
        _known("vectors", _once([name for vector in self.vectors for name in vector]), known)
        return self


class SystemStudy(Section):
    trajectories: Annotated[int, Field(ge=3)]
    equations: Equations | None = None
    classes: Annotated[list[str], Field(min_length=2)] | None = None
    observables: Annotated[list[str], Field(min_length=1)] | None = None
    pairs: list[Annotated[list[str], Field(min_length=2, max_length=2)]] = []
    symmetries: list[str] = []
    models: Annotated[dict[Name, Model], Field(min_length=1)]

    @field_validator("classes", "observables", "symmetries", "pairs")
    @classmethod
    def _distinct(cls, names: list[Any] | None) -> list[Any] | None:
        return names and _once(names)

    @field_validator("symmetries")
    @classmethod
    def _actions(cls, names: list[str]) -> list[str]:
        for name in names:
            try:
                Action.parse(name)
            except UserError as error:
                raise ValueError(str(error)) from None
        return names

    @field_validator("models")
    @classmethod
    def _not_the_baseline(cls, models: dict[str, Model]) -> dict[str, Model]:
        if BASELINE in models:
            raise ValueError(f"a model is called {BASELINE!r}, the name of the baseline in the tables; rename it")
        return models


class Probe(Section):
    batches: Count = 18
    snapshots: Annotated[int, Field(ge=3)] = 17


class Linearization(Section):
    """How gradients and tangents are computed; it changes speed and memory only."""

    gradients: Literal["vmap", "expanded_weights"] = "vmap"
    sample_chunk: Count = 16
    tangents: Literal["vmap", "double_backward"] = "vmap"
    direction_chunk: Count = 48
    tangent_samples: Count = 2


class Gradients(Section):
    shards: Count = 1
    method: Linearization | Literal["measured"] = "measured"
    keep: bool = False


class Influence(Section):
    solvers: Annotated[list[SolverName], Field(min_length=1)] = ["subspace"]
    span: Literal["ket", "joint"] = "joint"
    discarded_share: Annotated[float, Field(ge=0, lt=1)] = 1e-4
    damping: Positive = 1e-6
    damping_scale: Literal["absolute", "relative"] = "absolute"
    tolerance: Positive = 1e-2
    rungs: Count = 40
    normalization: Literal["standard", "none", "cosine", "row", "column", "trace", "softmax"] = "standard"
    memory_mb: Positive = 2000.0

    @field_validator("solvers")
    @classmethod
    def _distinct(cls, solvers: list[str]) -> list[str]:
        return _once(solvers)


class Sensitivity(Section):
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    probes: Count = 1
    dampings: Annotated[list[Positive], Field(min_length=2)] = [1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6]
    full_dampings: list[Positive] = [1.0, 1e-1, 1e-2]
    tolerance: Positive = 1e-2
    rungs: Count = 40

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: list[int]) -> list[int]:
        return _once(seeds)

    @field_validator("dampings", "full_dampings")
    @classmethod
    def _decreasing(cls, dampings: list[float]) -> list[float]:
        if dampings != sorted(set(dampings), reverse=True):
            raise ValueError("list each damping once, in decreasing order")
        return dampings


class Cross(Section):
    seed: Annotated[int, Field(ge=0)]
    test: Count = 1
    train: Count
    every: Count = 1


# [class, time] that responds, [class, time] of the step; YAML has lists for tuples.
Pair = Annotated[tuple[str, Annotated[int, Field(ge=0)], str, Annotated[int, Field(ge=0)]], Field(strict=False)]


class Maps(Section):
    seed: Annotated[int, Field(ge=0)]
    pairs: Annotated[list[Pair], Field(min_length=1)] | None = None


class Figures(Section):
    heatmap_limit: Positive = 7.0
    dpi: Count = 150


class Study(Section):
    study: Name
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    data: Data
    split: Split = Split()
    systems: Annotated[dict[str, SystemStudy], Field(min_length=1)]
    observables: dict[Name, Factory] = {}
    probe: Probe = Probe()
    gradients: Gradients = Gradients()
    influence: Influence = Influence()
    sensitivity: Sensitivity | None = None
    cross: Cross | None = None
    maps: Maps | None = None
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
        self._sources_fit()
        if taken := sorted(set(self.observables) & set(OBSERVABLES)):
            raise ValueError(f"observables defines {taken[0]!r}, the name of one that there is already; rename it")
        for name, system in self.systems.items():
            test = split_counts(system.trajectories, self.split.train, self.split.validation)[2]
            if self.probe.batches > test:
                raise ValueError(
                    f"probe.batches is {self.probe.batches}, but systems.{name}.trajectories = {system.trajectories} "
                    f"leaves {test} test trajectories a class; lower it or add trajectories"
                )
            for action in system.symmetries:
                wanted = Action.parse(action)
                if reason := wanted.misfit(self.data.grid, self.system(name)):
                    raise ValueError(f"systems.{name}.symmetries holds {action!r}: {reason}; remove it")
                if wanted.moves_nothing(self.data.grid, self.system(name)):
                    raise ValueError(
                        f"systems.{name}.symmetries holds {action!r}, which moves nothing on {self.data.grid[1]} "
                        "cells; influence of a sample on itself is shown anyway, so remove it"
                    )
            known = (*self.system(name).known_observables, *self.observables)
            _known(f"systems.{name}.observables", system.observables, known)
            for pair in system.pairs:
                _known(f"systems.{name}.pairs", pair, known)
            if "smse" not in self.observables_of(name):
                raise ValueError(f"systems.{name}.observables lacks 'smse', the cost that every step descends; add it")
            for c, t, b, u in (self.maps and self.maps.pairs) or ():
                _known("maps.pairs", [c, b], tuple(name for s in self.systems for name in self.classes(s)))
                if (c in self.classes(name)) != (b in self.classes(name)):
                    raise ValueError(f"maps.pairs holds {c} with {b}, classes of two systems; a network knows only one")
                if max(t, u) > self.probe.snapshots - 2:
                    raise ValueError(
                        f"maps.pairs holds time {max(t, u)}; the last is {self.probe.snapshots - 2}, "
                        "as probe.snapshots counts both ends of the transitions"
                    )
            if self.cross:
                counts = split_counts(system.trajectories, self.split.train, self.split.validation)
                if self.cross.test > self.probe.batches or self.cross.train > counts[0]:
                    raise ValueError(
                        f"cross.test is {self.cross.test} and cross.train {self.cross.train}, but there are "
                        f"{self.probe.batches} probe batches and {counts[0]} training trajectories a class; lower them"
                    )
        if self.sensitivity and self.sensitivity.probes > self.probe.batches:
            raise ValueError(f"sensitivity.probes is above probe.batches, {self.probe.batches}; lower it")
        own = self.influence.damping
        if (
            self.sensitivity
            and self.influence.solvers[0] in ("full", "dense")
            and own not in self.sensitivity.full_dampings
        ):
            raise ValueError(f"sensitivity.full_dampings lacks the study's own damping, {own:g}; add it")
        for key in self.asked:
            for seed in self.seeds_of(key):
                if seed not in self.seeds:
                    raise ValueError(f"{key} asks for seed {seed}; choose from seeds, {self.seeds}")
        return self

    def _sources_fit(self) -> None:
        """Raise ValueError for a system or class that the source of the data does not have."""
        data = self.data
        for name, system in self.systems.items():
            if system.equations is None and name not in SYSTEMS:
                raise ValueError(
                    f"systems holds {name!r}; choose from {', '.join(SYSTEMS)}, or say what it is in "
                    f"systems.{name}.equations"
                )
            if system.equations is not None and data.source != "files":
                raise ValueError(f"systems.{name}.equations goes with data.source: files, found {data.source}")
            known = tuple(data.files) if data.source == "files" else CLASSES[name]
            _known(f"systems.{name}.classes", self.classes(name), known)
            if len(self.classes(name)) < 2:
                raise ValueError(f"systems.{name} has one class, {self.classes(name)[0]}; influence needs two or more")
            if data.channels and data.source == "files":
                channels = self.system(name).channels
                if set(channels) - set(data.channels):
                    missing = ", ".join(c for c in channels if c not in data.channels)
                    raise ValueError(f"data.channels lacks {missing} of {name}; say what they are in the files")
            for ic in self.classes(name):
                if data.source == "pdegym" and system.trajectories > pdegym.SERIES[ic].trajectories:
                    raise ValueError(
                        f"systems.{name}.trajectories is {system.trajectories}, but {ic} has "
                        f"{pdegym.SERIES[ic].trajectories}; lower it"
                    )
        if not self._systems_share_no_class():
            raise ValueError("systems share a class; list each system's own in systems.*.classes")

    def _systems_share_no_class(self) -> bool:
        classes = [ic for name in self.systems for ic in self.classes(name)]
        return len(classes) == len(set(classes))

    @property
    def asked(self) -> tuple[str, ...]:
        """The optional parts that this study asks for."""
        return tuple(key for key in ("sensitivity", "cross", "maps") if getattr(self, key))

    def seeds_of(self, part: str) -> list[int]:
        """The seeds that an optional part looks at; none if it was not asked for."""
        chosen = getattr(self, part)
        return [] if chosen is None else getattr(chosen, "seeds", None) or [chosen.seed]

    def parts(self, system: str) -> tuple[str, ...]:
        """Those, and what its systems ask for by themselves."""
        return (*self.asked, *(["symmetry"] if self.systems[system].symmetries else []))

    def system(self, name: str) -> System:
        """A system of the study: the table's, or the one that the configuration defines."""
        equations = self.systems[name].equations
        if equations is None:
            return SYSTEMS[name]
        return System(
            name=name,
            title=equations.title or name,
            channels=tuple(equations.channels),
            positive=tuple(equations.positive),
            conserved=tuple(equations.conserved),
            vectors=tuple(map(tuple, equations.vectors)),
            boundary=equations.boundary,
            units=equations.units,
        )

    def classes(self, system: str) -> list[str]:
        known = list(self.data.files) or list(CLASSES.get(system, ()))
        return self.systems[system].classes or known

    def observables_of(self, system: str) -> list[str]:
        chosen = self.systems[system].observables or self.system(system).observables
        return sorted(chosen, key=lambda name: name != "smse")

    def responses(self, system: str) -> list[dict[str, str]]:
        """What responds (`observable`, at the sample moved by `action`) to a step on what (`step`)."""
        cost = [{"observable": name, "step": "smse", "action": "e"} for name in self.observables_of(system)]
        pairs = [{"observable": a, "step": b, "action": "e"} for a, b in self.systems[system].pairs]
        moved = [{"observable": "smse", "step": "smse", "action": g} for g in self.systems[system].symmetries]
        wanted = cost + pairs + moved
        return [entry for number, entry in enumerate(wanted) if entry not in wanted[:number]]

    def factories(self) -> dict[str, Factory]:
        """Everything that is made by an import path, by its key in the configuration."""
        models = {
            f"systems.{system}.models.{name}": model
            for system, chosen in self.systems.items()
            for name, model in chosen.models.items()
        }
        return models | {f"observables.{name}": factory for name, factory in self.observables.items()}

    def blocks(self, system: str) -> list[int]:
        """Numbers of the simulation jobs of one class; each makes `data.block` trajectories or fewer."""
        return list(range(-(-self.systems[system].trajectories // self.data.block)))

    @property
    def sample_size(self) -> str:
        """What n counts in the influence figures."""
        seeds, batches = len(self.seeds), self.probe.batches
        return f"n = {seeds} seed{'s' * (seeds > 1)} x {batches} probe batch{'es' * (batches > 1)}"

    def training_mb(self, system: str) -> int:
        """What training needs, in MB: its trajectories, unless they are mapped, and 2 GB to work in."""
        if self.data.reader == "mapped":
            return 2000
        kept = split_counts(self.systems[system].trajectories, self.split.train, self.split.validation)[:2]
        states = sum(kept) * len(self.classes(system)) * self.probe.snapshots
        rows, columns = self.data.grid
        return 2000 + states * len(self.system(system).channels) * rows * columns * 4 // 10**6

    def cross_batches(self) -> list[list[Any]]:
        """The batches among which influence is computed: of probe, then of training trajectories."""
        if not self.cross:
            return []
        return [["test", b] for b in range(self.cross.test)] + [["train", b] for b in range(self.cross.train)]


PLAIN = {
    "list_type": "expected a list",
    "tuple_type": "expected a list of lists, each [class, time, class, time]",
    "string_pattern_mismatch": "expected letters, digits, '_', '-' and '.', a letter or digit first",
}


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
    message = PLAIN.get(error["type"], message)
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
