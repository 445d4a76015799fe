SHARDS = expand(SHARD, shard=range(STUDY.gradients.shards), allow_missing=True)
CROSS_SHARDS = expand(CROSS_SHARD, shard=range(len(STUDY.cross_batches())), allow_missing=True)
# Neither where Dask computes nor the memory budget changes a result, so both are resources.
DASK = STUDY.dask.model_dump_json()


rule reduce:
    input:
        shards=SHARDS,
    output:
        grams=directory(f"{EPOCH}/grams.zarr"),
    log:
        f"{EPOCH}/reduce.log",
    benchmark:
        f"{EPOCH}/reduce.benchmark.tsv"
    conda:
        "../../envs/dask.yaml"
    resources:
        mem_mb=scaled(int(STUDY.influence.memory_mb) + 500),
        runtime=scaled(60),
        dask=DASK,
        budget_mb=int(STUDY.influence.memory_mb),
    params:
        settings=settings("reduce"),
        code=code("reduce"),
    message:
        "Contract the gradients of {wildcards.model} on {wildcards.system}, seed {wildcards.seed}, epoch {wildcards.epoch}"
    shell:
        "python -m surroscope.stages.reduce --settings {params.settings:q} --shards {input.shards:q}"
        " --grams {output.grams:q} --threads {threads} --memory-mb {resources.budget_mb}"
        " --dask {resources.dask:q} > {log:q} 2>&1"


rule full:
    input:
        **MEASURED,
        stores=stores,
        split=SPLIT,
        weights=f"{CHECKPOINT}/weights",
    output:
        solved=directory(f"{EPOCH}/full.zarr"),
    log:
        f"{EPOCH}/full.log",
    benchmark:
        f"{EPOCH}/full.benchmark.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=scaled(8000),
        runtime=scaled(480),
        gpu=0,
    params:
        settings=settings("full"),
        code=code("full", linearizes="full"),
        calibration=lambda wildcards, input: given("calibration", input.get("calibration")),
    message:
        "Influence in all parameters of {wildcards.model} on {wildcards.system}, seed {wildcards.seed},"
        " epoch {wildcards.epoch}"
    shell:
        "python -m surroscope.runtime.launch --gpus {resources.gpu} -- surroscope.stages.full --settings {params.settings:q}"
        " --stores {input.stores:q} --split {input.split:q} --weights {input.weights:q} {params.calibration} --solved {output.solved:q}"
        " > {log:q} 2>&1"


use rule full as full_sweep with:
    output:
        solved=directory(f"{EPOCH}/full_sweep.zarr"),
    log:
        f"{EPOCH}/full_sweep.log",
    benchmark:
        f"{EPOCH}/full_sweep.benchmark.tsv"
    params:
        settings=settings("full_sweep"),
        code=code("full", linearizes="full_sweep"),
        calibration=lambda wildcards, input: given("calibration", input.get("calibration")),
    message:
        "Influence in all parameters at several dampings of {wildcards.model} on {wildcards.system},"
        " seed {wildcards.seed}, epoch {wildcards.epoch}"


FULL = (
    {"full": f"{EPOCH}/full.zarr"} if any(SOLVERS[name].needs == "network" for name in STUDY.influence.solvers) else {}
)


rule orbits:
    input:
        **MEASURED,
        stores=stores,
        split=SPLIT,
        weights=f"{CHECKPOINT}/weights",
    output:
        orbits=directory(f"{EPOCH}/orbits.zarr"),
    log:
        f"{EPOCH}/orbits.log",
    benchmark:
        f"{EPOCH}/orbits.benchmark.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=scaled(8000),
        runtime=scaled(240),
        gpu=0,
    params:
        settings=settings("orbits"),
        code=code("orbits"),
        calibration=lambda wildcards, input: given("calibration", input.get("calibration")),
    message:
        "Gradients at images of {wildcards.model} on {wildcards.system}, seed {wildcards.seed}, epoch {wildcards.epoch}"
    shell:
        "python -m surroscope.runtime.launch --gpus {resources.gpu} -- surroscope.stages.orbits --settings {params.settings:q}"
        " --stores {input.stores:q} --split {input.split:q} --weights {input.weights:q} {params.calibration} --orbits {output.orbits:q}"
        " > {log:q} 2>&1"


rule influence:
    input:
        unpack(looked_at_images),
        **FULL,
        grams=f"{EPOCH}/grams.zarr",
    output:
        influence=directory(f"{EPOCH}/influence.zarr"),
    log:
        f"{EPOCH}/influence.log",
    benchmark:
        f"{EPOCH}/influence.benchmark.tsv"
    conda:
        "../../envs/dask.yaml"
    resources:
        mem_mb=scaled(2000),
        runtime=scaled(60),
    params:
        settings=settings("influence"),
        code=code("influence"),
        full=lambda wildcards, input: given("full", input.get("full")),
        orbits=lambda wildcards, input: given("orbits", input.get("orbits")),
    message:
        "Influence of {wildcards.model} on {wildcards.system}, seed {wildcards.seed}, epoch {wildcards.epoch}"
    shell:
        "python -m surroscope.stages.influence --settings {params.settings:q} --grams {input.grams:q} {params.full} {params.orbits}"
        " --influence {output.influence:q} > {log:q} 2>&1"


SWEEP = {"full": f"{EPOCH}/full_sweep.zarr"} if STUDY.sensitivity and STUDY.sensitivity.full_dampings else {}


rule sensitivity:
    input:
        **SWEEP,
        grams=f"{EPOCH}/grams.zarr",
    output:
        table=f"{EPOCH}/sensitivity.csv",
    log:
        f"{EPOCH}/sensitivity.log",
    benchmark:
        f"{EPOCH}/sensitivity.benchmark.tsv"
    conda:
        "../../envs/dask.yaml"
    resources:
        mem_mb=scaled(2000),
        runtime=scaled(30),
    params:
        settings=settings("sensitivity"),
        code=code("sensitivity"),
        full=lambda wildcards, input: given("full", input.get("full")),
    message:
        "Conclusions against quantity and damping of {wildcards.model} on {wildcards.system}, seed {wildcards.seed}"
    shell:
        "python -m surroscope.stages.sensitivity --settings {params.settings:q} --grams {input.grams:q}"
        " {params.full} --table {output.table:q} > {log:q} 2>&1"


rule maps:
    input:
        shard=expand(SHARD, shard=0, allow_missing=True),
        grams=f"{EPOCH}/grams.zarr",
    output:
        maps=directory(f"{EPOCH}/maps.zarr"),
    log:
        f"{EPOCH}/maps.log",
    benchmark:
        f"{EPOCH}/maps.benchmark.tsv"
    conda:
        "../../envs/dask.yaml"
    resources:
        mem_mb=scaled(2000),
        runtime=scaled(30),
    params:
        settings=settings("maps"),
        code=code("maps"),
    message:
        "Response maps of {wildcards.model} on {wildcards.system}, seed {wildcards.seed}, epoch {wildcards.epoch}"
    shell:
        "python -m surroscope.stages.maps --settings {params.settings:q} --shard {input.shard:q}"
        " --grams {input.grams:q} --maps {output.maps:q} > {log:q} 2>&1"


rule cross:
    input:
        shards=CROSS_SHARDS,
    output:
        cross=directory(f"{EPOCH}/cross.zarr"),
    log:
        f"{EPOCH}/cross.log",
    benchmark:
        f"{EPOCH}/cross.benchmark.tsv"
    conda:
        "../../envs/dask.yaml"
    resources:
        mem_mb=scaled(int(STUDY.influence.memory_mb) + 500),
        runtime=scaled(120),
        dask=DASK,
        budget_mb=int(STUDY.influence.memory_mb),
    params:
        settings=settings("cross"),
        code=code("cross"),
    message:
        "Influence among all batches of {wildcards.model} on {wildcards.system}, seed {wildcards.seed},"
        " epoch {wildcards.epoch}"
    shell:
        "python -m surroscope.stages.cross --settings {params.settings:q} --shards {input.shards:q}"
        " --cross {output.cross:q} --threads {threads} --memory-mb {resources.budget_mb}"
        " --dask {resources.dask:q} > {log:q} 2>&1"
