import os

from snakemake.utils import min_version

min_version("9.27")

if not workflow.configfiles:

    # With --directory there may be none in the working directory.
    configfile: "config.yaml" if os.path.exists("config.yaml") else os.path.join(workflow.basedir, "config.yaml")


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
        PROVENANCE,
        all_figures(),
        all_tables(),
        kept_shards(),


onstart:
    heads.arrive()
    for key, factory in STUDY.own_factories().items():
        print(f"your own code is run: {key}.factory: {factory.factory}")
    if STUDY.data.source == "pdegym":
        print(pdegym.NOTICE)


onsuccess:
    heads.leave()
    remove_caches()
    link_latest_report()


onerror:
    heads.leave()
