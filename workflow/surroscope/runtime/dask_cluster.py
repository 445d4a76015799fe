"""Where Dask computes: threads of this process, workers that are SLURM jobs, or a cluster that runs already."""

import ipaddress
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import dask
from dask.callbacks import Callback
from dask.core import flatten
from distributed import CancelledError, Client, KilledWorker, Scheduler, Security, wait
from distributed.comm import CommClosedError
from distributed.core import Status
from distributed.diagnostics.progress import dependent_keys
from distributed.utils import get_ip_interface

from surroscope.errors import UserError
from surroscope.runtime import progress
from surroscope.runtime.environment import FIXED, SAFE

LOCAL, SLURM = "local", "slurm"
TIMEOUT = 30.0
POLL = "1s"
# Only this machine sees a dashboard there, and any free port does.
DASHBOARD = "127.0.0.1:0"
# `make recover` knows the project's jobs by its beginning.
JOB_NAME = "surroscope-dask"
# What a worker needs beside its blocks.
WORKER_MB = 500
# What Python writes after an exception that another one was raised from.
CAUSED = "\n\nThe above exception was the direct cause of the following exception:\n\n"
# Between two looks at SLURM's queue.
QUEUE_SECONDS = 10.0

# Is told, again and again, how many tasks are to be done and the names of the workers that the scheduler knows.
Tend = Callable[[int, set[Any]], None]


class Place(Protocol):
    """The section `dask` of the configuration."""

    @property
    def cluster(self) -> str: ...
    @property
    def workers(self) -> int: ...
    @property
    def runtime(self) -> int: ...
    @property
    def interface(self) -> str: ...
    @property
    def tls(self) -> Any: ...


@contextmanager
def scheduler(place: Place, threads: int, memory_mb: int, logs: Path, description: str) -> Iterator[None]:
    """Compute Dask graphs at `place`, in blocks of which `threads` at a time take `memory_mb`.

    A worker that is a SLURM job has one thread, and memory for its share. Workers write to the folder `logs`, which
    stays if they fail.

    Raises UserError if the cluster is not there, or loses its scheduler or one block's worker again and again.
    """
    if place.cluster == LOCAL:
        with progress.bar(description, 0, "task") as bar:
            shown = Callback(
                start_state=lambda graph, state: bar.reset(len(state["waiting"]) + len(state["ready"])),
                posttask=lambda *task: bar.update(1),
            )
            with dask.config.set(scheduler="threads", num_workers=threads), shown:
                yield
        return
    workers = _slurm(place, memory_mb // threads + WORKER_MB, logs) if place.cluster == SLURM else _running(place)
    with workers as (client, tend), dask.config.set(scheduler=partial(_get, client, tend, description)):
        try:
            yield
        except KilledWorker as error:
            raise UserError(
                f"dask.cluster: {error.allowed_failures + 1} workers died at {error.task}; see their logs"
                f"{f' in {logs}' if place.cluster == SLURM else ''}: if memory ran out, lower influence.memory_mb"
            ) from None
        except (CancelledError, CommClosedError):
            raise UserError(f"dask.cluster: the scheduler of {place.cluster} went away; run again") from None


@contextmanager
def _running(place: Place) -> Iterator[tuple[Client, Tend]]:
    """A client of the scheduler at an address, whose workers are others' business."""
    try:
        client = Client(place.cluster, timeout=TIMEOUT, security=_security(place), set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"no Dask scheduler answers at {place.cluster} ({error}); start one, or set dask.cluster to {LOCAL!r}"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=TIMEOUT)
        except TimeoutError:
            raise UserError(f"the Dask scheduler at {place.cluster} has no worker; start one there") from None
        workers = client.scheduler_info()["n_workers"]
        print(f"Dask: {workers} workers of {place.cluster}, dashboard {client.dashboard_link}", flush=True)
        yield client, lambda *state: None


@contextmanager
def _slurm(place: Place, memory_mb: int, logs: Path) -> Iterator[tuple[Client, Tend]]:
    """A client of a scheduler in this process, with up to `place.workers` workers that end with it."""
    from dask_jobqueue import SLURMCluster

    if shutil.which("sbatch") is None:
        raise UserError(f"dask.cluster is {SLURM}, but there is no sbatch here; run where it is, or set {LOCAL!r}")
    try:
        address = get_ip_interface(place.interface)
    except ValueError as error:
        raise UserError(f"dask.interface: {error}") from None
    here = ipaddress.ip_address(address).is_loopback
    if not place.tls and not here:
        print(
            f"warning: dask.interface is {place.interface} and dask.tls is not set: whoever reaches {address} can run "
            "code as you while this job runs",
            flush=True,
        )
    node = os.environ.get("SLURMD_NODENAME", socket.gethostname())
    environment = FIXED | SAFE | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    cluster = SLURMCluster(
        # As this job has them, which the profile has told; outside of a job, those that sbatch takes by itself.
        queue=os.environ.get("SLURM_JOB_PARTITION"),
        account=os.environ.get("SLURM_JOB_ACCOUNT"),
        job_name=JOB_NAME,
        cores=1,
        processes=1,
        memory=f"{memory_mb}MiB",
        walltime=str(place.runtime),
        interface=place.interface,
        # Nobody reaches a loopback interface from another node.
        job_extra_directives=[*_of_user("job-extra-directives"), *([f"-w {node}"] if here else [])],
        security=_security(place),
        log_directory=str(logs),
        python=shlex.quote(sys.executable),
        job_script_prologue=[
            *_of_user("job-script-prologue"),
            *(f"export {name}={shlex.quote(value)}" for name, value in environment.items()),
        ],
        worker_extra_args=["--dashboard-address", DASHBOARD],
        scheduler_options={"dashboard_address": DASHBOARD},
    )
    try:
        with cluster, Client(cluster, set_as_default=False) as client:
            refused = subprocess.run(
                ["sbatch", "--test-only"], input=cluster.job_script(), text=True, capture_output=True
            )
            if refused.returncode:
                raise UserError(
                    f"dask.cluster: SLURM refuses the workers: {' '.join(refused.stderr.split())}"
                    f"{f'. By interface {place.interface} they have to be on this machine' if here else ''}"
                )
            port = client.scheduler_info()["services"]["dashboard"]
            print(
                f"Dask: up to {place.workers} workers of {memory_mb} MB as SLURM jobs, dashboard "
                f"http://127.0.0.1:{port}/status on {socket.gethostname()}",
                flush=True,
            )
            yield client, Crew(cluster, place.workers, logs).tend
        shutil.rmtree(logs, ignore_errors=True)
    finally:
        with suppress(OSError):
            logs.rmdir()  # if it is empty


class Crew:
    """Workers that are SLURM jobs. They stay until the work is done; one that is lost is submitted again.

    Neither Dask nor dask-jobqueue hears of a job that ends before its worker has joined, and so SLURM is asked for it.
    """

    def __init__(self, cluster: Any, most: int, logs: Path) -> None:
        self.cluster, self.most, self.logs = cluster, most, logs
        self.joined: set[str] = set()
        self.failed: list[str] = []
        # Jobs that sbatch refused, which have no number, by one of our own; Dask does not end where one is held.
        self.refused: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        self.count = 0
        self.asked = time.monotonic()

    def tend(self, tasks: int, known: set[Any]) -> None:
        """Have as many workers as tasks, up to the most. known: names of the workers that have joined and are there

        A worker that ended before it joined is said, and submitted again, so many times in all as there may be workers.
        Raises UserError if after that none is there and none is in the queue.
        """
        # Where there are as many already, this submits anew what Dask has given up.
        self.cluster.scale(max(len(self.cluster.worker_spec), min(self.most, tasks)))
        # By number: Dask does not end where a worker is held that it let go.
        jobs = {name: self.number(worker) for name, worker in list(self.cluster.workers.items())}
        self.joined |= {job for name, job in jobs.items() if name in known}
        waiting = {name: job for name, job in jobs.items() if job not in self.joined}
        if not waiting or time.monotonic() < self.asked + QUEUE_SECONDS:
            return
        self.asked = time.monotonic()
        queue = subprocess.run(["squeue", "--me", "--all", "--noheader", "--format=%A"], capture_output=True, text=True)
        if queue.returncode:  # SLURM may be away for a while
            return
        ended = {name: job for name, job in waiting.items() if job not in queue.stdout.split()}
        for name, job in ended.items():
            if job in self.failed:
                continue
            self.failed.append(job)
            print(f"warning: Dask worker {job} ended before it joined: {self.last_line(job)}", flush=True)
            if len(self.failed) <= self.most:
                self.cluster.loop.add_callback(self.forget, name)
        if len(self.failed) > self.most and ended.keys() == self.cluster.worker_spec.keys():
            raise UserError(
                f"dask.cluster: no worker is left and none is in the queue; the last one, {self.failed[-1]}, said: "
                f"{self.last_line(self.failed[-1])}; see {self.logs}"
            )

    def number(self, worker: Any) -> str:
        if worker.job_id:
            return str(worker.job_id)
        if worker not in self.refused:
            self.count += 1
            self.refused[worker] = f"refused-{self.count}"
        return self.refused[worker]

    def forget(self, name: Any) -> None:
        """Have Dask submit a worker anew. It gives nothing back: what tornado gets it waits for, and so begins."""
        worker = self.cluster.workers.pop(name, None)
        if worker is not None and not worker.job_id:
            worker.status = Status.failed  # or Dask would not end, which takes it for one that has yet to begin

    def last_line(self, job: str) -> str:
        """What a job wrote last, to standard error or else to standard output; why, if that it failed to start."""
        if job.startswith("refused"):
            return "nothing, as sbatch refused it"
        texts = [path.read_text(errors="replace").strip() for path in sorted(self.logs.glob(f"*-{job}.*"))]
        text = next((text for text in texts if text), "nothing")
        *causes, last = [part.splitlines()[-1] for part in text.split(CAUSED)]
        if not last.endswith("failed to start."):
            return last
        # The first that has a message: of one that waited in vain, the first of all is that it was cancelled.
        return next((cause for cause in causes if ": " in cause), last)


def _of_user(key: str) -> list[str]:
    """Lines that the user's configuration of dask-jobqueue has."""
    return dask.config.get(f"jobqueue.slurm.{key}", None) or []


def _security(place: Place) -> Security | None:
    if place.tls is None:
        return None
    files = {
        f"tls_{role}_{file}": getattr(place.tls, key)
        for role in ("scheduler", "worker", "client")
        for file, key in (("cert", "certificate"), ("key", "key"))
    }
    return Security(tls_ca_file=place.tls.ca, require_encryption=True, **files)


def _get(client: Client, tend: Tend, description: str, graph: Any, keys: Any, **options: Any) -> Any:
    """What the workers of a client make of the keys of a graph, with progress on standard error."""
    results = client.get(graph, keys, sync=False)
    futures = list(flatten([results]))
    names = [future.key for future in futures]
    with progress.bar(description, 0, "task") as bar, client.as_current():
        while True:
            with suppress(TimeoutError):
                wait(futures, timeout=POLL)
            known, remaining, workers = client.run_on_scheduler(_tasks, names=names)
            bar.total = max(bar.total, known)
            bar.update(bar.total - remaining - bar.n)
            if bar.postfix != f"{len(workers)} workers":
                bar.set_postfix_str(f"{len(workers)} workers")
            tend(remaining, workers)
            states = {future.status for future in futures}
            if "pending" not in states or states - {"pending", "finished"}:
                return client.gather(results)


def _tasks(names: list[Any], dask_scheduler: Scheduler) -> tuple[int, int, set[Any]]:
    """How many tasks of these results a scheduler knows, how many of them are to be done, and its workers' names."""
    tasks = [dask_scheduler.tasks[name] for name in names if name in dask_scheduler.tasks]
    known, remaining = (len(dependent_keys(tasks, complete)[0]) for complete in (True, False))
    return known, remaining, {worker.name for worker in dask_scheduler.workers.values()}
