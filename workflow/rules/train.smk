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


rule adopt:
    input:
        stores=stores,
        split=SPLIT,
        # Their content is among the settings: a file that was only touched is as it was.
        saved=lambda wildcards: list(map(ancient, map(local, adopted(wildcards)))),
    output:
        weights=directory(f"{CHECKPOINT}/weights"),
        history=f"{CHECKPOINT}/history.csv",
    log:
        f"{CHECKPOINT}/adopt.log",
    benchmark:
        f"{CHECKPOINT}/adopt.benchmark.tsv"
    wildcard_constraints:
        model=one_of(ADOPTED),
    conda:
        "../../envs/torch.yaml"
    resources:
        **growing(mem_mb=4000, runtime=60),
        gpu=0,
    params:
        **job("adopt"),
    message:
        "Adopt {wildcards.model} on {wildcards.system}, seed {wildcards.seed}"
    shell:
        command("adopt", launch=GPUS)
