import shutil


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


def suffixes(name):
    """Those of a figure's files; the last is for the report."""
    return figure(name).written(STUDY.figures.formats)


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
        for suffix in suffixes(name)
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
