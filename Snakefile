# So that `snakemake` in this folder runs the workflow.
include: "workflow/Snakefile"


# Of an included file the first rule is not what runs by default.
workflow.default_target = "all"
