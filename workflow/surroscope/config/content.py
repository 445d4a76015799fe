"""What a study consists of, and what follows from it for others to ask; whether it fits together is told in `study`."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from surroscope.config.base import Folder, Name, Section, Seeds
from surroscope.config.data import Data
from surroscope.config.networks import Factory, Model
from surroscope.config.retraining import Retraining
from surroscope.config.sections import (
    Coupling,
    Cross,
    Dask,
    Fidelity,
    Figures,
    Gradients,
    Influence,
    Leads,
    Maps,
    Probe,
    Remedies,
    Sensitivity,
    Split,
    Symmetry,
    SystemStudy,
)
from surroscope.data.splits import split_counts
from surroscope.errors import UserError
from surroscope.models.saved import require_whole
from surroscope.observables import catalogue
from surroscope.symmetry import Action, actions
from surroscope.system import CLASSES, SYSTEMS, System

PACKAGE = "surroscope"
BOX = 17  # arXiv 2601.20172


class Content(Section):
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
    leads: Leads | None = None
    remedies: Remedies | None = None
    retraining: Retraining | None = None
    figures: Figures = Figures()

    @property
    def asked(self) -> tuple[str, ...]:
        """The optional parts that this study asks for, sections of the configuration."""
        every = ("sensitivity", "cross", "maps", "symmetry", "fidelity", "leads", "remedies", "retraining")
        return tuple(key for key in every if getattr(self, key))

    def seeds_of(self, part: str) -> list[int]:
        """The seeds that an optional part looks at; none if it was not asked for."""
        match getattr(self, part):
            case None:
                return []
            case Sensitivity(seeds=seeds) | Fidelity(seeds=seeds) | Leads(seeds=seeds) | Retraining(seeds=seeds):
                return seeds
            case Symmetry(seeds=seeds):
                return seeds or self.seeds
            case Remedies():
                return self.seeds
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
            "classes": len(self.classes(system)) > 1,
            "held_out": bool(self.unseen(system)),
            "conserved": bool(self.system(system).conserved),
            "dial": self.dialled(system),
            "turns": any(not (x or y) for x, y in shifts[1:]),
            "lines": any((x > 0) != (y > 0) for x, y in shifts),
            "box": any(x and y for x, y in shifts),
            "pbrf": self.fidelity is not None and self.fidelity.pbrf > 0,
        }
        asked = (part for part in self.asked if self.models_of(part, system))
        return (*asked, *(part for part, there in has.items() if there))

    def dialled(self, system: str) -> bool:
        """Whether some networks are known to share half or more between classes, or times, and others less."""
        told = [model.shares or {} for model in self.systems[system].models.values()]
        return any(len({shares[kind] >= 0.5 for shares in told if kind in shares}) > 1 for kind in ("class", "time"))

    def told_leads(self, system: str) -> list[str]:
        """The models of a system that are told how far to predict, if the study asks for that."""
        models = self.systems[system].models.items()
        return [name for name, model in models if self.leads and model.call and model.call.lead]

    def early(self, system: str) -> int:
        """The epoch at which foresight looks: the chosen one, else the baseline's first probed one after 0."""
        assert self.remedies
        probed = self.systems[system].models[self.remedies.baseline].probe_epochs
        return self.remedies.early or next((epoch for epoch in probed if epoch), 0)

    def models_of(self, part: str, system: str) -> list[str]:
        """The models of a system that an optional part looks at, if it was asked for."""
        if part == "leads":
            return self.told_leads(system)
        if part != "retraining":
            return list(self.systems[system].models)
        chosen = self.retraining.models if self.retraining else []
        models = self.systems[system].models.items()
        return [name for name, model in models if model.training and (chosen is None or name in chosen)]

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
            constants=tuple(equations.constants),
        )

    def classes(self, system: str) -> list[str]:
        known = list(self.data.files) or list(CLASSES.get(system, ()))
        return self.systems[system].classes or known

    def history(self, system: str, names: Collection[str] = ()) -> int:
        """How many snapshots that network of a system is given that is given most, of all or of some."""
        models = [model for name, model in self.systems[system].models.items() if not names or name in names]
        return max(model.call.history if model.call else 1 for model in models)

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
        strategies = {
            f"{key}.training.strategy": model.training.strategy
            for key, model in models.items()
            if model.training and model.training.strategy
        }
        made = models | strategies | {f"observables.{name}": factory for name, factory in self.observables.items()}
        within = {
            f"{key}{'.options' * depth}": inner
            for key, factory in made.items()
            for depth, inner in enumerate(factory.within(), 1)
        }
        return made | within

    def weights(self, system: str, model: str, seed: int, epoch: int) -> Path:
        """The file of a network of weights. Raises UserError unless there is one, and that looks like weights."""
        saved = self.systems[system].models[model].weights
        assert saved
        try:
            path = saved.path(seed, epoch)
            if path.is_file() and not saved.loader:
                require_whole(path)
            return path
        except (ValueError, UserError) as error:
            raise UserError(f"systems.{system}.models.{model}.weights.files: {error}") from None

    def published(self) -> list[tuple[str, str, str, Path]]:
        """What is fetched from a hub before a plan is made, see `Weights.published`."""
        models = [model for system in self.systems.values() for model in system.models.values()]
        return [model.weights.published for model in models if model.weights and model.weights.published]

    def trained_on(self, system: str) -> dict[str, set[int]] | None:
        """Of each class those of the study's trajectories that were trained on; None where fractions say it."""
        listed, count = self.split.listed(), self.systems[system].trajectories
        if listed is None:
            return None
        return {ic: {number for number in listed.get(ic, ()) if number < count} for ic in self.classes(system)}

    def counts(self, system: str) -> dict[str, tuple[int, int, int]]:
        """How many trajectories of each class train, validate and test."""
        count, on = self.systems[system].trajectories, self.trained_on(system)
        fractions = self.split.train, self.split.validation
        return {ic: split_counts(count, *fractions, None if on is None else len(on[ic])) for ic in self.classes(system)}

    def held_out(self, model: Model) -> bool | None:
        """Whether a network of weights is known not to have seen probe trajectories; None: it is trained here."""
        return self.split.trained != "unknown" if model.weights else None

    def unseen(self, system: str) -> list[tuple[str, int, int]]:
        """Class, first and last time of the transitions that no network is trained on."""
        held, last = self.split.held_out, self.probe.snapshots - 2
        if held is None:
            return []
        whole = [(ic, 0, last) for ic in self.classes(system) if ic in held.classes]
        times = held.times or []
        return whole + [(ic, times[0], times[1]) for ic in self.classes(system) if times and ic not in held.classes]

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

    def cross_batches(self) -> list[list[Any]]:
        """The batches among which influence is computed: of probe, then of training trajectories."""
        if not self.cross:
            return []
        return [["test", b] for b in range(self.cross.test)] + [["train", b] for b in range(self.cross.train)]
