"""A configuration as a whole: what its sections ask of each other."""

from typing import Any

from pydantic import ValidationError, model_validator

from surroscope.config.base import alike, renamed, require_bounded, require_known
from surroscope.config.content import Content
from surroscope.config.messages import line
from surroscope.config.retraining import require_trainable
from surroscope.config.sections import Probe, Remedies
from surroscope.data import pdegym
from surroscope.errors import UserError
from surroscope.influence.solvers import SOLVERS
from surroscope.observables import catalogue
from surroscope.report.catalogue import FIGURES, figures_for
from surroscope.system import CLASSES, SYSTEMS

JOBS = 10_000
PROBED = Probe().snapshots


class Study(Content):
    @model_validator(mode="before")
    @classmethod
    def _probes_what_there_is(cls, study: Any) -> Any:
        """Of data with fewer snapshots than are probed unless it is said, all."""
        there = study["data"].get("snapshots") if isinstance(study, dict) and isinstance(study.get("data"), dict) else 0
        probe = study.get("probe", {}) if there else None
        if not isinstance(probe, dict) or not isinstance(there, int) or "snapshots" in probe:
            return study
        return study | {"probe": probe | {"snapshots": min(there, PROBED)}}

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
        systems = self.systems.values()
        for name, system in self.systems.items():
            if self.data.source == "simulation" and len(self.blocks(name)) > JOBS:
                raise ValueError(
                    f"data.block is {self.data.block}, which makes {len(self.blocks(name))} jobs a class for "
                    f"systems.{name}.trajectories = {system.trajectories}; raise it, to {JOBS} jobs or fewer"
                )
            self._split_fits(name)
            test = min(test for _, _, test in self.counts(name).values())
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
            called = [model.label or label for label, model in system.models.items()]
            if twice := [label for label in called if called.count(label) > 1]:
                raise ValueError(f"systems.{name}.models has two that are called {twice[0]!r} (label); rename one")
            for label, model in system.models.items():
                if "adam" in self.influence.solvers and (model.weights or 0 in model.probe_epochs):
                    of = "weights of others have" if model.weights else "epoch 0 has"
                    raise ValueError(f"systems.{name}.models.{label}: {of} no moments for 'adam'; drop either")
                if model.weights and self.fidelity and "adamw" in self.fidelity.kinds:
                    raise ValueError(
                        f"systems.{name}.models.{label}: weights of others have no moments for steps of AdamW; take "
                        "adamw out of fidelity.kinds"
                    )
                if any((other := s.models.get(label)) and bool(other.weights) != bool(model.weights) for s in systems):
                    raise ValueError(f"{label} is trained here in one system and elsewhere in another; rename one")
                self._call_fits(name, label)
            for c, t, b, u in (self.maps and self.maps.pairs) or ():
                require_known("maps.pairs", [c, b], tuple(name for s in self.systems for name in self.classes(s)))
                if (c in self.classes(name)) != (b in self.classes(name)):
                    raise ValueError(f"maps.pairs holds {c} with {b}, classes of two systems; a network knows only one")
                if max(t, u) > self.probe.snapshots - 2:
                    raise ValueError(
                        f"maps.pairs holds time {max(t, u)}; the last is {self.probe.snapshots - 2}, "
                        "as probe.snapshots counts both ends of the transitions"
                    )
                if min(t, u) < (first := self.history(name) - 1):
                    raise ValueError(
                        f"maps.pairs holds time {min(t, u)}; the first is {first}, where a network has its call.history"
                    )
            if self.cross:
                train = min(train for train, _, _ in self.counts(name).values())
                if self.cross.test > self.probe.batches or self.cross.train > train:
                    raise ValueError(
                        f"cross.test is {self.cross.test} and cross.train {self.cross.train}, but there are "
                        f"{self.probe.batches} probe batches and {train} training trajectories a class; lower them"
                        f"{', or leave cross out' * (not train)}"
                    )
        for key in ("coupling", "sensitivity", "symmetry", "fidelity", "leads"):
            if (part := getattr(self, key)) and (part.probes or 1) > self.probe.batches:
                raise ValueError(f"{key}.probes is above probe.batches, {self.probe.batches}; lower it")
        for key in ("line", "box"):
            if (found := getattr(self.symmetry, key, None)) and found >= max(self.data.grid):
                raise ValueError(
                    f"symmetry.{key} is {found}, but shifts go {max(self.data.grid) - 1} cells at most; lower it"
                )
        if self.leads:
            self._leads_fit(self.leads.steps)
        if self.remedies:
            self._remedies_fit(self.remedies)
        self._holds_out()
        require_trainable(self)
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

    def _holds_out(self) -> None:
        """Raise ValueError unless networks that are trained here are left something to train on."""
        held = self.split.held_out
        if held is None:
            return
        require_known("split.held_out.classes", held.classes, tuple(ic for s in self.systems for ic in self.classes(s)))
        last = self.probe.snapshots - 2
        if held.times and (held.times[1] > last or held.times == [0, last]):
            raise ValueError(
                f"split.held_out.times is {held.times}, but transitions start from times 0 to {last}; hold out some of "
                "them"
            )
        for name, system in self.systems.items():
            if not set(self.classes(name)) - set(held.classes):
                raise ValueError(f"split.held_out.classes holds every class of {name}; leave one to train on")
            if all(model.weights for model in system.models.values()):
                raise ValueError(
                    f"split.held_out is of networks that are trained here, and {name} has none; say what others were "
                    "trained on in split.trained"
                )
        if self.cross:
            raise ValueError(
                "cross is about trajectories that were trained on, some of which split.held_out leaves out; drop either"
            )

    def _leads_fit(self, steps: list[int]) -> None:
        """Raise ValueError unless some network is told its lead time, and two starts or more are left."""
        if not any(map(self.told_leads, self.systems)):
            raise ValueError("leads asks for networks that are told how far to predict; give one call.lead, or drop it")
        for name in self.systems:
            told = self.told_leads(name)
            if told and self.history(name, told) + max(steps) >= self.probe.snapshots:
                raise ValueError(
                    f"leads.steps holds {max(steps)}, which leaves fewer than two starts of probe.snapshots, "
                    f"{self.probe.snapshots}; raise that or lower it"
                )

    def _remedies_fit(self, asked: Remedies) -> None:
        """Raise ValueError unless every system has the baseline and arms beside it, early enough and with long runs."""
        for name, system in self.systems.items():
            require_known("remedies.baseline", [asked.baseline], tuple(system.models))
            if len(system.models) < 2:
                raise ValueError(f"remedies compares the models of systems.{name}, which has one; add another")
            if self.history(name) + asked.steps > self.data.snapshots:
                raise ValueError(
                    f"remedies.steps is {asked.steps}, but data.snapshots is {self.data.snapshots}, so that no rollout "
                    f"of systems.{name} is so long; lower it"
                )
            if asked.trajectories and asked.trajectories < self.probe.batches:
                raise ValueError(
                    f"remedies.trajectories is {asked.trajectories}, but those of probe.batches, {self.probe.batches}, "
                    "are rolled out anyway; raise it"
                )
            early = self.early(name)
            for label, model in system.models.items():
                if early not in model.probe_epochs or early == model.probe_epochs[-1]:
                    raise ValueError(
                        f"remedies looks ahead from epoch {early}, but systems.{name}.models.{label}.probe_epochs is "
                        f"{model.probe_epochs}; probe that and a later one, or say another in remedies.early"
                    )

    def _split_fits(self, name: str) -> None:
        """Raise ValueError where what was trained on must be known and is not, or leaves too little."""
        system, listed, counts = self.systems[name], self.split.listed(), self.counts(name)
        for label, model in system.models.items():
            if self.cross and self.held_out(model) is False:
                raise ValueError(
                    f"cross is about training trajectories, but those of systems.{name}.models.{label} are not known; "
                    "say them in split.trained, or leave cross out"
                )
            normalizes = model.weights and model.call and model.call.normalize
            told = self.split.trained != "unknown" and any(train for train, _, _ in counts.values())
            if normalizes and not told:
                raise ValueError(
                    f"systems.{name}.models.{label}.call.normalize is by what was trained on, but split.trained is "
                    "unknown or lists none of these data; give call.mean and call.std, or say it"
                )
            if model.weights and len(self.seeds) > 1 and "{seed}" not in model.weights.files:
                raise ValueError(
                    f"systems.{name}.models.{label}.weights names one network, but there are {len(self.seeds)} seeds, "
                    "which count as replicates; give {seed} in its place, or one seed"
                )
            on = {train for train, _, _ in counts.values()}
            if model.training and (len(on) > 1 or 0 in on):
                raise ValueError(
                    f"systems.{name}.models.{label} is trained here, on as many trajectories of each class, but "
                    f"split.trained leaves {', '.join(f'{train} of {ic}' for ic, (train, _, _) in counts.items())}"
                )
        if listed:
            known = tuple(ic for each in self.systems for ic in self.classes(each))
            require_known("split.trained", list(listed), known)
            if missing := set(counts) - set(listed):
                raise ValueError(f"split.trained lacks {min(missing)}; [] says that none of it was trained on")
        for ic, (train, validation, test) in counts.items():
            if test < 1:
                raise ValueError(
                    f"split.trained lists {train} of the {system.trajectories} trajectories of {ic}, which leaves too "
                    f"few: {validation} validate and one tests at least; raise systems.{name}.trajectories"
                )

    def _call_fits(self, name: str, label: str) -> None:
        """Raise ValueError for a call with numbers of other channels, or of more snapshots than are probed."""
        call, system = self.systems[name].models[label].call, self.system(name)
        where = f"systems.{name}.models.{label}.call"
        for key, of in call or ():
            channels = system.channels if key.startswith("output") else system.stored
            if isinstance(of, list) and len(of) != len(channels):
                raise ValueError(
                    f"{where}.{key} has {len(of)} numbers, but there are {len(channels)} channels, "
                    f"{', '.join(channels)}; give one for each"
                )
        if call and call.history + 2 > self.probe.snapshots:
            raise ValueError(
                f"{where}.history is {call.history}, which leaves fewer than two transitions of probe.snapshots, "
                f"{self.probe.snapshots}; raise that"
            )

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
            for ic in self.classes(name):
                if data.source == "pdegym" and system.trajectories > pdegym.SERIES[ic].trajectories:
                    raise ValueError(
                        f"systems.{name}.trajectories is {system.trajectories}, but {ic} has "
                        f"{pdegym.SERIES[ic].trajectories}; lower it"
                    )
        require_known(
            "data.skip_rows", list(data.skip_rows), tuple(ic for name in self.systems for ic in self.classes(name))
        )
        channels = tuple(channel for name in self.systems for channel in self.system(name).stored)
        require_known("data.channels", list(data.channels), channels)
        classes = [ic for name in self.systems for ic in self.classes(name)]
        if len(classes) > len(set(classes)):
            raise ValueError("systems share a class; list each system's own in systems.*.classes")


def check(config: dict[str, Any], source: str) -> Study:
    """The configuration as a Study. Raises UserError, one line for each key that is wrong."""
    try:
        require_bounded(config, source)
        return Study.model_validate(renamed(config, source))
    except ValidationError as error:
        raise UserError("\n".join(line(source, found) for found in error.errors())) from None
