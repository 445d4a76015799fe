"""Jobs in SLURM, with the plugin as it is and queries that fail."""

import asyncio
import logging
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import snakemake_executor_plugin_slurm as plugin

from surroscope.runtime.slurm import keep_watch

JOBS = [SimpleNamespace(external_jobid=number, aux={}) for number in ("7", "8")]
States = dict[str, str] | None


class Rounds:
    """One round of questions after the other, of two attempts each, to SLURM that knows what it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: list[States] = []
        self.ended: list[Any] = []

        async def query(command: str, logger: logging.Logger) -> tuple[States, float | None]:
            states = self.answers.pop(0)
            return states, None if states is None else 0.1

        monkeypatch.setattr(plugin, "query_job_status", query)
        monkeypatch.setattr(plugin, "get_min_job_age", lambda: 3600)
        self.executor = executor = object.__new__(plugin.Executor)
        settings = SimpleNamespace(status_attempts=2, init_seconds_before_status_checks=5, keep_successful_logs=True)
        executor.workflow = SimpleNamespace(executor_settings=settings)
        executor.logger = logging.getLogger(__name__)
        executor.run_uuid = "run"
        executor.status_rate_limiter = nullcontext()
        executor._status_query_failures = executor._status_query_calls = 0
        executor._status_query_total_seconds = 0.0
        executor._status_query_min_seconds, executor._status_query_max_seconds = None, 0.0
        executor._status_query_cycle_rows = []
        executor._next_seconds_between_status_checks = 180
        monkeypatch.setattr(executor, "get_status_command", lambda: "squeue")
        monkeypatch.setattr(executor, "report_job_success", self.ended.append)

    def ask(self, *answers: States, jobs: list[Any] = JOBS) -> list[Any]:
        """The jobs that are watched after a round."""
        self.answers = list(answers)

        async def watched() -> list[Any]:
            return [job async for job in self.executor.check_active_jobs(jobs)]

        return asyncio.run(watched())


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Rounds:
    monkeypatch.setattr(plugin.Executor, "check_active_jobs", plugin.Executor.check_active_jobs)
    return Rounds(monkeypatch)


def test_the_plugin_still_forgets_jobs(rounds: Rounds) -> None:
    """Or `keep_watch` is not needed any more."""
    assert rounds.ask(None, None) == []
    assert rounds.ended == []


def test_jobs_that_are_asked_for_in_vain_stay_watched(rounds: Rounds, caplog: pytest.LogCaptureFixture) -> None:
    keep_watch()
    assert rounds.ask(None, None) == JOBS
    assert "does not answer" in caplog.text
    assert rounds.executor.next_seconds_between_status_checks == 5
    assert rounds.ask(None, {"7": "RUNNING", "8": "COMPLETED"}) == JOBS[:1]
    assert rounds.ended == JOBS[1:]


def test_a_job_is_watched_once(rounds: Rounds) -> None:
    keep_watch()
    keep_watch()
    assert rounds.ask(None, None) == JOBS
    assert rounds.ask({"7": "RUNNING", "8": "PENDING"}) == JOBS


def test_the_first_round_may_come_before_the_executor_is_made(rounds: Rounds) -> None:
    keep_watch()
    del rounds.executor._status_query_calls
    assert rounds.ask(jobs=[]) == []
