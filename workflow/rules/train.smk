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
    conda:
        "../../envs/torch.yaml"
    resources:
        **growing(mem_mb=lambda wildcards: STUDY.training_mb(wildcards.system), runtime=480),
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
            launch=GPUS + " --processes {resources.processes} {params.launcher}",
        )
