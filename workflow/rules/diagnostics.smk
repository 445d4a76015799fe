rule evaluate:
    input:
        stores=stores,
        split=SPLIT,
        weights=f"{CHECKPOINT}/weights",
    output:
        evaluation=directory(f"{EPOCH}/evaluation.zarr"),
    log:
        f"{EPOCH}/evaluation.log",
    benchmark:
        f"{EPOCH}/evaluation.benchmark.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=scaled(4000),
        runtime=scaled(120),
        gpu=0,
    params:
        settings=settings("evaluate"),
        code=code("evaluate"),
    message:
        "Rollouts and images of {wildcards.model} on {wildcards.system}, seed {wildcards.seed}, epoch {wildcards.epoch}"
    shell:
        "python -m surroscope.runtime.launch --gpus {resources.gpu} -- surroscope.stages.evaluate --settings {params.settings:q}"
        " --stores {input.stores:q} --split {input.split:q} --weights {input.weights:q} --evaluation {output.evaluation:q} > {log:q} 2>&1"


rule tables:
    input:
        influences=lambda wildcards: checkpoints(wildcards.system, f"{EPOCH}/influence.zarr"),
        evaluations=lambda wildcards: checkpoints(wildcards.system, f"{EPOCH}/evaluation.zarr"),
        histories=lambda wildcards: checkpoints(wildcards.system, f"{CHECKPOINT}/history.csv", last=True),
        sensitivities=part("sensitivity", "sensitivity.csv"),
        crosses=part("cross", "cross.zarr"),
        maps=part("maps", "maps.zarr"),
    output:
        tables=expand(f"{RESULTS}/{{system}}/tables/{{table}}.csv", table=TABLES, allow_missing=True),
        verdict=f"{RESULTS}/{{system}}/tables/verdict.json",
    log:
        f"{RESULTS}/{{system}}/tables/tables.log",
    benchmark:
        f"{RESULTS}/{{system}}/tables/tables.benchmark.tsv"
    conda:
        "../../envs/dask.yaml"
    resources:
        mem_mb=scaled(2000),
        runtime=scaled(60),
    params:
        settings=settings("tables"),
        code=code("tables"),
    message:
        "Tables of {wildcards.system}"
    shell:
        "python -m surroscope.stages.tables --settings {params.settings:q} --influences {input.influences:q}"
        " --evaluations {input.evaluations:q} --histories {input.histories:q} --sensitivities {input.sensitivities:q}"
        " --crosses {input.crosses:q} --maps {input.maps:q} --tables {output.tables:q}"
        " --verdict {output.verdict:q} > {log:q} 2>&1"
