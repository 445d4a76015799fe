"""The study's configuration: typed, and checked before any job."""

from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from surroscope.config.base import Folder, Name, Section, Seeds, alike, renamed, require_bounded, require_known
from surroscope.config.data import Data
from surroscope.config.messages import line
from surroscope.config.sections import (
    Coupling,
    Cross,
    Dask,
    Factory,
    Fidelity,
    Figures,
    Gradients,
    Influence,
    Maps,
    Probe,
    Sensitivity,
    Split,
    Symmetry,
    SystemStudy,
)
from surroscope.data import pdegym
from surroscope.data.splits import split_counts
from surroscope.errors import UserError
from surroscope.influence.solvers import SOLVERS
from surroscope.observables import catalogue
from surroscope.report.catalogue import FIGURES, figures_for
from surroscope.symmetry import Action, actions
from surroscope.system import CLASSES, SYSTEMS, System

PACKAGE = "surroscope"
BOX = 17  # arXiv 2601.20172
JOBS = 10_000


class Study(Section):
    study: Folder
    seeds: Seeds
    data: Data
    split: Split = Split()
    systems: Annotated[dict[Folder, SystemStudy], Field(min_length=1)]
    observables: dict[Name, Factory] = {}
    probe: Probe = Probe()
    gradients: Gradients = Gradients()
    influence: Influence = Influence()
    dask: Dask = Dask()
    coupling: Coupling = Coupling()
    sensitivity: Sensitivity | None = None
    cross: Cross | None = None
    maps: Maps | None = None
    symmetry: Symmetry | None = None
    fidelity: Fidelity | None = None
    figures: Figures = Figures()

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
        if twice := alike(self.systems):
            raise ValueError(f"systems holds {' and '.join(twice)}, one name but for case and punctuation; rename one")
        known_ones = {name for system in self.systems for name in catalogue.known(self.system(system))}
        if taken := sorted(set(self.observables) & (set(catalogue.BUILTIN) | known_ones)):
            raise ValueError(f"observables defines {taken[0]!r}, the name of one that there is already; rename it")
        for name, system in self.systems.items():
            if self.data.source == "simulation" and len(self.blocks(name)) > JOBS:
                raise ValueError(
                    f"data.block is {self.data.block}, which makes {len(self.blocks(name))} jobs a class for "
                    f"systems.{name}.trajectories = {system.trajectories}; raise it, to {JOBS} jobs or fewer"
                )
            test = split_counts(system.trajectories, self.split.train, self.split.validation)[2]
            if self.probe.batches > test:
                raise ValueError(
                    f"probe.batches is {self.probe.batches}, but systems.{name}.trajectories = {system.trajectories} "
                    f"leaves {test} test trajectories a class; lower it or add trajectories"
                )
            known = (*catalogue.known(self.system(name)), *self.observables)
            require_known(f"systems.{name}.observables", system.observables, known)
            for pair in system.pairs:
                require_known(f"systems.{name}.pairs", pair, known)
            if "smse" not in self.observables_of(name):
                raise ValueError(f"systems.{name}.observables lacks 'smse', the cost that every step descends; add it")
            observables, needs = self.observables_of(name), {need for spec in FIGURES.values() for need in spec.needs}
            figures = figures_for(observables, needs)
            if twice := alike(figures):
                colliding = next(observable for observable in observables if twice[-1].endswith(f"_{observable}"))
                raise ValueError(
                    f"systems.{name} has the observable {colliding!r}, whose figure would be {twice[-1]}, the name of "
                    "another figure; rename the observable or the channel"
                )
            for model in system.models if "adam" in self.influence.solvers else ():
                if 0 in system.models[model].probe_epochs:
                    raise ValueError(f"systems.{name}.models.{model}: epoch 0 has no moments for 'adam'; drop either")
            for c, t, b, u in (self.maps and self.maps.pairs) or ():
                require_known("maps.pairs", [c, b], tuple(name for s in self.systems for name in self.classes(s)))
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
        for key in ("coupling", "sensitivity", "symmetry", "fidelity"):
            if (part := getattr(self, key)) and (part.probes or 1) > self.probe.batches:
                raise ValueError(f"{key}.probes is above probe.batches, {self.probe.batches}; lower it")
        for key in ("line", "box"):
            if (found := getattr(self.symmetry, key, None)) and found >= max(self.data.grid):
                raise ValueError(
                    f"symmetry.{key} is {found}, but shifts go {max(self.data.grid) - 1} cells at most; lower it"
                )
        own = self.influence.damping
        if (
            self.sensitivity
            and SOLVERS[self.influence.solvers[0]].needs == "network"
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
            if data.source == "pdegym":
                require_known("data.source is pdegym, but systems", [name], tuple(pdegym.CHANNELS))
            known = tuple(data.files) if data.source == "files" else CLASSES[name]
            require_known(f"systems.{name}.classes", self.classes(name), known)
            if len(self.classes(name)) < 2:
                raise ValueError(f"systems.{name} has one class, {self.classes(name)[0]}; influence needs two or more")
            for ic in self.classes(name):
                if data.source == "pdegym" and system.trajectories > pdegym.SERIES[ic].trajectories:
                    raise ValueError(
                        f"systems.{name}.trajectories is {system.trajectories}, but {ic} has "
                        f"{pdegym.SERIES[ic].trajectories}; lower it"
                    )
        require_known(
            "data.skip_rows", list(data.skip_rows), tuple(ic for name in self.systems for ic in self.classes(name))
        )
        channels = tuple(channel for name in self.systems for channel in self.system(name).channels)
        require_known("data.channels", list(data.channels), channels)
        classes = [ic for name in self.systems for ic in self.classes(name)]
        if len(classes) > len(set(classes)):
            raise ValueError("systems share a class; list each system's own in systems.*.classes")

    @property
    def asked(self) -> tuple[str, ...]:
        """The optional parts that this study asks for, sections of the configuration."""
        return tuple(key for key in ("sensitivity", "cross", "maps", "symmetry", "fidelity") if getattr(self, key))

    def seeds_of(self, part: str) -> list[int]:
        """The seeds that an optional part looks at; none if it was not asked for."""
        match getattr(self, part):
            case None:
                return []
            case Sensitivity(seeds=seeds) | Fidelity(seeds=seeds):
                return seeds
            case Symmetry(seeds=seeds):
                return seeds or self.seeds
            case chosen:
                return [chosen.seed]

    def parts(self, system: str) -> tuple[str, ...]:
        """The optional parts that are asked for, and what else figures need: epochs, conserved totals, ..."""
        shifts = [Action.parse(name).shift for name in self.actions(system)]
        has = {
            "epochs": any(len(model.probe_epochs) > 1 for model in self.systems[system].models.values()),
            "untrained": any(
                0 in (e := model.probe_epochs) and max(e) for model in self.systems[system].models.values()
            ),
            "conserved": bool(self.system(system).conserved),
            "dial": any(model.shares for model in self.systems[system].models.values()),
            "turns": any(not (x or y) for x, y in shifts[1:]),
            "lines": any((x > 0) != (y > 0) for x, y in shifts),
            "box": any(x and y for x, y in shifts),
            "pbrf": self.fidelity is not None and self.fidelity.pbrf > 0,
        }
        return (*self.asked, *(part for part, there in has.items() if there))

    def actions(self, system: str) -> list[str]:
        """The symmetries at whose images a system's networks are looked at, shifts only if they are asked for."""
        rows, columns = self.data.grid
        if not self.symmetry:
            return actions((rows, columns), self.system(system))
        furthest = max(rows, columns) - 1
        line = furthest if self.symmetry.line is None else self.symmetry.line
        box = min(BOX, furthest) if self.symmetry.box is None else self.symmetry.box
        return actions((rows, columns), self.system(system), line, box)

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
            symmetries=tuple(equations.symmetries),
            boundary=equations.boundary,
            units="as in the files",
        )

    def classes(self, system: str) -> list[str]:
        known = list(self.data.files) or list(CLASSES.get(system, ()))
        return self.systems[system].classes or known

    def observables_of(self, system: str) -> list[str]:
        chosen = self.systems[system].observables or catalogue.default(self.system(system))
        return sorted(chosen, key=lambda name: name != "smse")

    def responses(self, system: str) -> list[dict[str, str]]:
        """What responds (`observable`) to a step on what (`step`)."""
        cost = [{"observable": name, "step": "smse"} for name in self.observables_of(system)]
        wanted = cost + [{"observable": a, "step": b} for a, b in self.systems[system].pairs]
        return [entry for number, entry in enumerate(wanted) if entry not in wanted[:number]]

    def factories(self) -> dict[str, Factory]:
        """Everything that is made by an import path, by its key in the configuration."""
        models = {
            f"systems.{system}.models.{name}": model
            for system, chosen in self.systems.items()
            for name, model in chosen.models.items()
        }
        return models | {f"observables.{name}": factory for name, factory in self.observables.items()}

    def own_factories(self) -> dict[str, Factory]:
        """Those of them that are not this package's."""
        return {key: made for key, made in self.factories().items() if made.module.partition(".")[0] != PACKAGE}

    def blocks(self, system: str) -> list[int]:
        """Numbers of the simulation jobs of one class; each makes `data.block` trajectories or fewer."""
        return list(range(-(-self.systems[system].trajectories // self.data.block)))

    @property
    def sample_size(self) -> str:
        """What n counts in the influence figures."""
        seeds, batches = len(self.seeds), self.probe.batches
        counted = f"n = {seeds} seed{'s' * (seeds > 1)} × {batches} probe batch{'es' * (batches > 1)}"
        return counted.replace(" ", "\N{NO-BREAK SPACE}")

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


def check(config: dict[str, Any], source: str) -> Study:
    """The configuration as a Study. Raises UserError, one line for each key that is wrong."""
    try:
        require_bounded(config, source)
        return Study.model_validate(renamed(config, source))
    except ValidationError as error:
        raise UserError("\n".join(line(source, found) for found in error.errors())) from None
