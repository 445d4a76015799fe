from datetime import datetime

from snakemake.logging import logger

from surroscope.tools import ending
from surroscope.tools.schedule import Job


def estimated():
    """Have the console estimate what this run takes, if it is ours; as a module's, rules may have other names."""
    handlers = [handler for handler in workflow.logger_manager.get_log_handlers() if hasattr(handler, "plan")]
    if not (handlers and ALONE):
        return
    dag = workflow.dag
    numbers = {job: number for number, job in enumerate(dag.needrun_jobs())}
    needs = {job: tuple(numbers[other] for other in dag.dependencies[job] if other in numbers) for job in numbers}
    jobs = [Job(job.rule.name, dict(job.wildcards_dict), job.threads, 0, 0, needs[job]) for job in numbers]
    gpus = [job.resources.get("gpu", 0) for job in numbers]
    asked = {"config": config, "source": CONFIGURATION, "gpus": gpus}
    for handler in handlers:
        handler.plan(asked, {job.jobid: number for job, number in numbers.items()}, jobs)


def link_latest_report():
    """results/report.html is the report of the study that was finished last."""
    page = results() / "report.html"
    latest = results().parent / page.name
    if page.exists():
        latest.unlink(missing_ok=True)
        latest.symlink_to(page.relative_to(latest.parent))


def say_ending():
    """The verdicts and where they are, if this run has written the report. A log, so that it follows what was logged."""
    page = results() / "report.html"
    if not any(str(page) in job.output for job in workflow.dag.finished_jobs):
        return
    seconds = (datetime.now() - workflow.start_time).total_seconds()
    place = f"{os.getcwd()}/" if ELSEWHERE else ""
    lines = [
        "",
        *ending.verdicts(results()),
        ending.took(map(Path, costs(None, rules.report.output)), seconds),
        f"report:  {place}{results().parent / page.name} -> {page}",
        f"figures: {place}{results()}/*/figures",
        f"tables:  {place}{results()}/*/tables",
    ]
    logger.info("\n".join(lines))
