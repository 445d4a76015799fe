from snakemake.utils import min_version

min_version("9.27")

if not workflow.configfiles:

    configfile: "config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/gradients.smk"
include: "workflow/rules/influence.smk"
include: "workflow/rules/diagnostics.smk"
include: "workflow/rules/figures.smk"


rule all:
    default_target: True
    input:
        REPORT,
        all_figures(),
        all_tables(),
        kept_shards(),


onstart:
    if STUDY.data.source == "pdegym":
        print(pdegym.NOTICE)


onsuccess:
    remove_caches()
    link_latest_report()
