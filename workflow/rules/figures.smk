for FIGURE in dict.fromkeys(name for system in STUDY.systems for name in figure_names(system)):
    SPEC = figure(FIGURE)
    DRAWN = f"{RESULTS}/{{system}}/figures/{FIGURE}"

    rule:
        name:
            f"figure_{FIGURE}"
        input:
            table=f"{RESULTS}/{{system}}/tables/{SPEC.table}.csv",
            style=source("surroscope/plots/publication.mplstyle"),
        output:
            # For print first; what the report shows is the last.
            *(f"{DRAWN}.{suffix}" for suffix in SPEC.suffixes[:-1]),
            report(
                f"{DRAWN}.{SPEC.suffixes[-1]}",
                caption=f"../report/{SPEC.caption}.rst",
                category="{system}",
                labels={"figure": SPEC.title},
            ),
        log:
            f"{DRAWN}.log",
        benchmark:
            f"{DRAWN}.benchmark.tsv"
        localrule: True
        conda:
            "../../envs/figures.yaml"
        resources:
            mem_mb=scaled(1000),
            runtime=scaled(10),
        params:
            settings=settings("figures", figure=FIGURE),
            code=code("figures"),
            n=SAMPLE_SIZE,
            unit=UNIT,
            observable=SPEC.observable or "",
        message:
            f"Draw {FIGURE} of {{wildcards.system}}"
        shell:
            "python -m surroscope.stages.figures --settings {params.settings:q} --table {input.table:q}"
            " --files {output:q} > {log:q} 2>&1"


rule report:
    input:
        figures=all_figures(),
        kept=kept_shards(),
        tables=all_tables(),
        verdicts=expand(f"{RESULTS}/{{system}}/tables/verdict.json", system=STUDY.systems),
        data=[path for system in STUDY.systems for path in expand(STORE, system=system, ic=STUDY.classes(system))],
        template=source("surroscope/report/page.html.j2"),
        captions=captions(),
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
            command=f"snakemake --cores all{ELSEWHERE} --configfile {CONFIGURATION}",
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
        " --tables {input.tables:q} {input.verdicts:q} --data {input.data:q} --captions {input.captions:q}"
        " --costs {params.costs:q} --page {output.page:q} --provenance {output.provenance:q} > {log:q} 2>&1"
