SHARD = f"{EPOCH}/gradients/shard{{shard}}.zarr"
CROSS_SHARD = f"{EPOCH}/cross/shard{{shard}}.zarr"


rule calibrate:
    input:
        stores=stores,
    output:
        calibration=CALIBRATION,
    log:
        CALIBRATION.removesuffix(".json") + ".log",
    benchmark:
        CALIBRATION.removesuffix(".json") + ".benchmark.tsv"
    priority: 1
    conda:
        "../../envs/torch.yaml"
    resources:
        **growing(mem_mb=4000, runtime=30),
        gpu=0,
    params:
        **job("calibrate"),
    message:
        "Measure how to linearize {wildcards.model} on {wildcards.system}"
    shell:
        command("calibrate", launch=GPUS)


rule gradients:
    input:
        stores=stores,
        split=SPLIT,
        weights=weights,
        calibration=MEASURED,
    output:
        shard=directory(SHARD) if STUDY.gradients.keep else temp(directory(SHARD)),
    log:
        SHARD.removesuffix(".zarr") + ".log",
    benchmark:
        SHARD.removesuffix(".zarr") + ".benchmark.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        **growing(runtime=240),
        mem_mb=linearizing_mb("gradients"),
        gpu=0,
    params:
        **job("gradients"),
    message:
        f"Gradients and tangents {AT_CHECKPOINT}, shard {{wildcards.shard}}"
    shell:
        command("gradients", launch=GPUS)


use rule gradients as cross_gradients with:
    output:
        shard=temp(directory(CROSS_SHARD)),
    log:
        CROSS_SHARD.removesuffix(".zarr") + ".log",
    benchmark:
        CROSS_SHARD.removesuffix(".zarr") + ".benchmark.tsv"
    params:
        **job("cross_gradients", "gradients"),
    message:
        f"Tangents among all batches {AT_CHECKPOINT}, shard {{wildcards.shard}}"
