for SYSTEM in STUDY.systems:
    DRAWN = f"{RESULTS}/{{system}}/figures"

    rule:
        name:
            f"figures_{SYSTEM}"
        input:
            tables=expand(
                f"{RESULTS}/{{system}}/tables/{{table}}.csv",
                table=sorted({figure(name).table for name in figure_names(SYSTEM)}),
                allow_missing=True,
            ),
            style=source("surroscope/plots/publication.mplstyle"),
        output:
            # For print first; what the report shows is the last.
            [f"{DRAWN}/{name}.{suffix}" for name in figure_names(SYSTEM) for suffix in figure(name).suffixes[:-1]],
            [
                report(
                    f"{DRAWN}/{name}.{figure(name).suffixes[-1]}",
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
        resources:
            mem_mb=scaled(1000),
            runtime=scaled(10),
        params:
            settings=settings("figures"),
            code=fingerprint.of_code("surroscope.stages.figures", *MODULES),
        message:
            "Draw the figures of {wildcards.system}"
        shell:
            "python -m surroscope.stages.figures --settings {params.settings:q} --tables {input.tables:q}"
            " --files {output:q} > {log:q} 2>&1"


rule report:
    input:
        figures=all_figures(),
        kept=kept_shards(),
        tables=all_tables(),
        verdicts=expand(f"{RESULTS}/{{system}}/tables/verdict.json", system=STUDY.systems),
        data=[path for system in STUDY.systems for path in expand(STORE, system=system, ic=STUDY.classes(system))],
        template=source("surroscope/report/page.html.j2"),
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
        mem_mb=scaled(1000),
        runtime=scaled(10),
    params:
        settings=settings(
            "report",
            command=AGAIN,
            n=SAMPLE_SIZE,
            unit=UNIT,
        ),
        code=code("report"),
        # Not inputs: what jobs took changes nothing else.
        costs=costs,
    message:
        "Write the report"
    shell:
        "python -m surroscope.stages.report --settings {params.settings:q} --figures {input.figures:q}"
        " --tables {input.tables:q} {input.verdicts:q} --data {input.data:q}"
        " --costs {params.costs:q} --page {output.page:q} --provenance {output.provenance:q} > {log:q} 2>&1"
