SHARD = f"{EPOCH}/gradients/shard{{shard}}.zarr"
CROSS_SHARD = f"{EPOCH}/cross/shard{{shard}}.zarr"
CALIBRATION = f"{RESULTS}/{{system}}/{{model}}/linearization.json"
MEASURED = {"calibration": CALIBRATION} if STUDY.gradients.method == "measured" else {}


rule calibrate:
    input:
        stores=stores,
    output:
        calibration=CALIBRATION,
    log:
        CALIBRATION.removesuffix(".json") + ".log",
    benchmark:
        CALIBRATION.removesuffix(".json") + ".benchmark.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=scaled(4000),
        runtime=scaled(30),
        gpu=0,
    params:
        settings=settings("calibrate"),
        code=code("calibrate"),
    message:
        "Measure how to linearize {wildcards.model} on {wildcards.system}"
    shell:
        "python -m surroscope.runtime.launch --gpus {resources.gpu} -- surroscope.stages.calibrate --settings {params.settings:q}"
        " --stores {input.stores:q} --calibration {output.calibration:q} > {log:q} 2>&1"


rule gradients:
    input:
        **MEASURED,
        stores=stores,
        split=SPLIT,
        weights=f"{CHECKPOINT}/weights",
    output:
        shard=directory(SHARD) if STUDY.gradients.keep else temp(directory(SHARD)),
    log:
        SHARD.removesuffix(".zarr") + ".log",
    benchmark:
        SHARD.removesuffix(".zarr") + ".benchmark.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=scaled(8000),
        runtime=scaled(240),
        gpu=0,
    params:
        settings=settings("gradients"),
        code=code("gradients", linearizes="gradients"),
        calibration=lambda wildcards, input: given("calibration", input.get("calibration")),
    message:
        "Gradients and tangents of {wildcards.model} on {wildcards.system}, seed {wildcards.seed},"
        " epoch {wildcards.epoch}, shard {wildcards.shard}"
    shell:
        "python -m surroscope.runtime.launch --gpus {resources.gpu} -- surroscope.stages.gradients --settings {params.settings:q}"
        " --stores {input.stores:q} --split {input.split:q} --weights {input.weights:q} {params.calibration} --shard {output.shard:q}"
        " > {log:q} 2>&1"


use rule gradients as cross_gradients with:
    output:
        shard=temp(directory(CROSS_SHARD)),
    log:
        CROSS_SHARD.removesuffix(".zarr") + ".log",
    benchmark:
        CROSS_SHARD.removesuffix(".zarr") + ".benchmark.tsv"
    params:
        settings=settings("cross_gradients"),
        code=code("gradients", linearizes="cross_gradients"),
        calibration=lambda wildcards, input: given("calibration", input.get("calibration")),
    message:
        "Tangents among all batches of {wildcards.model} on {wildcards.system}, seed {wildcards.seed},"
        " epoch {wildcards.epoch}, shard {wildcards.shard}"
