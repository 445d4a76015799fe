"""Jobs that Snakemake gave to SLURM, while SLURM does not answer."""

import sys
from collections.abc import AsyncIterator
from typing import Any


def keep_watch() -> None:
    """Have Snakemake ask on for jobs that it has asked for in vain.

    Its plugin for SLURM forgets them once all queries of one round have failed, as while SLURM's controller restarts,
    and Snakemake then waits for ever for jobs that have long ended.
    """
    plugin = sys.modules.get("snakemake_executor_plugin_slurm")
    if plugin is None or plugin.Executor.check_active_jobs.__module__ == __name__:
        return
    check = plugin.Executor.check_active_jobs

    async def check_active_jobs(self: Any, active_jobs: list[Any]) -> AsyncIterator[Any]:
        # The thread that asks begins before the executor has its attributes, and has no jobs then.
        answers = self._status_query_calls if active_jobs else 0
        async for job in check(self, active_jobs):
            yield job
        if active_jobs and self._status_query_calls == answers:
            self.logger.warning("SLURM does not answer; Snakemake asks again")
            # Soon, as SLURM keeps the ends of jobs for minutes only.
            self.next_seconds_between_status_checks = self.workflow.executor_settings.init_seconds_before_status_checks
            for job in active_jobs:
                yield job

    plugin.Executor.check_active_jobs = check_active_jobs
