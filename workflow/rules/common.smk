import json
import os
import re
import shlex
import sys
from pathlib import Path

# Relative, so that a project that was moved or copied is still up to date.
SOURCES = os.path.relpath(Path(workflow.current_basedir).parent)
sys.path.insert(0, os.path.abspath(SOURCES))

from surroscope.runtime.environment import prepare, working_folder_last

# Snakemake puts the folders of its files first, which may be this one.
working_folder_last()

from surroscope.data import pdegym
from surroscope.runtime import configuration, cost, fingerprint, provenance, sessions, slurm
from surroscope.influence.normalize import UNITS
from surroscope.influence.solvers import SOLVERS
from surroscope.report.catalogue import MODULES, caption, figure, figures_for, tables_for
from surroscope.config import jobs, memory
from surroscope.config.retraining import members
from surroscope.config.study import check
from surroscope.errors import UserError

AT = Path(SOURCES).resolve()
ALONE = Path(workflow.main_snakefile).resolve().parent in (AT, AT.parent)
prepare(AT, alone=ALONE)
# Before Snakemake takes its lock. Jobs have Snakemakes of their own, which are not meant.
if workflow.is_main_process and not workflow.output_settings.dryrun:
    sessions.arrive()
    slurm.keep_watch()


def near(path):
    """A path relative to the working directory if it is below that, else in full."""
    relative = os.path.relpath(path)
    return os.path.abspath(path) if relative.startswith("..") else relative


CONFIGURATION = " ".join(map(near, workflow.configfiles)) or "config"
# Snakemake finds these by itself.
FOUND = any(os.path.abspath(place) == workflow.main_snakefile for place in ("Snakefile", "workflow/Snakefile"))
ELSEWHERE = "" if FOUND else f" --directory {os.getcwd()}"
AGAIN = f"snakemake --cores all{ELSEWHERE}" + (f" --configfile {CONFIGURATION}" if workflow.configfiles else "")
try:
    for PLACE in workflow.configfiles if ALONE and workflow.is_main_process else ():
        configuration.read(Path(PLACE))
    STUDY = check(config, CONFIGURATION)
    for key, factory in STUDY.factories().items():
        try:
            fingerprint.of_code(factory.module)
        except UserError as error:
            raise UserError(f"{CONFIGURATION}: {key}.factory: {error}") from None
    FILES = STUDY.data.paths()
    for PUBLISHED in STUDY.published():
        from surroscope.data import published  # what few plans need

        published.fetch(*PUBLISHED)
    for name, chosen in STUDY.systems.items():
        for label, model in chosen.models.items():
            for seed, epoch in ((s, e) for s in STUDY.seeds for e in model.probe_epochs if model.weights):
                STUDY.weights(name, label, seed, epoch)
except UserError as error:
    raise WorkflowError(f"the configuration is not valid:\n{error}") from None

RESULTS = f"results/{STUDY.study}"
CHECKPOINT = f"{RESULTS}/{{system}}/{{model}}/seed{{seed}}"
EPOCH = f"{CHECKPOINT}/epoch{{epoch}}"
RETRAINED = f"{CHECKPOINT}/retraining/{{member}}.zarr"
NETWORK = f"{RESULTS}/{{system}}/{{model}}"
CALIBRATION = f"{NETWORK}/linearization.json"
MEASURED = CALIBRATION if STUDY.gradients.method == "measured" else []
RAW = f"data/raw/{STUDY.data.dataset}/{{system}}/{{ic}}"
STORE = f"data/store/{STUDY.data.dataset}/{{system}}/{{ic}}.zarr"
SPLIT = f"{RESULTS}/{{system}}/splits/seed{{seed}}.json"
REPORT = f"{RESULTS}/report.html"
PROVENANCE = f"{RESULTS}/provenance.json"
SAMPLE_SIZE = STUDY.sample_size
UNIT = UNITS[STUDY.influence.normalization][1]
TABLES = tables_for({part for system in STUDY.systems for part in STUDY.parts(system)})
MODELS = {name: model for system in STUDY.systems.values() for name, model in system.models.items()}
ADOPTED = [name for name, model in MODELS.items() if model.weights]


def one_of(names):
    """A pattern of these names; of nothing where there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    system=one_of(STUDY.systems),
    model=one_of(MODELS),
    seed=r"\d+",
    epoch=r"\d+",
    shard=r"\d+",
    block=r"\d+",


def settings(name, **fixed):
    """What a job of this name reads of the configuration, as JSON: a change of it reruns the job."""
    return lambda wildcards: jobs.settings(STUDY, name, **wildcards, **fixed)


def code(stage, settings, modules=()):
    """The fingerprint of the code that a job runs. modules: those that its stage runs by name"""
    return lambda wildcards: fingerprint.of_stage(stage, json.loads(settings(wildcards)), *modules)


def files(wildcards, input, output):
    """Options of a stage: each of its rule's inputs and outputs that has a name, unless it is empty."""
    named = [(name, [paths] if isinstance(paths, str) else paths) for name, paths in [*input.items(), *output.items()]]
    options = [f"--{name} {shlex.join(paths)}" for name, paths in named if paths]
    if data := input.get("stores") or input.get("data"):
        options.append(f"--made-by {made_by(data)}")
    return " ".join(options)


def made_by(data):
    """Which settings and code have to have made stores of data, as a hash: other studies may write them too."""
    read, run = job("ingest")["settings"], job("ingest")["code"]
    found = []
    for path in map(Path, data):
        of = {"system": path.parent.name, "ic": path.stem}
        found.append(provenance.identity(json.loads(read(of)), run(of)))
    return provenance.together(found)


def job(name, stage=None, modules=(), **fixed):
    """Parameters of a rule. stage: that it runs, where several rules run one"""
    read = settings(name, **fixed)
    return {"settings": read, "code": code(stage or name, read, modules), "files": files}


# Path -> by what that was made which something else was made from, as that says; it may have been removed.
MADE_FROM = {}
TOLD = set()


def identified(rule):
    """An input function that adds no file: it has a job run whose outputs are there and were made otherwise.

    Snakemake's own memory, `.snakemake`, may be lost, or be that of another folder.
    """
    params = dict(rule.params.items())

    def of_job(wildcards):
        if not workflow.is_main_process:
            return []
        asked = json.loads(params["settings"](wildcards)), params["code"](wildcards) if "code" in params else None
        for path in (str(pattern.apply_wildcards(wildcards)) for pattern in rule.output):
            if why := provenance.made_otherwise(path, *asked, MADE_FROM, own(rule.name, wildcards)):
                workflow.dag.forcefiles.add(path)
                if (rule.name, why) not in TOLD:
                    print(f"made again: {path}: {why}", file=sys.stderr)
                TOLD.add((rule.name, why))
        return []

    return of_job


def own(rule, wildcards):
    """The files of the user's own that a job reads."""
    ic = wildcards["ic"] if rule.endswith("ingest") and STUDY.data.source == "files" else None
    return map(str, map(local, FILES[ic])) if ic else ()


def require_own_data():
    """Raise WorkflowError if data outside of the working directory are not those that the study asks for.

    Other studies may use them too, so they are not made again. Of what they were made from it is enough that they say.
    """
    for system, ic in ((system, ic) for system in STUDY.systems for ic in STUDY.classes(system)):
        of_class = {"system": system, "ic": ic}
        writers = [("ingest", rules.ingest, of_class)]
        match STUDY.data.source:
            case "simulation":
                writers += [("simulate", rules.simulate, of_class | {"block": str(b)}) for b in STUDY.blocks(system)]
            case "pdegym":
                writers += [
                    ("download", rules.download, of_class | {"file": name}) for name in files_of_hub(system, ic)
                ]
        for name, rule, wildcards in writers:
            path = Path(expand(rule.output[0], **wildcards)[0])
            if path.resolve().is_relative_to(Path.cwd().resolve()):
                continue
            of = job(name)
            asked = json.loads(of["settings"](wildcards)), of["code"](wildcards) if name != "download" else None
            if why := provenance.made_otherwise(str(path), *asked, MADE_FROM, own(name, wildcards)):
                raise WorkflowError(
                    f"{path}: {why}. It is outside of this folder, at {path.resolve()}, where other studies may use it, "
                    "so it is not made again: choose another data.dataset, or delete it if it is yours alone"
                )


def command(stage, options="", launch=""):
    """The command of a stage with further options. launch: those of `runtime.launch`, for what may run on GPUs"""
    start = f"surroscope.runtime.launch {launch} -- " if launch else ""
    run = f"python -m {start}surroscope.stages.{stage} --settings {{params.settings:q}} {{params.files}} {options}"
    return f"{run.rstrip()} > {{log:q}} 2>&1"


GPUS = "--gpus {resources.gpu}"
AT_CHECKPOINT = "of {wildcards.model} on {wildcards.system}, seed {wildcards.seed}, epoch {wildcards.epoch}"


def growing(**amounts):
    """Resources that grow with the attempt: a job may have failed for lack of one, where a profile has it tried again."""

    def of(amount):
        return lambda wildcards, attempt: attempt * (amount(wildcards) if callable(amount) else amount)

    return {name: of(amount) for name, amount in amounts.items()}


def linearizing_mb(name):
    """Memory of a job that differentiates a network, by the size of its weights, which a plan ahead of training lacks."""

    def of_job(wildcards, input, attempt):
        of_epoch = Path(input.weights) / f"epoch{wildcards.epoch}.pt"
        if not of_epoch.exists():
            return attempt * 8000
        return attempt * memory.of_job(STUDY, name, of_epoch.stat().st_size // 4, **wildcards)

    return of_job


def launcher(wildcards, resources):
    """Options of `runtime.launch` for several machines, which a profile asks for by the resources mpi and tasks."""
    mpi = resources.get("mpi")
    return f"--launcher={shlex.quote(mpi)} --tasks {resources.tasks}" if mpi else ""
