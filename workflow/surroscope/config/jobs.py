"""What each job reads of the configuration, stated once: the settings of its stage, and how a study fills them in.

The values are the job's `--settings` and a parameter of its rule: a change outside of them does not run the job again.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from surroscope.config import data, methods, sections
from surroscope.config.base import Section
from surroscope.config.study import Study
from surroscope.data import pdegym
from surroscope.influence.responses import Response
from surroscope.influence.solvers import SOLVERS
from surroscope.observables import catalogue
from surroscope.system import System

# The networks of arXiv 2509.00024.
PUBLISHED = {"surroscope.models.unet:build": "unet", "surroscope.models.vit:build": "vit"}
COST = {"observable": "smse", "step": "smse"}


class Job(Section):
    """Settings of a stage."""

    model_config = ConfigDict(strict=False)

    @classmethod
    def take(cls, *sources: BaseModel, **values: Any) -> Self:
        """Fields by their names from sections of the configuration, the later ones first, and from `values`."""
        named = {name: value for source in sources for name, value in source if name in cls.model_fields}
        return cls(**named | values)


class Simulate(data.Generation, Job):
    ic: str
    start: int
    stop: int
    size: int
    snapshots: int

    @classmethod
    def of(cls, study: Study, system: str, ic: str, block: str) -> Self:
        start = int(block) * study.data.block
        stop = min(start + study.data.block, study.systems[system].trajectories)
        return cls.take(study.data, ic=ic, start=start, stop=stop, size=study.data.grid[1])


class Listing(Job):
    ic: str
    repo: str
    revision: str
    files: list[str]

    @classmethod
    def of(cls, study: Study, system: str, ic: str) -> Self:
        files = pdegym.SERIES[ic].files(study.systems[system].trajectories)
        return cls(ic=ic, repo=f"{pdegym.OWNER}/{ic}", revision=study.data.revision_of(ic), files=files)


class Download(Job):
    ic: str
    file: str
    revision: str

    @classmethod
    def of(cls, study: Study, system: str, ic: str, file: str) -> Self:
        return cls(ic=ic, file=file, revision=study.data.revision_of(ic))


class Ingest(data.Layout, Job):
    """grid: (Y, X) of the store, which divides that of the files; origin: attributes of the store"""

    ic: str
    equations: System
    format: str
    grid: tuple[int, int]
    snapshots: int
    trajectories: int
    origin: dict[str, Any]

    @classmethod
    def of(cls, study: Study, system: str, ic: str) -> Self:
        equations = replace(study.system(system), title=system, conserved=(), vectors=())
        layout: dict[str, Any]
        origin: dict[str, str]
        match study.data.source:
            case "simulation":
                layout = {"format": "native", "channels": {c: f"state[{n}]" for n, c in enumerate(equations.channels)}}
                origin = {}  # the files say it themselves
            case "pdegym":
                layout = {"channels": pdegym.CHANNELS[system], "dimensions": pdegym.DIMENSIONS}
                layout |= {"time_step": pdegym.TIME_STEP}
                origin = {"source": "PDEGym (Herde et al. 2024, arXiv 2405.19101)"}
            case "files":
                channels = study.data.channels
                layout = {"channels": {name: channels.get(name, name) for name in equations.channels}}
                origin = {"source": f"files of the study's own: {public(', '.join(study.data.files[ic]))}"}
        return cls.take(
            study.data,
            study.systems[system],
            **{"ic": ic, "equations": equations, "grid": study.data.grid, "origin": origin | {"ic": ic}} | layout,
        )


class Split(sections.Split, Job):
    seed: int
    classes: list[str]

    @classmethod
    def of(cls, study: Study, system: str, seed: str) -> Self:
        return cls.take(study.split, seed=seed, classes=study.classes(system))


class Network(Job):
    """A stage that builds a network."""

    system: str
    boundary: str
    model: str
    factory: str
    options: dict[str, Any]


def network(study: Study, system: str, model: str) -> dict[str, Any]:
    architecture = study.systems[system].models[model]
    made = {"factory": architecture.factory, "options": architecture.options}
    return {"system": system, "boundary": study.system(system).boundary, "model": model} | made


class Train(sections.Training, Network):
    seed: int
    snapshots: int
    save_epochs: list[int]

    @classmethod
    def of(cls, study: Study, system: str, model: str, seed: str) -> Self:
        trained = study.systems[system].models[model]
        values = network(study, system, model) | {"seed": seed, "save_epochs": trained.probe_epochs}
        return cls.take(study.probe, trained.training, **values)


class Calibrate(Network):
    snapshots: int

    @classmethod
    def of(cls, study: Study, system: str, model: str) -> Self:
        return cls.take(study.probe, **network(study, system, model))


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
    method: sections.Method | None


def linearized(study: Study, responses: list[dict[str, str]], **wildcards: str) -> dict[str, Any]:
    names = sorted({response[key] for response in responses for key in ("observable", "step")} - {catalogue.COST})
    system, method = study.system(wildcards["system"]), study.gradients.method
    return checkpoint(study, **wildcards) | {
        "responses": responses,
        "observables": {
            name: study.observables[name].model_dump()
            if name in study.observables
            else catalogue.factory_of(name, system)
            for name in names
        },
        "method": {"fixed": sections.Method(), "measured": None}[method] if isinstance(method, str) else method,
    }


class Gradients(Linearized):
    """batches: (part, number) of each; directions: those whose gradients are pushed forward; none: its own"""

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
        values = linearized(study, [COST], **wildcards) | {"batches": [batches[int(shard)]], "directions": batches}
        return cls.take(study.cross, **values, span="perturbation")


class Reduce(Job):
    """None: what is contracted follows from the shards."""

    @classmethod
    def of(cls, study: Study, **wildcards: str) -> Self:
        return cls()


class Influence(sections.Rules, Job):
    solvers: list[str]
    span: str

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
        values = linearized(study, [COST], **wildcards)
        values |= {"probes": [*range(study.sensitivity.probes)], "dampings": study.sensitivity.full_dampings}
        return cls.take(study.influence, study.sensitivity, **values | {"solvers": ["full"]})


class Sensitivity(sections.Rules, Job):
    reference: str
    dampings: list[float]
    probes: list[int]

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
    pairs: list[tuple[str, int, str, int]]

    @classmethod
    def of(cls, study: Study, system: str, **wildcards: str) -> Self:
        assert study.maps
        own = set(study.classes(system))
        pairs = [pair for pair in study.maps.pairs or () if {pair[0], pair[2]} <= own]
        return cls.take(study.influence, pairs=pairs or typical_pairs(study, system))


def typical_pairs(study: Study, system: str) -> list[tuple[str, int, str, int]]:
    """A step's own transition, its class a quarter of the horizon later, and another class at its time."""
    first, second, *_ = study.classes(system)
    steps = study.probe.snapshots - 1
    time, later = steps // 3, min(steps // 3 + max(1, steps // 4), steps - 1)
    return [(first, time, first, time), (first, later, first, time), (second, time, first, time)]


class Evaluate(Checkpoint):
    probes: int
    actions: list[str]

    @classmethod
    def of(cls, study: Study, **wildcards: str) -> Self:
        actions = study.actions(wildcards["system"])
        return cls(**checkpoint(study, **wildcards), probes=study.probe.batches, actions=actions)


class Orbits(Linearized):
    probes: list[int]
    actions: list[str]

    @classmethod
    def of(cls, study: Study, **wildcards: str) -> Self:
        assert study.symmetry
        probes, actions = [*range(study.symmetry.probes)], study.actions(wildcards["system"])
        return cls(**linearized(study, [], **wildcards), probes=probes, actions=actions)


class Tables(Job):
    """architectures: model -> the architecture of arXiv 2509.00024 that it is: unet, vit or neither"""

    system: str
    models: list[str]
    architectures: dict[str, str]
    normalization: str

    @classmethod
    def of(cls, study: Study, system: str) -> Self:
        models, theirs = study.systems[system].models, study.systems[system].equations is None
        architectures = {name: PUBLISHED.get(model.factory, "") for name, model in models.items() if theirs}
        return cls.take(study.influence, system=system, models=list(models), architectures=architectures)


class Figures(sections.Figures, Job):
    models: list[str]
    last_training_snapshot: int

    @classmethod
    def of(cls, study: Study, system: str) -> Self:
        last = study.probe.snapshots - 1
        models = list(study.systems[system].models)
        return cls.take(study.figures, models=models, last_training_snapshot=last)


class Report(Job):
    config: dict[str, Any]
    stores: list[tuple[str, list[int], list[int]]]
    titles: dict[str, str]
    methods: list[tuple[str, list[str]]]
    command: str
    n: str
    unit: str

    @classmethod
    def of(cls, study: Study, command: str, n: str, unit: str) -> Self:
        titles = {name: study.system(name).title for name in study.systems}
        config = json.loads(public(study.model_dump_json(exclude_none=True, exclude={"dask"})))
        # A list, since the keys of settings are sorted.
        told = json.loads(public(json.dumps(list(methods.sections(study).items()))))
        texts = {"titles": titles, "methods": told, "command": public(command), "n": n, "unit": unit}
        return cls(config=config, stores=stores(study), **texts)


JOBS: Mapping[str, Any] = {
    re.sub(r"(?<!^)(?=[A-Z])", "_", job.__name__).lower(): job
    for job in (
        *(Simulate, Listing, Download, Ingest, Split, Train, Calibrate, Gradients, Reduce, Full, Influence),
        *(FullSweep, Sensitivity, CrossGradients, Cross, Maps, Orbits, Evaluate, Tables, Figures, Report),
    )
}


def settings(study: Study, job: str, **wildcards: str) -> str:
    """What one job of this name reads, as JSON with sorted keys."""
    return json.dumps(JOBS[job].of(study, **wildcards).model_dump(mode="json"), sort_keys=True)


def stores(study: Study) -> list[tuple[str, list[int], list[int]]]:
    """The stores that a study keeps below results/{study}: a pattern of {seed} and {epoch}, its seeds, its epochs."""
    everywhere = ["grams", "influence", "evaluation"]
    if {"full", "dense"} & set(study.influence.solvers):
        everywhere.append("full")
    if study.gradients.keep:
        everywhere += [f"gradients/shard{shard}" for shard in range(study.gradients.shards)]
    last = {"cross": study.seeds_of("cross"), "maps": study.seeds_of("maps")}
    if study.sensitivity and study.sensitivity.full_dampings:
        last["full_sweep"] = study.seeds_of("sensitivity")
    found: list[tuple[str, list[int], list[int]]] = []
    for system, chosen in study.systems.items():
        images = {"orbits": study.seeds_of("symmetry")} if len(study.actions(system)) > 1 else {}
        for model, network in chosen.models.items():
            epochs, checkpoint = network.probe_epochs, f"{system}/{model}/seed{{seed}}"
            found.append((f"{checkpoint}/weights", study.seeds, epochs[-1:]))
            found += [(f"{checkpoint}/epoch{{epoch}}/{name}.zarr", study.seeds, epochs) for name in everywhere]
            for name, seeds in (last | images).items():
                found += [(f"{checkpoint}/epoch{{epoch}}/{name}.zarr", seeds, epochs[-1:])] * bool(seeds)
    return found


def public(text: str) -> str:
    """Text that goes into manifests and reports: without the home folder of whoever runs the study."""
    home = os.path.expanduser("~").rstrip(os.sep)
    return re.sub(rf"(?<![\w.~/-]){re.escape(home)}(?=/)", "~", text) if home else text
