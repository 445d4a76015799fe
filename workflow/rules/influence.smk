rule influence:
    input:
        shards=expand(
            f"{EPOCH}/gradients/shard{{shard}}.zarr",
            shard=range(STUDY.gradients.shards),
            allow_missing=True,
        ),
    output:
        influence=directory(f"{EPOCH}/influence.zarr"),
    log:
        f"{EPOCH}/influence.log",
    benchmark:
        f"{EPOCH}/influence.benchmark.tsv"
    conda:
        "../../envs/dask.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        settings=settings("influence"),
        code=code("influence"),
    message:
        "Influence of {wildcards.model} on {wildcards.system}, seed {wildcards.seed}, epoch {wildcards.epoch}"
    shell:
        "python -m surroscope.stages.influence --settings {params.settings:q} --shards {input.shards:q}"
        " --influence {output.influence:q} --threads {threads} > {log:q} 2>&1"
