"""The slice of the configuration that each stage reads: a change outside of it does not run the stage again."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from surroscope.config import methods
from surroscope.config.study import Study
from surroscope.data import pdegym
from surroscope.influence.solvers import SOLVERS

# The networks of arXiv 2509.00024.
PUBLISHED = {"surroscope.models.unet:build": "unet", "surroscope.models.vit:build": "vit"}
COST = {"observable": "smse", "step": "smse"}


def settings(study: Study, stage: str, **wildcards: str) -> str:
    """The slice that one job of `stage` reads, as JSON with sorted keys: the stage's Settings."""
    return json.dumps(SLICES[stage](study, **wildcards), sort_keys=True)


def simulate(study: Study, system: str, ic: str, block: str) -> dict[str, Any]:
    data, start = study.data, int(block) * study.data.block
    stop = min(start + data.block, study.systems[system].trajectories)
    keys = ("preset", "seed", "refinement", "snapshots")
    own = {"ic": ic, "start": start, "stop": stop, "size": data.grid[1]}
    return own | {key: getattr(data, key) for key in keys}


def listing(study: Study, system: str, ic: str) -> dict[str, Any]:
    files = pdegym.SERIES[ic].files(study.systems[system].trajectories)
    return {"ic": ic, "repo": f"{pdegym.OWNER}/{ic}", "revision": study.data.revision_of(ic), "files": files}


def download(study: Study, system: str, ic: str, file: str) -> dict[str, Any]:
    return {"ic": ic, "file": file, "revision": study.data.revision_of(ic)}


def ingest(study: Study, system: str, ic: str) -> dict[str, Any]:
    data = study.data
    equations = replace(study.system(system), title=system, conserved=(), vectors=())
    layout: dict[str, Any]
    origin: dict[str, str]
    match data.source:
        case "simulation":
            layout = {"format": "native", "channels": {c: f"state[{n}]" for n, c in enumerate(equations.channels)}}
            origin = {}  # the files say it themselves
        case "pdegym":
            layout = {"format": "xarray", "channels": pdegym.CHANNELS[system], "dimensions": pdegym.DIMENSIONS}
            layout |= {"time_step": pdegym.TIME_STEP}
            origin = {"source": "PDEGym (Herde et al. 2024, arXiv 2405.19101)"}
        case "files":
            channels = {name: data.channels.get(name, name) for name in equations.channels}
            layout = {"format": data.format, "channels": channels, "dimensions": data.dimensions}
            layout |= {"dtype": data.dtype, "time_step": data.time_step}
            origin = {"source": f"files of the study's own: {public(', '.join(data.files[ic]))}"}
    return {
        "ic": ic,
        "equations": asdict(equations),
        "grid": data.grid,
        "snapshots": data.snapshots,
        "trajectories": study.systems[system].trajectories,
        "origin": origin | {"ic": ic},
        "dimensions": [],
        "dtype": "float32",
        "time_step": None,
    } | layout


def split(study: Study, system: str, seed: str) -> dict[str, Any]:
    fractions = {"train": study.split.train, "validation": study.split.validation}
    return {"seed": int(seed), "classes": study.classes(system)} | fractions


def network(study: Study, system: str, model: str) -> dict[str, Any]:
    chosen = study.systems[system].models[model]
    made = {"factory": chosen.factory, "options": chosen.options}
    return {"system": system, "boundary": study.system(system).boundary, "model": model} | made


def train(study: Study, system: str, model: str, seed: str) -> dict[str, Any]:
    chosen = study.systems[system].models[model]
    return (
        network(study, system, model)
        | {"seed": int(seed), "snapshots": study.probe.snapshots, "save_epochs": chosen.probe_epochs}
        | dict(chosen.training)
    )


def calibrate(study: Study, system: str, model: str) -> dict[str, Any]:
    return network(study, system, model) | {"snapshots": study.probe.snapshots}


def linearize(
    study: Study, responses: list[dict[str, str]], system: str, model: str, seed: str, epoch: str
) -> dict[str, Any]:
    """What a linearization at a checkpoint for some responses takes: of the study's own observables only theirs."""
    names = {response[key] for response in responses for key in ("observable", "step")}
    chosen = study.gradients.method
    # Its title is of messages, its units are of the store, and its symmetries are told as actions: none of them is to
    # run a linearization again.
    equations = replace(study.system(system), title=system, units="", symmetries=())
    return calibrate(study, system, model) | {
        "equations": asdict(equations),
        "seed": int(seed),
        "epoch": int(epoch),
        "responses": responses,
        "observables": {name: made.model_dump() for name, made in study.observables.items() if name in names},
        "method": None if chosen == "measured" else dict(chosen),
    }


def gradients(study: Study, shard: str, **checkpoint: str) -> dict[str, Any]:
    probes = [["test", b] for b in range(study.probe.batches)][int(shard) :: study.gradients.shards]
    return linearize(study, study.responses(checkpoint["system"]), **checkpoint) | {
        "batches": probes,
        "directions": [],
        "every": 1,
        "span": study.influence.span,
    }


def cross_gradients(study: Study, shard: str, **checkpoint: str) -> dict[str, Any]:
    batches = study.cross_batches()
    assert study.cross
    return linearize(study, [COST], **checkpoint) | {
        "batches": [batches[int(shard)]],
        "directions": batches,
        "every": study.cross.every,
        "span": "perturbation",
    }


def reduce(study: Study, **checkpoint: str) -> dict[str, Any]:
    return {}


def influence(study: Study, **checkpoint: str) -> dict[str, Any]:
    keys = ("solvers", "span", "discarded_share", "damping", "damping_scale")
    return {key: getattr(study.influence, key) for key in keys}


def full(study: Study, **checkpoint: str) -> dict[str, Any]:
    keys = ("damping_scale", "tolerance", "max_iterations")
    return (
        linearize(study, study.responses(checkpoint["system"]), **checkpoint)
        | {"probes": list(range(study.probe.batches)), "dampings": [study.influence.damping]}
        | {"solvers": [name for name in study.influence.solvers if SOLVERS[name].needs == "network"]}
        | {key: getattr(study.influence, key) for key in keys}
    )


def full_sweep(study: Study, **checkpoint: str) -> dict[str, Any]:
    assert study.sensitivity
    return (
        full(study, **checkpoint)
        | linearize(study, [COST], **checkpoint)
        | {
            "probes": list(range(study.sensitivity.probes)),
            "dampings": study.sensitivity.full_dampings,
            "solvers": ["full"],
            "tolerance": study.sensitivity.tolerance,
            "max_iterations": study.sensitivity.max_iterations,
        }
    )


def sensitivity(study: Study, **checkpoint: str) -> dict[str, Any]:
    assert study.sensitivity
    rules = {key: getattr(study.influence, key) for key in ("discarded_share", "damping", "damping_scale")}
    return rules | {
        "reference": study.influence.solvers[0],
        "dampings": study.sensitivity.dampings,
        "probes": list(range(study.sensitivity.probes)),
    }


def cross(study: Study, **checkpoint: str) -> dict[str, Any]:
    keys = ("discarded_share", "damping", "damping_scale")
    return {key: getattr(study.influence, key) for key in keys}


def maps(study: Study, system: str, **checkpoint: str) -> dict[str, Any]:
    assert study.maps
    keys = ("discarded_share", "damping", "damping_scale")
    own = set(study.classes(system))
    pairs = [list(p) for p in study.maps.pairs or ()]
    pairs = [p for p in pairs if {p[0], p[2]} <= own] or typical_pairs(study, system)
    return {key: getattr(study.influence, key) for key in keys} | {"pairs": pairs}


def typical_pairs(study: Study, system: str) -> list[list[Any]]:
    """A step's own transition, its class a quarter of the horizon later, and another class at its time."""
    first, second, *_ = study.classes(system)
    steps = study.probe.snapshots - 1
    time, later = steps // 3, min(steps // 3 + max(1, steps // 4), steps - 1)
    return [[first, time, first, time], [first, later, first, time], [second, time, first, time]]


def evaluate(study: Study, system: str, model: str, seed: str, epoch: str) -> dict[str, Any]:
    return network(study, system, model) | {
        "equations": asdict(replace(study.system(system), title=system, units="", symmetries=())),
        "seed": int(seed),
        "epoch": int(epoch),
        "probes": study.probe.batches,
        "snapshots": study.probe.snapshots,
        "actions": study.actions(system),
    }


def orbits(study: Study, **checkpoint: str) -> dict[str, Any]:
    assert study.symmetry
    return linearize(study, [], **checkpoint) | {
        "probes": list(range(study.symmetry.probes)),
        "actions": study.actions(checkpoint["system"]),
    }


def tables(study: Study, system: str) -> dict[str, Any]:
    return {
        "system": system,
        "models": list(study.systems[system].models),
        "architectures": {
            name: PUBLISHED.get(model.factory, "") for name, model in study.systems[system].models.items()
        }
        if study.systems[system].equations is None
        else {},
        "normalization": study.influence.normalization,
    }


def figures(study: Study, system: str, figure: str) -> dict[str, Any]:
    shown = {"models": list(study.systems[system].models), "last_training_snapshot": study.probe.snapshots - 1}
    return {"figure": figure} | shown | dict(study.figures)


def report(study: Study, command: str, n: str, unit: str) -> dict[str, Any]:
    titles = {name: study.system(name).title for name in study.systems}
    config = json.loads(public(study.model_dump_json(exclude_none=True, exclude={"dask"})))
    # A list, since the keys of settings are sorted.
    told = json.loads(public(json.dumps(list(methods.sections(study).items()))))
    return {"config": config, "titles": titles, "methods": told, "command": public(command), "n": n, "unit": unit}


def public(text: str) -> str:
    """Text that goes into manifests and reports: without the home folder of whoever runs the study."""
    home = os.path.expanduser("~").rstrip(os.sep)
    return re.sub(rf"(?<![\w.~/-]){re.escape(home)}(?=/)", "~", text) if home else text


SLICES: dict[str, Callable[..., dict[str, Any]]] = {
    stage.__name__: stage
    for stage in (
        *(simulate, listing, download, ingest, split, train, calibrate, gradients, reduce, full, influence),
        *(full_sweep, sensitivity, cross_gradients, cross, maps, orbits, evaluate, tables, figures, report),
    )
}
