"""What a run of Surroscope prints: on a terminal one bar in estimated time, in a file one plain line a finished job.

Snakemake finds it by this package's name; `profiles/` ask for it where it is installed. Every warning and error is
printed as Snakemake prints it, and so is any information that is not known to repeat itself with every job. All of it
stands in `.snakemake/log/` as ever, and is printed again with `--printshellcmds`, `--verbose` or `--debug-dag`.
"""

import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

if TYPE_CHECKING:  # Every job of Snakemake's imports this module, and has no need of these.
    from tqdm import tqdm

    from surroscope.tools.schedule import Forecast, Job

# Information that comes with every job or before every run, and of which the lines here say what is new.
KNOWN = re.compile(
    r"Assuming unrestricted shared filesystem|Building DAG of jobs|Conda environments: ignored|"
    r"Elapsed time: |Group jobs: inactive|Processed \d+ potential jobs|Removing temporary output|"
    r"Select jobs to execute|Singularity containers: ignored|Using shell: |Shutting down, this might take|"
    # Of SLURM's executor; in a dry run, which has a table instead.
    r"Job \d+ has been submitted|Submitted array job|Cleaning up SLURM log files|"
    r"Reasons:\n|Rules with provenance triggered jobs|Some jobs were triggered by provenance"
)
SILENT = {
    LogEvent.WORKFLOW_STARTED,
    LogEvent.JOB_STARTED,
    LogEvent.GROUP_INFO,
    LogEvent.PROGRESS,
    LogEvent.RULEGRAPH,
}
# Of no use but after a failure.
USUAL = re.compile(rf"Complete log\(s\): |{KNOWN.pattern}")
# How parts of Snakemake's reasons begin, after which come files and settings, and what a dry run says of them.
REASONS = {
    "Missing output files": "not there",
    "Incomplete output files": "left incomplete",
    "Updated input files": "its inputs are newer",
    "Input files updated by another job": "after other jobs",
    "Set of input files has changed": "other inputs",
    "Code has changed": "other rule",
    "Params have changed": "other settings or code",
    "Software environment definition has changed": "other environment",
    "Forced execution": "asked for",
}
# Seconds between two looks at what runs: on a terminal, and in a file in which no job has ended meanwhile.
TICK, SILENCE = 1.0, 300.0
# Bytes on disk of which it is worth to speak.
LEAST = 1e6
# Bytes of a log that hold its last line, and how many jobs' logs are looked at.
TAIL, LOOKED_AT = 4096, 4


class Running(NamedTuple):
    """A job that runs: its rule's message, its logs, whether it makes anything, and since when."""

    message: str
    logs: Sequence[str]
    makes: bool
    since: float


class LogHandler(LogHandlerBase):
    """Is given every record in one thread, a plan in another, and looks at what runs in a third."""

    writes_to_file = False
    has_filter = False
    has_formatter = False
    needs_rulegraph = False
    writes_to_stream = True

    def __post_init__(self) -> None:
        from snakemake.logging import ColorizingTextHandler

        asked = self.common_settings
        # Where more is asked for than fits here, Snakemake prints all of it itself.
        self.writes_to_stream = not (asked.verbose or asked.printshellcmds or asked.debug_dag)
        self.stream: TextIO = sys.stdout if asked.stdout else sys.stderr
        self.terminal = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        self.text = ColorizingTextHandler(nocolor=asked.nocolor, stream=self.stream)
        self.began = self.said = time.time()
        self.cores, self.at_once, self.total, self.done = 1, "on 1 core", 0, 0
        self.stats: dict[str, int] = {}
        self.reasons: dict[str, Counter[str]] = {}
        self.running: dict[Any, Running] = {}
        self.failed: dict[Any, Running] = {}
        self.numbers: dict[Any, int] = {}
        self.took: dict[Any, float] = {}
        self.forecast: Forecast | None = None
        self.pricing: subprocess.Popen[str] | None = None
        self.bar: tqdm | None = None
        self.ticker: threading.Thread | None = None
        self.ended = threading.Event()
        # Of the study, once the workflow is read.
        self.page: Path | None = None

    def setFormatter(self, fmt: logging.Formatter | None) -> None:
        super().setFormatter(fmt)
        self.text.setFormatter(fmt)

    def emit(self, record: Any) -> None:
        event = getattr(record, "event", None)
        try:
            if not self.writes_to_stream:
                return
            if record.levelno >= logging.WARNING:
                if event == LogEvent.JOB_ERROR and (job := self.running.pop(record.jobid, None)):
                    self.failed[record.jobid] = job
                self.as_it_is(record)
            elif event == LogEvent.RUN_INFO:
                self.planned(record)
            elif event == LogEvent.RESOURCES_INFO:
                self.resources(record)
            elif event == LogEvent.JOB_INFO:
                self.started(record)
            elif event == LogEvent.JOB_FINISHED:
                self.finished(record)
            elif event not in SILENT and not (KNOWN if self.failed else USUAL).match(str(record.msg)):
                self.as_it_is(record)
                if str(record.msg).startswith("Nothing to be done") and self.page and self.page.exists():
                    self.say(f"report:  {self.page}")
        except BrokenPipeError:
            pass  # Nobody reads any more, as with `| head`.
        except Exception:
            self.handleError(record)

    def as_it_is(self, record: logging.LogRecord) -> None:
        """As Snakemake prints it."""
        self.hide()
        self.text.emit(record)
        self.show()

    def resources(self, record: Any) -> None:
        """Cores of this machine, or of a cluster how many jobs it is given at one time."""
        if cores := getattr(record, "cores", None):
            self.cores, self.at_once = cores, f"on {cores} cores"
        elif nodes := getattr(record, "nodes", None):
            self.cores, self.at_once = nodes, "on a cluster that never waits"

    def planned(self, record: Any) -> None:
        """How many jobs each rule has, which comes before a run, and before and after a dry run."""
        again, self.stats = bool(self.stats), dict(record.stats)
        counts = {rule: count for rule, count in self.stats.items() if rule not in ("all", "total")}
        self.total = sum(counts.values())
        if not self.common_settings.dryrun:
            self.say(
                f"{self.total} job{'s' * (self.total != 1)}: "
                + ", ".join(f"{rule} {count}" for rule, count in counts.items())
            )
        elif again:
            self.tabulate()

    def tabulate(self) -> None:
        """A line for each rule of a dry run: its jobs, and why they would run."""
        wide = max(map(len, self.stats))
        lines = ["Job stats:", f"{'job':{wide}}  count  why"]
        for rule, count in self.stats.items():
            found = self.reasons.get(rule, Counter()).most_common()
            why = ", ".join(f"{reason}{f' ({number})' * (number < count)}" for reason, number in found)
            lines.append(f"{rule:{wide}}  {count:5}  {why}".rstrip())
        self.stats = {}
        self.say("\n".join([*lines, ""]))

    def started(self, record: Any) -> None:
        if self.common_settings.dryrun:
            found = [words for begin, words in REASONS.items() if re.search(rf"(^|; ){begin}", record.reason)]
            self.reasons.setdefault(record.rule_name, Counter()).update(found or [record.reason.partition(":")[0]])
            return
        message = record.rule_msg or record.rule_name
        self.failed.pop(record.jobid, None)
        self.running[record.jobid] = Running(message, record.log, bool(record.output), record.created)
        self.show()

    def finished(self, record: Any) -> None:
        job = self.running.pop(record.job_id, None)
        if job is None or not job.makes:
            return
        self.done += 1
        took = record.created - job.since
        self.took[record.job_id] = took
        if self.forecast and record.job_id in self.numbers:
            self.forecast.took[self.numbers[record.job_id]] = took
        if self.terminal:
            self.hide()
            self.show()
        else:
            from surroscope.tools.schedule import brief

            self.say(f"[{self.progress(record.created)[1]}] {job.message}: {brief(took)}")

    def plan(self, asked: dict[str, Any], numbers: dict[Any, int], jobs: "Sequence[Job]") -> None:
        """Have what the jobs take estimated while the first of them run.

        asked: what `surroscope.tools.price` reads beside the jobs; numbers: of the jobs, by Snakemake's
        """
        quiet = {str(each).rpartition(".")[2] for each in self.common_settings.quiet or ()}
        if not self.writes_to_stream or quiet & {"PROGRESS", "ALL", "progress", "all"}:
            return
        text = json.dumps(asked | {"jobs": list(map(asdict, jobs))}, default=str)
        command = [sys.executable, "-m", "surroscope.tools.price"]
        pipe = subprocess.PIPE
        # In this thread: the process ends when the thread does that started it.
        self.pricing = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        threading.Thread(target=self.price, args=(self.pricing, text, numbers, jobs), daemon=True).start()

    def price(self, pricing: subprocess.Popen[str], text: str, numbers: dict[Any, int], jobs: "Sequence[Job]") -> None:
        """Wait for the estimate, and say it."""
        from surroscope.tools.schedule import Forecast, Work, brief, disk, size

        answer, error = pricing.communicate(text)
        self.acquire()
        try:
            if self.ended.is_set():
                return
            if pricing.returncode:
                self.say(f"no estimate of the time: {(error.strip().splitlines() or ['it was ended'])[-1]}")
                return
            found = json.loads(answer)
            works = [Work(**work) for work in found["works"]]
            forecast, peak = Forecast(jobs, works, self.cores), disk(jobs, works, self.cores, found["keep"])
            whole = forecast.now({})[1]
            # Of those that ended before they were estimated.
            forecast.took |= {numbers[job]: took for job, took in self.took.items() if job in numbers}
            self.numbers, self.forecast = numbers, forecast
            room = f", {size(peak)} of disk" if peak >= LEAST else ""
            self.say(f"estimated: {brief(whole)} {self.at_once}{room}")
        finally:
            self.release()

    def progress(self, now: float) -> tuple[float, str]:
        """How far the run is, as a share and in words: in estimated time if there is an estimate, else in jobs."""
        if self.forecast is None:
            return self.done / max(self.total, 1), f"{self.done} of {self.total} jobs"
        from surroscope.tools.schedule import brief

        running = {self.numbers[job]: now - each.since for job, each in self.running.items() if job in self.numbers}
        share, left = self.forecast.now(running)
        return share, f"{100 * share:3.0f} %, ETA {brief(left)}"

    def longest(self) -> str:
        """How many jobs run, and how far the one is that has run longest, of those that log progress if one does."""
        jobs = sorted(self.running.values(), key=lambda job: job.since)
        job, said = jobs[0], ""
        for each in jobs[:LOOKED_AT]:
            line = last_line(each.logs[0]) if each.logs else ""
            if "%|" in line:
                job, said = each, f", {line.rpartition('| ')[2]}"
                break
        return f"{len(jobs)} run: {job.message}{said}"

    def say(self, text: str) -> None:
        self.hide()
        print(text, file=self.stream, flush=True)
        self.said = time.time()
        self.show()

    def hide(self) -> None:
        if self.bar is not None:
            self.bar.clear()

    def show(self) -> None:
        """Draw the bar, where there is a terminal and something runs."""
        if self.ended.is_set() or not self.running:
            return
        if self.ticker is None:
            self.ticker = threading.Thread(target=self.tick, daemon=True)
            self.ticker.start()
        if self.terminal:
            self.draw()

    def draw(self) -> None:
        from tqdm import tqdm

        from surroscope.tools.schedule import brief

        now = time.time()
        share, words = self.progress(now)
        words = f"{brief(now - self.began)}, {words.rpartition(' %, ')[2]}, {self.longest()}"
        if self.bar is None:
            form = "{percentage:3.0f} %|{bar:20}| {desc}"
            wide = columns(self.stream)
            self.bar = tqdm(total=1.0, file=self.stream, leave=False, ncols=wide, bar_format=form, desc=words)
        self.bar.n, self.bar.ncols = share, columns(self.stream)
        self.bar.set_description_str(words)

    def tick(self) -> None:
        while not self.ended.wait(TICK):
            self.acquire()
            try:
                if self.terminal:
                    self.show()
                elif self.running and time.time() - self.said > SILENCE:
                    self.say(f"[{self.progress(time.time())[1]}] {self.longest()}")
            except OSError:
                return  # Nobody reads any more.
            finally:
                self.release()

    def close(self) -> None:
        self.ended.set()
        if self.pricing is not None and self.pricing.poll() is None:
            self.pricing.kill()
        self.acquire()
        try:
            if self.common_settings.dryrun and self.stats:
                self.tabulate()
            for job in self.failed.values():
                self.say(": ".join(filter(None, ["failed", job.message, *map(last_line, job.logs[:1])])))
            self.failed = {}
            if self.bar is not None:
                self.bar.close()
        except OSError:
            pass  # Nobody reads any more.
        finally:
            self.release()
        super().close()


def columns(stream: TextIO) -> int:
    """Of a terminal, less the one in which some wrap; some say that they have none."""
    try:
        return (os.get_terminal_size(stream.fileno()).columns or 100) - 1
    except OSError:
        return 99


def last_line(path: str) -> str:
    """The last line of a file that says something, "" if there is none."""
    try:
        with Path(path).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
