"""Settings of the jobs that look at one checkpoint; `jobs` has the others."""

from dataclasses import replace
from typing import Any, Literal, Self

from surroscope.config import sections
from surroscope.config.job import Job, Network, network, strategic
from surroscope.config.networks import Factory
from surroscope.config.study import Study
from surroscope.config.weights import digest
from surroscope.influence.responses import Response
from surroscope.influence.solvers import SOLVERS
from surroscope.observables import COST, catalogue
from surroscope.system import System

COST_ON_ITSELF = {"observable": COST, "step": COST}


class Calibrate(Network):
    snapshots: int

    @classmethod
    def of(cls, study: Study, system: str, model: str) -> Self:
        return cls.take(study.probe, **network(study, system, model))


def shape(study: Study, system: str) -> tuple[int, int, int]:
    """Of a snapshot in the store, (C, Y, X)."""
    return len(study.system(system).stored), *study.data.grid


class Contract(Network):
    """shape: of a snapshot in the store, (C, Y, X)"""

    shape: tuple[int, int, int]
    snapshots: int
    method: sections.Method | Literal["fixed", "measured"] = "fixed"
    strategy: Factory | None = None
    equations: System | None = None

    @classmethod
    def of(cls, study: Study, system: str, model: str) -> Self:
        values = network(study, system, model) | {"shape": shape(study, system), "method": study.gradients.method}
        values |= {"equations": strategic(study, system, model)}
        if training := study.systems[system].models[model].training:
            values |= {"strategy": training.strategy}
        return cls.take(study.probe, **values)


class Adopt(Network):
    """shape: of a snapshot in the store, (C, Y, X); file: the SHA-256 of the weights of the epoch"""

    shape: tuple[int, int, int]
    snapshots: int
    seed: int
    epoch: int
    file: str
    entry: str
    prefix: str | None
    pickled: bool
    loader: str | None

    @classmethod
    def of(cls, study: Study, system: str, model: str, seed: str, epoch: str) -> Self:
        saved = study.systems[system].models[model].weights
        assert saved
        values = network(study, system, model) | {"shape": shape(study, system), "seed": seed, "epoch": epoch}
        return cls.take(study.probe, saved, **values, file=digest(study.weights(system, model, int(seed), int(epoch))))


class Validate(Network):
    seed: int
    epochs: list[int]
    snapshots: int
    channels: tuple[str, ...]

    @classmethod
    def of(cls, study: Study, system: str, model: str, seed: str) -> Self:
        values = network(study, system, model) | {"seed": seed, "channels": study.system(system).channels}
        return cls.take(study.probe, **values, epochs=study.systems[system].models[model].probe_epochs)


class Checkpoint(Network):
    """A stage that looks at a trained network."""

    equations: System
    seed: int
    epoch: int
    snapshots: int


def checkpoint(study: Study, system: str, model: str, seed: str, epoch: str) -> dict[str, Any]:
    # Its title is of messages, its units are of the store, and its symmetries are told as actions: none of them is to
    # run a stage again.
    equations = replace(study.system(system), title=system, units="", symmetries=())
    where = {"equations": equations, "seed": seed, "epoch": epoch, "snapshots": study.probe.snapshots}
    return network(study, system, model) | where


class Linearized(Checkpoint):
    """A stage that differentiates it. observables: those of the responses but the cost, by their factories"""

    observables: dict[str, dict[str, Any]]
    responses: list[Response]
    method: sections.Method | Literal["fixed", "measured"]


def linearized(study: Study, responses: list[dict[str, str]], **wildcards: str) -> dict[str, Any]:
    names = sorted({response[key] for response in responses for key in ("observable", "step")} - {COST})
    system = study.system(wildcards["system"])
    return checkpoint(study, **wildcards) | {
        "responses": responses,
        "observables": {
            name: study.observables[name].model_dump()
            if name in study.observables
            else catalogue.factory_of(name, system)
            for name in names
        },
        "method": study.gradients.method,
    }


class Gradients(Linearized):
    """batches: (part, number) of each; directions: those whose gradients are pushed forward, if any but its own"""

    batches: list[tuple[str, int]]
    directions: list[tuple[str, int]]
    every: int
    span: str

    @classmethod
    def of(cls, study: Study, shard: str, **wildcards: str) -> Self:
        batches = [("test", b) for b in range(study.probe.batches)][int(shard) :: study.gradients.shards]
        values = linearized(study, study.responses(wildcards["system"]), **wildcards)
        return cls.take(study.influence, **values, batches=batches, directions=[], every=1)


class CrossGradients(Gradients):
    @classmethod
    def of(cls, study: Study, shard: str, **wildcards: str) -> Self:
        assert study.cross
        batches = study.cross_batches()
        values = linearized(study, [COST_ON_ITSELF], **wildcards) | {
            "batches": [batches[int(shard)]],
            "directions": batches,
        }
        return cls.take(study.cross, **values, span="perturbation")


class Coupling(Linearized):
    """probes: numbers of the probe batches; untrained_probes: in how many of them the untrained network is looked at"""

    probes: list[int]
    untrained_probes: int
    draws: int
    patterns: int
    noises: list[float]

    @classmethod
    def of(cls, study: Study, **wildcards: str) -> Self:
        probes = [*range(study.coupling.probes or study.probe.batches)]
        values = linearized(study, [], **wildcards) | {"probes": probes}
        model = study.systems[wildcards["system"]].models[wildcards["model"]]
        # Of weights of others at every epoch: it may be the last until another comes, and is not looked at again then.
        last = bool(model.weights) or int(wildcards["epoch"]) == model.probe_epochs[-1]
        untrained = min(study.coupling.untrained_probes, len(probes)) if last else 0
        return cls.take(study.coupling, **values | {"untrained_probes": untrained})


class Reduce(Job):
    """No settings: the shards say what is contracted."""

    @classmethod
    def of(cls, study: Study, **wildcards: str) -> Self:
        return cls()


class Influence(sections.Rules, Job):
    solvers: list[str]
    span: str
    modes: int

    @classmethod
    def of(cls, study: Study, **wildcards: str) -> Self:
        return cls.take(study.influence)


class Full(sections.Iterations, Linearized):
    probes: list[int]
    dampings: list[float]
    damping_scale: str
    solvers: list[str]

    @classmethod
    def of(cls, study: Study, **wildcards: str) -> Self:
        values = linearized(study, study.responses(wildcards["system"]), **wildcards)
        values |= {"probes": [*range(study.probe.batches)], "dampings": [study.influence.damping]}
        solvers = [name for name in study.influence.solvers if SOLVERS[name].needs == "network"]
        return cls.take(study.influence, **values | {"solvers": solvers})


class FullSweep(Full):
    @classmethod
    def of(cls, study: Study, **wildcards: str) -> Self:
        assert study.sensitivity
        values = linearized(study, [COST_ON_ITSELF], **wildcards)
        values |= {"probes": [*range(study.sensitivity.probes)], "dampings": study.sensitivity.full_dampings}
        return cls.take(study.influence, study.sensitivity, **values | {"solvers": ["full"]})


class Sensitivity(sections.Rules, Job):
    reference: str
    dampings: list[float]
    probes: list[int]
    shared_lags: str

    @classmethod
    def of(cls, study: Study, **wildcards: str) -> Self:
        assert study.sensitivity
        probes, reference = [*range(study.sensitivity.probes)], study.influence.solvers[0]
        return cls.take(study.influence, study.sensitivity, probes=probes, reference=reference)


class Cross(sections.Rules, Job):
    @classmethod
    def of(cls, study: Study, **wildcards: str) -> Self:
        return cls.take(study.influence)


class Maps(sections.Rules, Job):
    """pairs: what figures show; grid: transitions, classes with times, between all of which the page has responses"""

    pairs: list[tuple[str, int, str, int]]
    grid: list[tuple[str, int]]

    @classmethod
    def of(cls, study: Study, system: str, **wildcards: str) -> Self:
        assert study.maps
        own = set(study.classes(system))
        pairs = [pair for pair in study.maps.pairs or () if {pair[0], pair[2]} <= own]
        return cls.take(study.influence, pairs=pairs or typical_pairs(study, system), grid=spread_out(study, system))


def spread_out(study: Study, system: str) -> list[tuple[str, int]]:
    """As many times of each class, evenly spread, as make a dozen transitions of all of them; one of each at least."""
    classes = study.classes(system)
    start = study.history(system) - 1
    horizon = study.probe.snapshots - 1 - start
    count = min(max(1, 12 // len(classes)), horizon)
    times = [start + horizon * (2 * k + 1) // (2 * count) for k in range(count)]
    return [(name, time) for name in classes for time in times]


def typical_pairs(study: Study, system: str) -> list[tuple[str, int, str, int]]:
    """A step's own transition, its class a quarter of the horizon later, and another class at its time."""
    first, *others = study.classes(system)
    start, last = study.history(system) - 1, study.probe.snapshots - 2
    time = start + (last + 1 - start) // 3
    later = min(time + max(1, (last + 1 - start) // 4), last)
    return [(first, time, first, time), (first, later, first, time), *((ic, time, first, time) for ic in others[:1])]


class Evaluate(Checkpoint):
    """further: trajectories of each class that are rolled out beside those of the probe batches"""

    probes: int
    further: int = 0
    actions: list[str]

    @classmethod
    def of(cls, study: Study, **wildcards: str) -> Self:
        system, probes = wildcards["system"], study.probe.batches
        values = {"probes": probes, "actions": study.actions(system)}
        if study.remedies:
            test = min(test for _, _, test in study.counts(system).values())
            values["further"] = max(0, min(study.remedies.trajectories or test, test) - probes)
        return cls(**checkpoint(study, **wildcards) | values)


class Orbits(Linearized):
    probes: list[int]
    actions: list[str]

    @classmethod
    def of(cls, study: Study, **wildcards: str) -> Self:
        assert study.symmetry
        probes, actions = [*range(study.symmetry.probes)], study.actions(wildcards["system"])
        return cls(**linearized(study, [], **wildcards), probes=probes, actions=actions)


class Leads(sections.Rules, Linearized):
    probes: list[int]
    steps: list[int]

    @classmethod
    def of(cls, study: Study, **wildcards: str) -> Self:
        assert study.leads
        values = linearized(study, [COST_ON_ITSELF], **wildcards) | {"probes": [*range(study.leads.probes)]}
        return cls.take(study.influence, **values, steps=study.leads.steps)


class Fidelity(sections.Rules, sections.Iterations, Linearized):
    """damping: of the study, within the span; full_damping: of steps in all parameters"""

    batches: list[int]
    every: int
    kinds: list[str]
    falls: list[float]
    full_damping: float
    pbrf: int

    @classmethod
    def of(cls, study: Study, **wildcards: str) -> Self:
        assert study.fidelity
        values = linearized(study, [COST_ON_ITSELF], **wildcards)
        return cls.take(study.influence, study.fidelity, **values, batches=[*range(study.fidelity.probes)])
