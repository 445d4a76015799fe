rule evaluate:
    input:
        stores=stores,
        split=SPLIT,
        weights=weights,
    output:
        evaluation=directory(f"{EPOCH}/evaluation.zarr"),
    log:
        f"{EPOCH}/evaluation.log",
    benchmark:
        f"{EPOCH}/evaluation.benchmark.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        **growing(mem_mb=4000, runtime=120),
        gpu=0,
    params:
        **job("evaluate"),
    message:
        f"Rollouts and images {AT_CHECKPOINT}"
    shell:
        command("evaluate", launch=GPUS)


rule tables:
    input:
        influences=lambda wildcards: checkpoints(wildcards.system, f"{EPOCH}/influence.zarr"),
        couplings=lambda wildcards: checkpoints(wildcards.system, f"{EPOCH}/coupling.zarr"),
        evaluations=lambda wildcards: checkpoints(wildcards.system, f"{EPOCH}/evaluation.zarr"),
        histories=lambda wildcards: checkpoints(wildcards.system, f"{CHECKPOINT}/history.csv", last=True),
        sensitivities=part("sensitivity", "sensitivity.csv"),
        crosses=part("cross", "cross.zarr"),
        maps=part("maps", "maps.zarr"),
        fidelities=part("fidelity", "fidelity.zarr"),
        told=part("leads", "leads.zarr"),
        retrained=bank,
        foretold=part("retraining", "cross.zarr"),
    output:
        tables=expand(f"{RESULTS}/{{system}}/tables/{{table}}.csv", table=TABLES, allow_missing=True),
        verdict=f"{RESULTS}/{{system}}/tables/verdict.json",
        explorer=f"{RESULTS}/{{system}}/tables/explorer.json",
    log:
        f"{RESULTS}/{{system}}/tables/tables.log",
    benchmark:
        f"{RESULTS}/{{system}}/tables/tables.benchmark.tsv"
    conda:
        "../../envs/dask.yaml"
    resources:
        **growing(mem_mb=2000, runtime=60),
    params:
        **job("tables"),
    message:
        "Tables of {wildcards.system}"
    shell:
        command("tables")
