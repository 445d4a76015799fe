import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

# Relative, so that a project that was moved or copied is still up to date.
SOURCES = os.path.relpath(Path(workflow.current_basedir).parent)
sys.path.insert(0, os.path.abspath(SOURCES))

from surroscope.runtime.environment import prepare, working_folder_last

# Snakemake puts the folders of its files first, which may be this one.
working_folder_last()

from surroscope.data import pdegym
from surroscope.runtime import configuration, cost, fingerprint, provenance, sessions
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


def removable(path):
    """A raw file, which may go when it is in a store."""
    return path if STUDY.data.keep_raw else temp(path)


def raw(wildcards):
    """The files of a class, from wherever the study has its data."""
    match STUDY.data.source:
        case "simulation":
            return expand(f"{RAW}/block{{block}}.nc", block=STUDY.blocks(wildcards.system), allow_missing=True)
        case "pdegym":
            files = files_of_hub(wildcards.system, wildcards.ic)
            return expand(f"{RAW}/{{file}}", file=files, allow_missing=True)
        case "files":
            # The user's own: where the configuration says, whatever prefix a module has.
            return list(map(local, FILES[wildcards.ic]))


def listing(wildcards):
    """The listing that a file is fetched by. A longer one at the same commit changes no file that is there.

    What depends on a job that runs is not looked at by itself, though, so a file of another commit waits for it openly.
    """
    path, raw = f"{RAW}/listing.json".format(**wildcards), f"{RAW}/{{file}}".format(**wildcards)
    asked = json.loads(settings("download")(wildcards))
    return path if provenance.made_otherwise(raw, asked, None, MADE_FROM) else ancient(path)


def files_of_hub(system, ic):
    return pdegym.SERIES[ic].files(STUDY.systems[system].trajectories)


def of_hub(path):
    """`path` for data from a hub, and nothing for others."""
    return path if STUDY.data.source == "pdegym" else []


def saved(wildcards):
    """The file of a network that was trained elsewhere."""
    of = wildcards.system, wildcards.model, int(wildcards.seed), int(wildcards.epoch)
    # Its content is among the settings: one that was only touched is as it was.
    return ancient(local(str(STUDY.weights(*of))))


def normalises(wildcards):
    """Whether a network is given states that are normalised by the data."""
    call = STUDY.systems[wildcards.system].models[wildcards.model].call
    return call is not None and call.normalize is not None


def weights(wildcards):
    """The folder with the weights of an epoch: of all epochs at once, or of one that was trained elsewhere its own."""
    return f"{EPOCH if wildcards.model in ADOPTED else CHECKPOINT}/weights".format(**wildcards)


def stores(wildcards):
    return expand(STORE, system=wildcards.system, ic=STUDY.classes(wildcards.system))


def checkpoints(system, pattern, last=False, seeds=None, models=None):
    """`pattern` for every model, or some, every seed and probed epoch of a system, or the last probed epoch alone."""
    return [
        path
        for model, settings in STUDY.systems[system].models.items()
        if models is None or model in models
        for path in expand(
            pattern,
            system=system,
            model=model,
            seed=STUDY.seeds if seeds is None else seeds,
            epoch=settings.probe_epochs[-1:] if last else settings.probe_epochs,
        )
    ]


def part(name, file):
    """`file` of the checkpoints that an optional part of the study looks at; none if it was not asked for."""

    def of_system(wildcards):
        system, seeds = wildcards.system, STUDY.seeds_of(name)
        models = STUDY.models_of(name, system)
        return checkpoints(system, f"{EPOCH}/{file}", last=True, seeds=seeds, models=models)

    return of_system


def bank(wildcards):
    """The trainings without some groups of transitions; none if they were not asked for."""
    system, seeds = wildcards.system, STUDY.seeds_of("retraining")
    return [
        path
        for model in STUDY.models_of("retraining", system)
        for path in expand(RETRAINED, system=system, model=model, seed=seeds, member=members(STUDY, system, model))
    ]


def images(wildcards):
    """The gradients at the images of a checkpoint's samples: of some seeds, at the last probed epoch."""
    last = STUDY.systems[wildcards.system].models[wildcards.model].probe_epochs[-1]
    asked = int(wildcards.epoch) == last and int(wildcards.seed) in STUDY.seeds_of("symmetry")
    return f"{EPOCH}/orbits.zarr" if asked and len(STUDY.actions(wildcards.system)) > 1 else []


def all_tables():
    return expand(f"{RESULTS}/{{system}}/tables/{{table}}.csv", system=STUDY.systems, table=TABLES)


def figure_names(system):
    return figures_for(STUDY.observables_of(system), STUDY.parts(system))


def caption_file(name, system):
    """The caption of a figure in a file, as Snakemake's own report wants it."""
    path = Path(f".snakemake/captions/{STUDY.study}/{system}/{name}.rst").absolute()
    text = caption(name, system, SAMPLE_SIZE, UNIT)
    # Jobs on a cluster read the rules at the same time, and a report may be reading the file.
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path.with_suffix(f".{os.getpid()}")
        written.write_text(text, encoding="utf-8")
        os.replace(written, path)
    return str(path)


def all_figures():
    return [
        f"{RESULTS}/{system}/figures/{name}.{suffix}"
        for system in STUDY.systems
        for name in figure_names(system)
        for suffix in figure(name).suffixes
    ]


def source(path):
    """A file of the workflow itself, which is where it is whatever prefix a module has."""
    return local(f"{SOURCES}/{path}")


def costs(wildcards, output):
    """Where the study's jobs leave what they took."""
    classes = {system: STUDY.classes(system) for system in STUDY.systems}
    root = Path(output.page).parents[2]
    return [str(root / place) for place in cost.places(STUDY.study, STUDY.data.dataset, classes)]


def contracts():
    """That networks keep to what is asked of them, which the first jobs look at."""
    return [
        f"{NETWORK}/contract.json".format(system=name, model=model)
        for name, system in STUDY.systems.items()
        for model in system.models
    ]


def kept_shards():
    if not STUDY.gradients.keep:
        return []
    patterns = expand(
        f"{EPOCH}/gradients/shard{{shard}}.zarr",
        shard=range(STUDY.gradients.shards),
        allow_missing=True,
    )
    return [path for system in STUDY.systems for pattern in patterns for path in checkpoints(system, pattern)]


def results():
    """The study's folder, with the prefix that a module may have."""
    return Path(rules.report.output.page).parent


def remove_caches():
    """Mapped trajectories are large, and built again where they are missing."""
    for path in results().glob("*/splits/*.cache"):
        shutil.rmtree(path)
        path.with_name(f"{path.name}.lock").unlink(missing_ok=True)


def link_latest_report():
    """results/report.html is the report of the study that was finished last."""
    page = results() / "report.html"
    if not page.exists():
        return
    latest = results().parent / page.name
    latest.unlink(missing_ok=True)
    latest.symlink_to(page.relative_to(latest.parent))
    place = f"{os.getcwd()}/" if ELSEWHERE else ""
    print(f"\nreport:  {place}{latest} -> {page}")
    print(f"figures: {place}{results()}/*/figures\ntables:  {place}{results()}/*/tables")
