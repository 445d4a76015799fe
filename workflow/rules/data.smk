rule simulate:
    output:
        raw=f"{RAW}/block{{block}}.nc",
    log:
        f"{RAW}/block{{block}}.log",
    benchmark:
        f"{RAW}/block{{block}}.benchmark.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=lambda wildcards: STUDY.memory_mb(wildcards.system, STUDY.data.block),
        runtime=120,
    params:
        settings=settings("simulate"),
        code=code("simulate"),
    message:
        "Simulate {wildcards.ic}, block {wildcards.block}"
    shell:
        "python -m surroscope.stages.simulate --settings {params.settings:q} --raw {output.raw:q} > {log:q} 2>&1"


rule ingest:
    input:
        raw=lambda wildcards: expand(
            f"{RAW}/block{{block}}.nc",
            block=STUDY.blocks(wildcards.system),
            allow_missing=True,
        ),
    output:
        store=directory(STORE),
    log:
        STORE.replace(".zarr", ".log"),
    benchmark:
        STORE.replace(".zarr", ".benchmark.tsv")
    conda:
        "../../envs/dask.yaml"
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        settings=settings("ingest"),
        code=code("ingest"),
    message:
        "Chunk {wildcards.ic} into Zarr"
    shell:
        "python -m surroscope.stages.ingest --settings {params.settings:q} --raw {input.raw:q}"
        " --store {output.store:q} > {log:q} 2>&1"


rule split:
    input:
        stores=stores,
    output:
        split=SPLIT,
    log:
        SPLIT.replace(".json", ".log"),
    benchmark:
        SPLIT.replace(".json", ".benchmark.tsv")
    conda:
        "../../envs/dask.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        settings=settings("split"),
        code=code("split"),
    message:
        "Split the trajectories of {wildcards.system} by seed {wildcards.seed}"
    shell:
        "python -m surroscope.stages.split --settings {params.settings:q} --stores {input.stores:q}"
        " --split {output.split:q} > {log:q} 2>&1"
