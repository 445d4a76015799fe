rule simulate:
    output:
        raw=removable(f"{RAW}/block{{block}}.nc"),
    log:
        f"{RAW}/block{{block}}.log",
    benchmark:
        f"{RAW}/block{{block}}.benchmark.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=scaled(2000),
        runtime=scaled(480),
    params:
        settings=settings("simulate"),
        code=code("simulate"),
    message:
        "Simulate {wildcards.ic}, block {wildcards.block}"
    shell:
        "python -m surroscope.stages.simulate --settings {params.settings:q} --raw {output.raw:q} > {log:q} 2>&1"


rule listing:
    output:
        listing=f"{RAW}/listing.json",
    log:
        f"{RAW}/listing.log",
    localrule: True
    conda:
        "../../envs/dask.yaml"
    resources:
        mem_mb=scaled(500),
        runtime=scaled(10),
    params:
        # No code: what is fetched is fixed by the listing, whatever fetches it.
        settings=settings("listing"),
    message:
        "List the files of {wildcards.ic} on the hub"
    shell:
        "python -m surroscope.stages.listing --settings {params.settings:q} --listing {output.listing:q} > {log:q} 2>&1"


rule download:
    input:
        # A longer listing at the same commit changes no file that is there.
        listing=ancient(f"{RAW}/listing.json"),
    output:
        raw=removable(f"{RAW}/{{file}}"),
    log:
        f"{RAW}/{{file}}.log",
    benchmark:
        f"{RAW}/{{file}}.benchmark.tsv"
    wildcard_constraints:
        file=r"(data|velocity)_\d+\.nc",
    localrule: True
    conda:
        "../../envs/dask.yaml"
    resources:
        mem_mb=scaled(500),
        runtime=scaled(480),
    params:
        # No code: what is fetched is fixed by the listing, whatever fetches it.
        settings=settings("download"),
    message:
        "Download {wildcards.file} of {wildcards.ic}"
    shell:
        "python -m surroscope.stages.download --settings {params.settings:q} --listing {input.listing:q}"
        " --raw {output.raw:q} > {log:q} 2>&1"


rule ingest:
    input:
        raw=raw,
        listing=of_hub(f"{RAW}/listing.json"),
    output:
        store=directory(STORE),
    log:
        STORE.removesuffix(".zarr") + ".log",
    benchmark:
        STORE.removesuffix(".zarr") + ".benchmark.tsv"
    conda:
        "../../envs/dask.yaml"
    resources:
        mem_mb=scaled(1000),
        runtime=scaled(480),
    params:
        settings=settings("ingest"),
        code=code("ingest"),
        listing=lambda wildcards, input: given("listing", input.get("listing")),
    message:
        "Chunk {wildcards.ic} into Zarr"
    shell:
        "python -m surroscope.stages.ingest --settings {params.settings:q} --raw {input.raw:q} {params.listing}"
        " --store {output.store:q} > {log:q} 2>&1"


rule split:
    input:
        stores=stores,
    output:
        split=SPLIT,
    log:
        SPLIT.removesuffix(".json") + ".log",
    benchmark:
        SPLIT.removesuffix(".json") + ".benchmark.tsv"
    localrule: True
    conda:
        "../../envs/dask.yaml"
    resources:
        mem_mb=scaled(1000),
        runtime=scaled(30),
    params:
        settings=settings("split"),
        code=code("split"),
    message:
        "Split the trajectories of {wildcards.system} by seed {wildcards.seed}"
    shell:
        "python -m surroscope.stages.split --settings {params.settings:q} --stores {input.stores:q}"
        " --split {output.split:q} > {log:q} 2>&1"
