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
        **growing(mem_mb=2000, runtime=480),
    params:
        **job("simulate"),
    message:
        "Simulate {wildcards.ic}, block {wildcards.block}"
    shell:
        command("simulate")


rule listing:
    output:
        listing=f"{RAW}/listing.json",
    log:
        f"{RAW}/listing.log",
    localrule: True
    conda:
        "../../envs/dask.yaml"
    resources:
        **growing(mem_mb=500, runtime=10),
    params:
        # No code: what is fetched is fixed by the listing, whatever fetches it.
        settings=settings("listing"),
        files=files,
    message:
        "List the files of {wildcards.ic} on the hub"
    shell:
        command("listing")


rule download:
    input:
        listing=listing,
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
        **growing(mem_mb=500, runtime=480),
    params:
        # No code: what is fetched is fixed by the listing, whatever fetches it.
        settings=settings("download"),
        files=files,
    message:
        "Download {wildcards.file} of {wildcards.ic}"
    shell:
        command("download")


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
        **growing(mem_mb=1000, runtime=480),
        # Which files HDF5 files may read changes no result.
        links=STUDY.data.links,
    params:
        **job("ingest"),
    message:
        "Chunk {wildcards.ic} into Zarr"
    shell:
        command("ingest", "--links {resources.links}")


rule split:
    input:
        stores=stores,
        # Its content is among the settings.
        trained=list(map(ancient, map(local, map(str, STUDY.split.files)))),
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
        **growing(mem_mb=1000, runtime=30),
    params:
        **job("split"),
    message:
        "Split the trajectories of {wildcards.system} by seed {wildcards.seed}"
    shell:
        command("split")
