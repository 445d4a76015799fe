# No rule but the report has its output as input: an edit of what is checked, such as how networks are differentiated, is
# to train nothing again, and what depends on a job that runs is not looked at by itself, whatever is ancient there.
rule contract:
    output:
        contract=f"{NETWORK}/contract.json",
    log:
        f"{NETWORK}/contract.log",
    benchmark:
        f"{NETWORK}/contract.benchmark.tsv"
    # Before data are made.
    priority: 1
    conda:
        "../../envs/torch.yaml"
    resources:
        **growing(mem_mb=8000, runtime=30),
    params:
        **job("contract"),
    message:
        "Check what is asked of {wildcards.model} on {wildcards.system}"
    shell:
        command("contract")


rule train:
    input:
        stores=stores,
        split=SPLIT,
    output:
        weights=directory(f"{CHECKPOINT}/weights"),
        history=f"{CHECKPOINT}/history.csv",
    log:
        f"{CHECKPOINT}/train.log",
    benchmark:
        f"{CHECKPOINT}/train.benchmark.tsv"
    wildcard_constraints:
        model=one_of(model for model in MODELS if model not in ADOPTED),
    conda:
        "../../envs/torch.yaml"
    resources:
        **growing(mem_mb=lambda wildcards: memory.training_mb(STUDY, wildcards.system), runtime=480),
        # How trajectories are read changes no result.
        reader=STUDY.data.reader,
        gpu=0,
        # That train together, on each machine.
        processes=1,
    params:
        **job("train"),
        # Not an output: Snakemake deletes the outputs of a failed job, and a killed one resumes from here.
        checkpoints=subpath(output.history, parent=True),
        mapping=subpath(input.split, strip_suffix=".json"),
        launcher=launcher,
    message:
        "Train {wildcards.model} on {wildcards.system}, seed {wildcards.seed}"
    shell:
        command(
            "train",
            "--checkpoints {params.checkpoints:q}/resume --mapping {params.mapping:q}.cache --reader {resources.reader}",
            launch=f"{GPUS} --processes {{resources.processes}} {{params.launcher}}",
        )


rule retrain:
    input:
        stores=stores,
        split=SPLIT,
    output:
        retrained=directory(RETRAINED),
    log:
        RETRAINED.removesuffix(".zarr") + ".log",
    benchmark:
        RETRAINED.removesuffix(".zarr") + ".benchmark.tsv"
    wildcard_constraints:
        model=one_of(model for model in MODELS if model not in ADOPTED),
        member=r"[\w.-]+",
    conda:
        "../../envs/torch.yaml"
    resources:
        **growing(mem_mb=lambda wildcards: memory.retraining_mb(STUDY, wildcards.system), runtime=480),
        gpu=0,
    params:
        **job("retrain"),
    message:
        "Train {wildcards.model} on {wildcards.system}, seed {wildcards.seed}, again: {wildcards.member}"
    shell:
        command("retrain", launch=GPUS)


rule adopt:
    input:
        saved=saved,
        stores=lambda wildcards: stores(wildcards) if normalises(wildcards) else [],
        split=lambda wildcards: SPLIT.format(**wildcards) if normalises(wildcards) else [],
    output:
        weights=directory(f"{EPOCH}/weights"),
    log:
        f"{EPOCH}/adopt.log",
    benchmark:
        f"{EPOCH}/adopt.benchmark.tsv"
    wildcard_constraints:
        model=one_of(ADOPTED),
    # Before data are made: it may not be what it is said to be.
    priority: 1
    conda:
        "../../envs/torch.yaml"
    resources:
        **growing(
            mem_mb=lambda wildcards: (memory.training_mb(STUDY, wildcards.system) if normalises(wildcards) else 0)
            + 4000,
            runtime=60,
        ),
    params:
        **job("adopt"),
    message:
        f"Adopt the weights {AT_CHECKPOINT}"
    shell:
        command("adopt")


rule validate:
    input:
        stores=stores,
        split=SPLIT,
        weights=lambda wildcards: expand(
            f"{EPOCH}/weights",
            **wildcards,
            epoch=STUDY.systems[wildcards.system].models[wildcards.model].probe_epochs,
        ),
    output:
        history=f"{CHECKPOINT}/history.csv",
    log:
        f"{CHECKPOINT}/validate.log",
    benchmark:
        f"{CHECKPOINT}/validate.benchmark.tsv"
    wildcard_constraints:
        model=one_of(ADOPTED),
    conda:
        "../../envs/torch.yaml"
    resources:
        **growing(mem_mb=4000, runtime=60),
        gpu=0,
    params:
        **job("validate"),
    message:
        "Validate {wildcards.model} on {wildcards.system}, seed {wildcards.seed}"
    shell:
        command("validate", launch=GPUS)
