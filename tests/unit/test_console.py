"""What a run prints: records of Snakemake's in, lines of a file or a bar of a terminal out."""

import ast
import io
import json
import logging
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yte
from snakemake.logging import LoggerManager
from snakemake.settings.types import OutputSettings
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase
from test_schedule import chain

from surroscope.tools import ending
from surroscope.tools.schedule import Forecast, Job, Work

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "workflow/snakemake_logger_plugin_surroscope/__init__.py"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Console:
    """Snakemake's own logging with the handler, as a run sets it up, and what it has printed."""

    def __init__(self, stream: io.StringIO, **asked: Any) -> None:
        self.stream = stream
        self.log = logging.getLogger("test_console")
        settings = OutputSettings(log_handler_settings={"surroscope": LogHandlerSettingsBase()}, **asked)
        self.manager = LoggerManager(self.log, settings)
        (self.handler,) = self.manager.get_log_handlers()

    def tell(self, event: LogEvent | None = None, msg: str | None = None, level: int = logging.INFO, **of: Any) -> None:
        self.log.log(level, msg, extra=of | ({"event": event} if event else {}))

    def starts(self, jobid: int, rule: str = "train", **of: Any) -> None:
        told = {"rule_msg": f"Do {rule}", "log": [f"{rule}.log"], "output": ["made"], "reason": ""} | of
        self.tell(LogEvent.JOB_INFO, jobid=jobid, rule_name=rule, **told)

    def ends(self, jobid: int) -> None:
        self.tell(LogEvent.JOB_FINISHED, job_id=jobid)

    def said(self) -> str:
        """All that it has printed, after the end of the run."""
        self.manager.stop()
        return self.stream.getvalue()


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    made: list[Console] = []

    def make(stream: io.StringIO, **asked: Any) -> Console:
        monkeypatch.setattr(sys, "stdout" if asked.get("stdout") else "stderr", stream)
        made.append(Console(stream, **asked))
        return made[-1]

    yield make
    for each in made:
        each.manager.stop()


def test_a_file_gets_one_plain_line_a_job(console: Any) -> None:
    run = console(io.StringIO())
    run.tell(LogEvent.RESOURCES_INFO, "Provided cores: 2", cores=2)
    run.tell(LogEvent.RUN_INFO, "Job stats:", stats={"split": 1, "train": 2, "all": 1, "total": 4})
    for jobid, rule in enumerate(["split", "train", "train"], start=1):
        run.tell(LogEvent.JOB_STARTED, "Execute 1 jobs...", jobs=[jobid])
        run.starts(jobid, rule)
        run.ends(jobid)
        run.tell(LogEvent.PROGRESS, done=jobid, total=4)
    run.starts(0, "all", log=[], output=[])
    run.ends(0)
    assert run.said().splitlines() == [
        "3 jobs: split 1, train 2",
        "[1 of 3 jobs] Do split: 0 s",
        "[2 of 3 jobs] Do train: 0 s",
        "[3 of 3 jobs] Do train: 0 s",
    ]


def test_an_estimate_is_said_and_then_the_share_of_time_that_is_done(console: Any) -> None:
    run, jobs = console(io.StringIO()), chain("split", "train")
    run.tell(LogEvent.RESOURCES_INFO, "Provided cores: 2", cores=2)
    run.manager._queue.join()
    works = [{"seconds": 100.0, "size": 2e9}, {"seconds": 300.0, "size": 5e8}]
    answer = json.dumps({"works": works, "keep": False})
    process = SimpleNamespace(communicate=lambda text: (answer, ""), returncode=0, poll=lambda: 0)
    run.handler.price(process, "", {7: 0, 8: 1}, jobs)
    run.starts(7, "split")
    run.ends(7)
    first, second = run.said().splitlines()
    assert first == "estimated: 7 min on 2 cores, 2.5 GB of disk"
    # It took next to nothing: by r = τ/(100 + τ), τ = 20, the training takes a sixth of its 300 s.
    assert re.fullmatch(r"\[  0 %, ETA 50 s\] Do split: 0 s", second)


def test_what_ends_before_the_estimate_comes_is_done_by_then(console: Any) -> None:
    run, jobs = console(io.StringIO()), chain("split", "train")
    run.tell(LogEvent.RESOURCES_INFO, "Provided cores: 2", cores=2)
    run.starts(7, "split")
    run.ends(7)
    run.manager._queue.join()
    answer = json.dumps({"works": [{"seconds": 100.0}, {"seconds": 300.0}], "keep": False})
    process = SimpleNamespace(communicate=lambda text: (answer, ""), returncode=0, poll=lambda: 0)
    run.handler.price(process, "", {7: 0, 8: 1}, jobs)
    run.starts(8)
    run.ends(8)
    assert run.said().splitlines()[-1] == "[100 %, ETA 0 s] Do train: 0 s"


def test_on_a_cluster_all_jobs_that_it_takes_run_at_once(console: Any) -> None:
    run, jobs = console(io.StringIO()), [Job("train", {}, 1, 0, 0, ()) for _ in range(4)]
    run.tell(LogEvent.RESOURCES_INFO, "Provided remote nodes: 100", nodes=100)
    run.manager._queue.join()
    answer = json.dumps({"works": [{"seconds": 60.0, "size": 2e5}] * 4, "keep": True})
    process = SimpleNamespace(communicate=lambda text: (answer, ""), returncode=0, poll=lambda: 0)
    run.handler.price(process, "", {}, jobs)
    assert run.said() == "estimated: 60 s on a cluster that never waits\n"


def test_without_an_estimate_it_says_why(console: Any) -> None:
    run = console(io.StringIO())
    process = SimpleNamespace(communicate=lambda text: ("", "Traceback\nerror: x\n"), returncode=1, poll=lambda: 1)
    run.handler.price(process, "", {}, [])
    assert run.said() == "no estimate of the time: error: x\n"


FAILED = {
    "rule_name": "train",
    "rule_msg": None,
    "jobid": 1,
    "input": ["data"],
    "output": ["weights"],
    "conda_env": None,
    "container_img": None,
    "aux": {},
    "indent": False,
    "shellcmd": "python -m ...",
}


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_errors_and_warnings_are_printed_as_snakemake_does(console: Any, stream: Any, tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text("error: config.yaml: what to do\n")
    failed = FAILED | {"log": [str(log)], "event": LogEvent.JOB_ERROR}
    printed = []
    for own in ({"surroscope": None}, {}):
        run = console(stream(), show_failed_logs=True)
        if not own:
            run.manager.stop()
            run.manager = LoggerManager(run.log, OutputSettings(show_failed_logs=True))
        else:
            run.starts(1, log=[str(log)])
        run.tell(msg="beware", level=logging.WARNING)
        run.tell(msg="Error in rule train, jobid: 1", level=logging.ERROR, **failed)
        run.tell(LogEvent.ERROR, "WorkflowError:\nno", logging.ERROR, exception="WorkflowError")
        run.tell(msg="Exiting because a job execution failed.", level=logging.ERROR)
        text = run.said()
        # What the bar was drawn over is gone, and the times of both runs are not the same.
        kept = [line.rpartition("\r")[2] for line in text.split("\n")]
        printed.append([re.sub(r"^(\S*)\[\w{3} .*\]$", r"\1[then]", line) for line in kept])
        assert "error: config.yaml: what to do" in text
    ours, theirs = ([line for line in lines if line.strip()] for lines in printed)
    # And last in short.
    assert ours.pop() == "failed: Do train: error: config.yaml: what to do"
    assert ours == theirs
    assert len(theirs) > 12


def test_a_job_that_succeeds_when_it_is_tried_again_has_not_failed(console: Any) -> None:
    run = console(io.StringIO())
    for again in (True, False):
        run.starts(1)
        if again:
            run.tell(msg="Error", level=logging.ERROR, **FAILED, log=[], event=LogEvent.JOB_ERROR)
    run.ends(1)
    run.tell(msg="Complete log(s): x")
    said = run.said()
    assert "Error in rule train" in said
    assert "failed:" not in said
    assert "Complete" not in said


def test_what_comes_with_every_job_is_left_out_and_what_is_not_known_is_not(console: Any) -> None:
    run = console(io.StringIO())
    repeated = [
        "Building DAG of jobs...",
        "Select jobs to execute...",
        "Removing temporary output x.",
        "Job 3 has been submitted with SLURM jobid 7 (log: x).",
        "Conda environments: ignored",
    ]
    others = ["Job 3 is something else", "Nothing to be done", "Trying to restart job 3.", "NS, vit: an answer"]
    for text in [*repeated, *others]:
        run.tell(msg=text)
    run.tell(LogEvent.WORKFLOW_STARTED, "Workflow has started!")
    assert run.said().splitlines() == others


def test_a_file_has_no_control_characters(console: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text("train: 12%|##   | 3/25 [00:10<01:10, epoch=3]\n")
    run = console(io.StringIO())
    monkeypatch.setattr("snakemake_logger_plugin_surroscope.SILENCE", -1.0)
    monkeypatch.setattr("snakemake_logger_plugin_surroscope.TICK", 0.01)
    run.tell(LogEvent.RUN_INFO, "Job stats:", stats={"train": 2, "total": 2})
    run.starts(1, log=[str(log)])
    while "run:" not in run.stream.getvalue():
        time.sleep(0.01)
    run.tell(msg="beware", level=logging.WARNING)
    run.ends(1)
    said = run.said()
    assert not re.search(r"[^\n -~]", said)
    # In a long silence a line says that it goes on.
    assert "[0 of 2 jobs] 1 run: Do train, 3/25 [00:10<01:10, epoch=3]\n" in said


def test_a_terminal_has_one_bar_with_the_last_line_of_the_longest_job(console: Any, tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text("starting\ntrain:  12%|##   | 3/25 [00:10<01:10, epoch=3]\n\n")
    run, jobs = console(Terminal(), nocolor=True), chain("train", "tables")
    run.handler.forecast = Forecast(jobs, [Work(60.0), Work(60.0)], 2)
    run.handler.numbers = {1: 0, 2: 1}
    run.starts(3, "tables")
    run.starts(1, log=[str(log)])
    run.tell(msg="beware", level=logging.WARNING)
    run.ends(3)
    run.ends(1)
    said = run.said()
    bars = [part for part in re.split(r"[\r\n]", said) if "|" in part]
    assert bars
    assert "1 run: Do tables" in bars[0]
    for bar in bars[1:]:
        if "run: Do train" in bar:
            assert re.search(r"^  0 %\|.{20}\| \d s, ETA 2 min, [12] run: Do train, 3/25 \[00:10<01:10, epoch=3\]", bar)
    assert any("2 run: Do train" in bar for bar in bars)
    # A warning stands on a line of its own, and at the end no bar is left.
    assert re.search(r"\r *\rbeware\n", said)
    assert not said.rpartition("\r")[2].strip()


def test_more_output_is_snakemakes_own(console: Any) -> None:
    for flag in ("printshellcmds", "verbose", "debug_dag"):
        run = console(io.StringIO(), **{flag: True})
        assert any(isinstance(handler, logging.StreamHandler) for handler in run.log.handlers)
        run.tell(msg="once")
        assert run.said().count("once") == 1


def test_where_nothing_is_to_be_done_it_says_where_the_page_is(console: Any, tmp_path: Path) -> None:
    for there in (False, True):
        run = console(io.StringIO())
        run.handler.page = tmp_path / "report.html"
        if there:
            run.handler.page.touch()
        run.tell(msg="Nothing to be done (all requested files are present and up to date).")
        assert (f"report:  {tmp_path}/report.html" in run.said().splitlines()) == there


def test_a_dry_run_is_a_table_of_rules_and_reasons(console: Any) -> None:
    run = console(io.StringIO(), dryrun=True, stdout=True)
    stats = {"train": 2, "figures_CE": 1, "total": 3}
    run.tell(LogEvent.RUN_INFO, "Job stats:", stats=stats)
    params = "Params have changed since last execution: before: {a: 'x; y'}"
    run.starts(1, reason=f"Missing output files: a, b; {params}")
    run.starts(2, reason="Missing output files: c")
    run.starts(3, "figures_CE", reason="Input files updated by another job: c; Code has changed since last execution")
    run.tell(LogEvent.RUN_INFO, "Job stats:", stats=stats)
    run.tell(msg="Reasons:\n    (check individual jobs above for details)")
    run.tell(msg="This was a dry-run")
    assert run.said().splitlines() == [
        "Job stats:",
        "job         count  why",
        "train           2  not there, other settings or code (1)",
        "figures_CE      1  after other jobs, other rule",
        "total           3",
        "",
        "This was a dry-run",
    ]


def test_a_dry_run_that_ends_early_prints_what_it_knows(console: Any) -> None:
    run = console(io.StringIO(), dryrun=True, stdout=True)
    run.tell(LogEvent.RUN_INFO, "Job stats:", stats={"train": 1, "total": 1})
    run.starts(1, reason="Forced execution")
    assert "train      1  asked for\n" in run.said()


def test_the_end_names_every_verdict_and_what_is_not_settled(tmp_path: Path) -> None:
    bar = {"what": "times", "value": 0.9, "low": 0.8, "high": 1.0}
    cases = {
        "CE": ("kept apart", ["times", "a and b"], bar, "not settled for times; a and b, whose intervals span a limit"),
        "NS": ("times shared", [], bar, "settled, as far as intervals tell"),
        "one": ("times shared", [], bar | {"low": None}, "not settled: there is no interval, which takes more"),
        "weak": ("too weak to say", [], bar, "nothing to settle yet"),
    }
    expected = []
    for system, (label, unsettled, bar, line) in cases.items():
        (tmp_path / system / "tables").mkdir(parents=True)
        verdict = {"answer": f"An answer on {system}.", "label": label, "unsettled": unsettled, "bars": [bar]}
        verdict["moved"] = []
        (tmp_path / system / "tables/verdict.json").write_text(json.dumps({"unet": verdict}))
        expected += [f"{system}, unet: An answer on {system}.", f"  {line}"]
    said = ending.verdicts(tmp_path)
    assert len(said) == len(expected)
    assert all(line.startswith(begin) for line, begin in zip(said, expected, strict=True))
    (tmp_path / "train.benchmark.tsv").write_text("s\tthreads\n1800\t2\n")
    assert ending.took([tmp_path], 94.0) == "this run: 94 s; all jobs of the study: 1 core-hours"


@pytest.mark.parametrize("name", ["default", "workstation"])
def test_a_profile_asks_for_the_console_where_it_is_installed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "profiles" / name / "config.yaml").read_text()
    assert yte.process_yaml(text, require_use_yte=True)["logger"] == ["surroscope"]
    monkeypatch.setattr(LoggerPluginRegistry(), "plugins", {})
    without = yte.process_yaml(text, require_use_yte=True)
    assert "logger" not in without
    assert without["quiet"] == ["host", "reason"]
    assert without["show-failed-logs"] is True


def test_jobs_of_snakemakes_import_little_with_it() -> None:
    body = ast.parse(PLUGIN.read_text()).body
    names = [alias.name for node in body if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in body if isinstance(node, ast.ImportFrom)]
    packages = {name.partition(".")[0] for name in names}
    assert packages - set(sys.stdlib_module_names) == {"snakemake_interface_logger_plugins"}
