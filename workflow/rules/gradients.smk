SHARD = f"{EPOCH}/gradients/shard{{shard}}.zarr"


rule gradients:
    input:
        stores=stores,
        split=SPLIT,
        weights=f"{CHECKPOINT}/weights",
    output:
        shard=directory(SHARD) if STUDY.gradients.keep else temp(directory(SHARD)),
    log:
        SHARD.replace(".zarr", ".log"),
    benchmark:
        SHARD.replace(".zarr", ".benchmark.tsv")
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        settings=settings("gradients"),
        code=code("gradients"),
    message:
        "Gradients and tangents of {wildcards.model} on {wildcards.system}, seed {wildcards.seed},"
        " epoch {wildcards.epoch}, shard {wildcards.shard}"
    shell:
        "python -m surroscope.stages.gradients --settings {params.settings:q} --stores {input.stores:q}"
        " --split {input.split:q} --weights {input.weights:q} --shard {output.shard:q} > {log:q} 2>&1"
