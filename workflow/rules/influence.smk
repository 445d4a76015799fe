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
        **growing(mem_mb=int(STUDY.influence.memory_mb) + 500, runtime=60),
        dask=DASK,
        budget_mb=int(STUDY.influence.memory_mb),
    params:
        **job("reduce"),
    message:
        f"Contract the gradients {AT_CHECKPOINT}"
    shell:
        command("reduce", "--threads {threads} --memory-mb {resources.budget_mb} --dask {resources.dask:q}")


rule coupling:
    input:
        stores=stores,
        split=SPLIT,
        weights=weights,
        calibration=MEASURED,
    output:
        coupling=directory(f"{EPOCH}/coupling.zarr"),
    log:
        f"{EPOCH}/coupling.log",
    benchmark:
        f"{EPOCH}/coupling.benchmark.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        **growing(runtime=240),
        mem_mb=linearizing_mb("coupling"),
        gpu=0,
    params:
        **job("coupling"),
    message:
        f"Kernel between inputs {AT_CHECKPOINT}"
    shell:
        command("coupling", launch=GPUS)


rule full:
    input:
        stores=stores,
        split=SPLIT,
        weights=weights,
        calibration=MEASURED,
    output:
        solved=directory(f"{EPOCH}/full.zarr"),
    log:
        f"{EPOCH}/full.log",
    benchmark:
        f"{EPOCH}/full.benchmark.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        **growing(runtime=480),
        mem_mb=linearizing_mb("full"),
        gpu=0,
    params:
        **job("full"),
    message:
        f"Influence in all parameters {AT_CHECKPOINT}"
    shell:
        command("full", launch=GPUS)


use rule full as full_sweep with:
    output:
        solved=directory(f"{EPOCH}/full_sweep.zarr"),
    log:
        f"{EPOCH}/full_sweep.log",
    benchmark:
        f"{EPOCH}/full_sweep.benchmark.tsv"
    resources:
        **growing(runtime=480),
        mem_mb=linearizing_mb("full_sweep"),
        gpu=0,
    params:
        **job("full_sweep", "full"),
    message:
        f"Influence in all parameters at several dampings {AT_CHECKPOINT}"


FULL = f"{EPOCH}/full.zarr" if any(SOLVERS[name].needs == "network" for name in STUDY.influence.solvers) else []


rule orbits:
    input:
        stores=stores,
        split=SPLIT,
        weights=weights,
        calibration=MEASURED,
    output:
        orbits=directory(f"{EPOCH}/orbits.zarr"),
    log:
        f"{EPOCH}/orbits.log",
    benchmark:
        f"{EPOCH}/orbits.benchmark.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        **growing(runtime=240),
        mem_mb=linearizing_mb("orbits"),
        gpu=0,
    params:
        **job("orbits"),
    message:
        f"Gradients at images {AT_CHECKPOINT}"
    shell:
        command("orbits", launch=GPUS)


rule influence:
    input:
        grams=f"{EPOCH}/grams.zarr",
        full=FULL,
        orbits=images,
    output:
        influence=directory(f"{EPOCH}/influence.zarr"),
    log:
        f"{EPOCH}/influence.log",
    benchmark:
        f"{EPOCH}/influence.benchmark.tsv"
    conda:
        "../../envs/dask.yaml"
    resources:
        **growing(mem_mb=2000, runtime=60),
    params:
        **job("influence"),
    message:
        f"Influence {AT_CHECKPOINT}"
    shell:
        command("influence")


SWEEP = f"{EPOCH}/full_sweep.zarr" if STUDY.sensitivity and STUDY.sensitivity.full_dampings else []


rule sensitivity:
    input:
        grams=f"{EPOCH}/grams.zarr",
        full=SWEEP,
    output:
        table=f"{EPOCH}/sensitivity.csv",
    log:
        f"{EPOCH}/sensitivity.log",
    benchmark:
        f"{EPOCH}/sensitivity.benchmark.tsv"
    conda:
        "../../envs/dask.yaml"
    resources:
        **growing(mem_mb=2000, runtime=30),
    params:
        **job("sensitivity"),
    message:
        "Conclusions against quantity and damping of {wildcards.model} on {wildcards.system}, seed {wildcards.seed}"
    shell:
        command("sensitivity")


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
        **growing(mem_mb=2000, runtime=30),
    params:
        **job("maps"),
    message:
        f"Response maps {AT_CHECKPOINT}"
    shell:
        command("maps")


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
        **growing(mem_mb=int(STUDY.influence.memory_mb) + 500, runtime=120),
        dask=DASK,
        budget_mb=int(STUDY.influence.memory_mb),
    params:
        **job("cross"),
    message:
        f"Influence among all batches {AT_CHECKPOINT}"
    shell:
        command("cross", "--threads {threads} --memory-mb {resources.budget_mb} --dask {resources.dask:q}")


rule leads:
    input:
        stores=stores,
        split=SPLIT,
        weights=weights,
        calibration=MEASURED,
    output:
        leads=directory(f"{EPOCH}/leads.zarr"),
    log:
        f"{EPOCH}/leads.log",
    benchmark:
        f"{EPOCH}/leads.benchmark.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        **growing(runtime=240),
        mem_mb=linearizing_mb("leads"),
        gpu=0,
    params:
        **job("leads"),
    message:
        f"Influence between lead times {AT_CHECKPOINT}"
    shell:
        command("leads", launch=GPUS)


rule fidelity:
    input:
        stores=stores,
        split=SPLIT,
        weights=weights,
        grams=f"{EPOCH}/grams.zarr",
        calibration=MEASURED,
    output:
        fidelity=directory(f"{EPOCH}/fidelity.zarr"),
    log:
        f"{EPOCH}/fidelity.log",
    benchmark:
        f"{EPOCH}/fidelity.benchmark.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        **growing(runtime=240),
        mem_mb=linearizing_mb("fidelity"),
        gpu=0,
    params:
        **job("fidelity"),
    message:
        f"Real steps {AT_CHECKPOINT}"
    shell:
        command("fidelity", launch=GPUS)
