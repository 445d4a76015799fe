"""What each job reads of the configuration, stated once: the settings of its stage, and how a study fills them in.

The values are the job's `--settings` and a parameter of its rule: a change outside of them does not run the job again.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

from surroscope.config import data, methods, sections
from surroscope.config.checkpoint_jobs import (
    Adopt,
    Calibrate,
    Contract,
    Coupling,
    Cross,
    CrossGradients,
    Evaluate,
    Fidelity,
    Full,
    FullSweep,
    Gradients,
    Influence,
    Leads,
    Maps,
    Orbits,
    Reduce,
    Sensitivity,
    Validate,
)
from surroscope.config.job import Job
from surroscope.config.stores import stores
from surroscope.config.study import Study
from surroscope.config.training_jobs import Retrain, Train
from surroscope.config.weights import digest
from surroscope.data import pdegym
from surroscope.data.splits import Listed
from surroscope.system import System

# The networks of arXiv 2509.00024.
PUBLISHED = {"surroscope.models.unet:build": "unet", "surroscope.models.vit:build": "vit"}


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
    skip_rows: dict[str, list[int]] = {}
    origin: dict[str, Any]

    @classmethod
    def of(cls, study: Study, system: str, ic: str) -> Self:
        whole = study.system(system)
        looked_at = tuple(v for v in whole.vectors if len(v) == 2 and study.data.orientation == "check")
        # The store has what is constant as channels like any other.
        equations = replace(whole, channels=whole.stored, title=system, conserved=(), vectors=looked_at)
        layout: dict[str, Any]
        origin: dict[str, str]
        match study.data.source:
            case "simulation":
                layout = {"format": "native", "channels": {c: f"state[{n}]" for n, c in enumerate(equations.channels)}}
                origin = {}  # the files say it themselves
            case "pdegym":
                theirs = pdegym.CHANNELS[system]
                channels = {name: study.data.channels.get(name, text) for name, text in theirs.items()}
                layout = {"channels": channels, "dimensions": pdegym.DIMENSIONS}
                layout |= {"time_step": pdegym.TIME_STEP}
                origin = {"source": "PDEGym (Herde et al. 2024, arXiv 2405.19101)"}
            case "files":
                channels = study.data.channels
                layout = {"channels": {name: channels.get(name, name) for name in whole.stored}}
                origin = {"source": f"files of the study's own: {public(', '.join(study.data.files[ic]))}"}
        return cls.take(
            study.data,
            study.systems[system],
            **{"ic": ic, "equations": equations, "grid": study.data.grid, "origin": origin | {"ic": ic}} | layout,
            skip_rows=study.data.skip_rows.get(ic, {}),
        )


class Split(Job):
    """trained: what networks were trained on elsewhere, of each class as numbers or as text; None: what `train` says

    listed: where a file lists that, its SHA-256
    """

    seed: int
    classes: list[str]
    trajectories: int
    train: float
    validation: float
    trained: Listed | None = None
    listed: str = ""

    @classmethod
    def of(cls, study: Study, system: str, seed: str) -> Self:
        known: dict[str, Any] = {"seed": seed, "classes": study.classes(system), "trained": None}
        match study.split.trained:
            case "none":
                known["trained"] = {}
            case dict(trained):
                known["trained"] = {ic: trained[ic] for ic in known["classes"]}
            case _:
                known["listed"] = "".join(map(digest, study.split.files))
        return cls.take(study.split, study.systems[system], **known)


class Tables(Job):
    """architectures: model -> the architecture of arXiv 2509.00024 that it is: unet, vit or neither

    shares: model -> what it is known to share between classes and between times, of those of which it is known
    held_out: of a model that was trained elsewhere, whether it is known not to have seen probe trajectories
    without: what networks that are trained here are not trained on, see `Train`
    shared_lags: whether the half-life counts those at which transitions share snapshots that a network is given
    unseen: classes of which nothing is trained on
    """

    system: str
    models: list[str]
    architectures: dict[str, str]
    normalization: str
    shares: dict[str, dict[str, float]]
    held_out: dict[str, bool] = {}
    without: list[tuple[str, int, int]] = []
    solver: str
    shared_lags: str
    remedies: sections.Remedies | None = None
    unseen: list[str] = []

    @classmethod
    def of(cls, study: Study, system: str) -> Self:
        models, theirs = study.systems[system].models, study.systems[system].equations is None
        architectures = {name: PUBLISHED.get(model.factory, "") for name, model in models.items() if theirs}
        shares = {name: dict(model.shares) for name, model in models.items() if model.shares}
        held_out = {name: known for name, model in models.items() if (known := study.held_out(model)) is not None}
        found: dict[str, Any] = {
            "models": list(models),
            "architectures": architectures,
            "shares": shares,
            "held_out": held_out,
            "without": study.unseen(system),
            "unseen": [
                ic for ic in study.classes(system) if study.split.held_out and ic in study.split.held_out.classes
            ],
        }
        if study.remedies:
            found["remedies"] = study.remedies.model_copy(update={"early": study.early(system)})
        return cls.take(study.influence, system=system, solver=study.influence.solvers[0], **found)


class Figures(sections.Figures, Job):
    """labels: model -> what figures call it, where that is not its name"""

    models: list[str]
    labels: dict[str, str] = {}
    last_training_snapshot: int

    @classmethod
    def of(cls, study: Study, system: str) -> Self:
        last = study.probe.snapshots - 1
        models = study.systems[system].models
        labels = {name: model.label for name, model in models.items() if model.label}
        return cls.take(study.figures, models=list(models), labels=labels, last_training_snapshot=last)


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
        *(
            Simulate,
            Listing,
            Download,
            Ingest,
            Split,
            Contract,
            Train,
            Retrain,
            Adopt,
            Validate,
            Calibrate,
            Gradients,
            Reduce,
            Coupling,
            Full,
            Influence,
        ),
        *(
            FullSweep,
            Sensitivity,
            CrossGradients,
            Cross,
            Maps,
            Orbits,
            Evaluate,
            Fidelity,
            Leads,
            Tables,
            Figures,
            Report,
        ),
    )
}


def settings(study: Study, job: str, **wildcards: str) -> str:
    """What one job of this name reads, as JSON with sorted keys."""
    return json.dumps(JOBS[job].of(study, **wildcards).model_dump(mode="json"), sort_keys=True)


def public(text: str) -> str:
    """Text that goes into manifests and reports: without the home folder of whoever runs the study."""
    home = os.path.expanduser("~").rstrip(os.sep)
    return re.sub(rf"(?<![\w.~/-]){re.escape(home)}(?=/)", "~", text) if home else text
