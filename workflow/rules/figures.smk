for SYSTEM in STUDY.systems:
    DRAWN = f"{RESULTS}/{{system}}/figures"

    rule:
        name:
            f"figures_{SYSTEM}"
        input:
            # Without a name what the stage finds by itself.
            source("surroscope/plots/publication.mplstyle"),
            tables=expand(
                f"{RESULTS}/{{system}}/tables/{{table}}.csv",
                table=sorted({figure(name).table for name in figure_names(SYSTEM)}),
                allow_missing=True,
            ),
        output:
            # For print first; what the report shows is the last.
            files=[f"{DRAWN}/{name}.{suffix}" for name in figure_names(SYSTEM) for suffix in suffixes(name)[:-1]]
            + [
                report(
                    f"{DRAWN}/{name}.{suffixes(name)[-1]}",
                    caption=caption_file(name, SYSTEM),
                    category="{system}",
                    labels={"figure": figure(name).title},
                )
                for name in figure_names(SYSTEM)
            ],
        log:
            f"{DRAWN}/figures.log",
        benchmark:
            f"{DRAWN}/figures.benchmark.tsv"
        wildcard_constraints:
            system=re.escape(SYSTEM),
        localrule: True
        conda:
            "../../envs/figures.yaml"
        threads: 2
        resources:
            **growing(mem_mb=1500, runtime=10),
        params:
            **job("figures", modules=MODULES),
        message:
            "Draw the figures of {wildcards.system}"
        shell:
            command("figures", "--threads {threads}")


rule report:
    input:
        source("surroscope/report/page.html.j2"),
        source("surroscope/report/page.css"),
        source("surroscope/report/explorer.js"),
        kept_shards(),
        contracts(),
        figures=all_figures(),
        tables=all_tables()
        + expand(f"{RESULTS}/{{system}}/tables/{{file}}.json", system=STUDY.systems, file=["verdict", "explorer"]),
        data=[path for system in STUDY.systems for path in expand(STORE, system=system, ic=STUDY.classes(system))],
    output:
        page=report(REPORT, caption="../report/page.rst", category="Report"),
        provenance=PROVENANCE,
    log:
        f"{RESULTS}/report.log",
    benchmark:
        f"{RESULTS}/report.benchmark.tsv"
    localrule: True
    conda:
        "../../envs/figures.yaml"
    resources:
        **growing(mem_mb=1000, runtime=10),
    params:
        **job("report", command=AGAIN, n=SAMPLE_SIZE, unit=UNIT),
        # Not inputs: what jobs took changes nothing else.
        costs=costs,
    message:
        "Write the report"
    shell:
        command("report", "--costs {params.costs:q}")
