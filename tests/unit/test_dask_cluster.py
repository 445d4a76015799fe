"""Where Dask computes: on clusters as in this process, bit for bit, whatever happens to workers."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask
import dask.array as da
import numpy as np
import psutil
import pytest
import xarray as xr
import yaml
from dask import compute
from distributed import LocalCluster
from response_study import HERE, Study, contracted

from surroscope.config.jobs import settings
from surroscope.config.sections import Dask
from surroscope.config.study import check
from surroscope.errors import UserError
from surroscope.influence.gram import gram
from surroscope.runtime import cli, dask_cluster, store

DEFAULT = yaml.safe_load((Path(__file__).parents[2] / "config.yaml").read_text())


def at(cluster: str, **keys: Any) -> Dask:
    return Dask(cluster=cluster, **keys)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A certificate that is its own authority, as docs/dask.md makes it."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "dask.key", folder / "dask.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=dask"]
    subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return {"ca": str(certificate), "certificate": str(certificate), "key": str(key)}


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster


def identical(first: Path, second: xr.Dataset) -> None:
    xr.testing.assert_identical(store.read(first).load().drop_attrs(), second)


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_cluster_gives_bit_for_bit_what_this_process_gives(
    study: Study,
    shards: list[Path],
    tls: dict[str, str],
    encrypted: bool,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    first = store.read(contracted(study, *shards)).load().drop_attrs()
    keys = {"tls": tls} if encrypted else {}
    security = dask_cluster._security(at("local", **keys))
    options = {"security": security, "protocol": "tls://"} if encrypted else {}
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, **options) as cluster:
        # The workers are in the folder where they were started.
        monkeypatch.chdir(study.folder)
        relative = [path.relative_to(study.folder) for path in shards]
        identical(contracted(study, *relative, at=at(cluster.scheduler_address, **keys)), first)
        if encrypted:
            monkeypatch.setattr(dask_cluster, "TIMEOUT", "1s")
            with pytest.raises(UserError, match="no Dask scheduler answers"):
                contracted(study, *shards, at=at(cluster.scheduler_address.replace("tls", "tcp")))
    said = capfd.readouterr()
    assert f"1 workers of {cluster.scheduler_address}, dashboard" in said.out
    assert "contract: 100%" in said.err


def slow(block: np.ndarray) -> np.ndarray:
    time.sleep(0.1)
    return block


def test_a_worker_that_is_killed_changes_nothing_and_a_scheduler_that_ends_is_said(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    matrix = da.from_array(np.random.default_rng(0).normal(size=(4, 300)), chunks=(4, 10))
    with dask_cluster.scheduler(HERE, 1, 100, tmp_path, "contract"):
        (expected,) = compute(gram(matrix))
    pids = [worker.pid for worker in cluster.workers.values()]
    place = at(cluster.scheduler_address)
    with dask_cluster.scheduler(place, 1, 100, tmp_path, "contract"):
        threading.Timer(1, os.kill, (pids[0], signal.SIGKILL)).start()
        (found,) = compute(gram(matrix.map_blocks(slow)))
    assert pids[0] not in [worker.pid for worker in cluster.workers.values()]
    assert np.array_equal(found, expected)
    threading.Timer(1, cluster.close).start()
    with (
        pytest.raises(UserError, match=r"the scheduler of tcp://.* went away"),
        dask_cluster.scheduler(place, 1, 100, tmp_path, "contract"),
    ):
        compute(gram(matrix.map_blocks(slow)))


def test_a_block_that_kills_every_worker_is_said(cluster: LocalCluster, tmp_path: Path) -> None:
    place = at(cluster.scheduler_address)
    fatal = da.ones((2, 2), chunks=2).map_blocks(lambda block: os._exit(1), dtype=float, meta=np.ones((0, 0)))
    with (
        pytest.raises(UserError, match=r"4 workers died at .*lower influence\.memory_mb"),
        dask_cluster.scheduler(place, 1, 100, tmp_path, "contract"),
    ):
        compute(fatal)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with sbatch, squeue and scancel for processes of this machine; it keeps the jobs' scripts."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    commands = {
        "sbatch": f"""[ "$1" = --test-only ] && {{ cat > {folder}/tested; exit; }}
            cp "$1" {folder}/$$.sh
            log=$(sed -n 's/^#SBATCH -e //p' "$1")
            setsid bash -c 'exec bash {folder}/'$$'.sh > /dev/null 2> "${{0/\\%J/$$}}"' "$log" &
            touch {folder}/job-$!
            echo Submitted batch job $!""",
        "squeue": f"""for job in {folder}/job-*; do
                ! grep -qs '^State:.[^Z]' /proc/${{job##*-}}/status || echo ${{job##*-}}
            done""",
        "scancel": f"""touch {folder}/cancelled-$1
            until kill -KILL -- -$1 || [ ! -d /proc/$1 ]; do sleep 0.1; done
            while pgrep --session $1 --runstates RSD > /dev/null; do sleep 0.1; done""",
    }
    for name, text in commands.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def of_jobs(slurm: Path) -> list[psutil.Process]:
    """The processes of its jobs, each a session of its own."""
    return [each for each in psutil.process_iter() if (slurm / f"job-{os.getsid(each.pid)}").exists()]


def listening(processes: list[psutil.Process]) -> set[str]:
    connections = [found for process in processes for found in process.net_connections()]
    return {found.laddr.ip for found in connections if found.status == psutil.CONN_LISTEN}


def test_workers_are_jobs_like_this_one_that_listen_on_loopback_alone_and_end_with_it(
    slurm: Path, tls: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("SLURM_JOB_PARTITION", "here")
    monkeypatch.setenv("SLURM_JOB_ACCOUNT", "mine")
    place = at("slurm", workers=2, tls=tls)

    def fail() -> None:
        with dask_cluster.scheduler(place, 2, 100, tmp_path / "k.workers", "contract"):
            (found,) = compute(gram(da.ones((2, 40), chunks=(2, 10))))
            assert np.array_equal(found, np.full((2, 2), 40.0))
            assert len(of_jobs(slurm)) >= 2
            assert listening([psutil.Process(), *of_jobs(slurm)]) == {"127.0.0.1"}
            raise UserError("of the stage")

    with pytest.raises(UserError, match="of the stage"):
        fail()
    jobs = list(slurm.glob("*.sh"))
    assert 1 <= len(jobs) <= 2
    assert len(list(slurm.glob("cancelled-*"))) == len(jobs)
    assert not [job for job in of_jobs(slurm) if job.status() != psutil.STATUS_ZOMBIE]
    for line in ("-J surroscope-dask", "-p here", "-A mine", "-t 60", "--mem=550M", f"-w {socket.gethostname()}"):
        assert f"#SBATCH {line}\n" in jobs[0].read_text(), line
    assert "up to 2 workers of 550 MB as SLURM jobs, dashboard http://127.0.0.1:" in capfd.readouterr().out


def test_workers_that_end_before_they_join_are_said_and_submitted_again(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(dask_cluster, "QUEUE_SECONDS", 1.0)
    matrix, logs = da.ones((2, 40), chunks=(2, 10)), tmp_path / "k.workers"

    def by(prologue: str) -> np.ndarray:
        with (
            dask.config.set({"jobqueue.slurm.job-script-prologue": [prologue]}),
            dask_cluster.scheduler(at("slurm", workers=2), 2, 100, logs, "contract"),
        ):
            (found,) = compute(gram(matrix))
        return found

    first = f"if mkdir {tmp_path}/first 2> /dev/null; then echo one >&2; echo no room >&2; exit 1; fi; sleep 2"
    assert np.array_equal(by(first), np.full((2, 2), 40.0))
    (warning,) = [line for line in capfd.readouterr().out.splitlines() if line.startswith("warning: Dask worker")]
    assert warning.endswith("ended before it joined: no room")
    assert len(list(slurm.glob("*.sh"))) == 3
    assert not logs.exists()
    with pytest.raises(
        UserError, match=r"no worker is left and none is in the queue.*said: no module; see .*k\.workers"
    ):
        by("echo no module >&2; exit 1")
    assert len(list(slurm.glob("*.sh"))) == 3 + 2 * 2
    assert logs.exists()


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (["ValueError('no such network')", "RuntimeError('Nanny failed to start.')"], "ValueError: no such network"),
        (
            ["KeyError", "TimeoutError", "OSError('no way')", "RuntimeError('Nanny failed to start.')"],
            "OSError: no way",
        ),
        (["RuntimeError('Nanny failed to start.')"], "RuntimeError: Nanny failed to start."),
        (["ValueError('long mended')", "RuntimeError('no memory')"], "RuntimeError: no memory"),
    ],
)
def test_of_a_worker_that_failed_to_start_the_cause_is_said(tmp_path: Path, raised: list[str], said: str) -> None:
    code = "error = None\n"
    for one in raised:
        code += f"try: raise {one} from error\nexcept Exception as caught: error = caught\n"
    ended = subprocess.run([sys.executable, "-c", f"{code}raise error"], capture_output=True, text=True)
    (tmp_path / "dask-7.err").write_text(ended.stderr)
    assert dask_cluster.Crew(None, 1, tmp_path).last_line("7") == said


def test_a_worker_that_sbatch_refuses_once_is_submitted_once_more(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(dask_cluster, "QUEUE_SECONDS", 1.0)
    refuse = f'[ "$1" = --test-only ] || ! mkdir {tmp_path}/once 2> /dev/null || {{ echo too many >&2; exit 1; }}'
    path = slurm / "sbatch"
    path.write_text(path.read_text().replace("#!/bin/bash\n", f"#!/bin/bash\n{refuse}\n"))
    with dask_cluster.scheduler(at("slurm", workers=1), 2, 100, tmp_path / "k.workers", "contract"):
        (found,) = compute(gram(da.ones((2, 40), chunks=(2, 10))))
    assert np.array_equal(found, np.full((2, 2), 40.0))
    said = capfd.readouterr().out
    assert "warning: Dask worker refused-1 ended before it joined: nothing, as sbatch refused it" in said
    assert len(list(slurm.glob("*.sh"))) == len(list(slurm.glob("cancelled-*"))) == 1


def test_workers_stay_while_there_is_work_for_fewer(tmp_path: Path) -> None:
    """Or the healthy one may be let go, where another is lost."""
    asked: list[int] = []
    job = SimpleNamespace(job_id="7")
    fake = SimpleNamespace(worker_spec={"a": {}, "b": {}}, workers={"a": job}, scale=asked.append)
    crew = dask_cluster.Crew(fake, 2, tmp_path)
    crew.tend(1, {"a"})
    fake.worker_spec.popitem()  # which Dask has given up
    crew.tend(5, {"a"})
    assert asked == [2, 2]


def test_what_slurm_refuses_is_said_in_one_line(slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (slurm / "sbatch").write_text("#!/bin/bash\necho no such partition >&2; exit 1\n")
    logs = tmp_path / "k.workers"

    def refused(words: str, **keys: Any) -> None:
        place = at("slurm", **keys)
        with pytest.raises(UserError, match=words), dask_cluster.scheduler(place, 1, 100, logs, "contract"):
            pass
        assert not logs.exists()

    refused(r"SLURM refuses the workers: no such partition\. By interface lo they have to be on this machine")
    refused("dask.interface: 'ib7' is not a valid network interface", interface="ib7")
    monkeypatch.setenv("PATH", str(tmp_path))
    refused("there is no sbatch here")


def test_a_scheduler_that_is_not_there_is_said(
    study: Study, shards: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_cluster, "TIMEOUT", "1s")
    with pytest.raises(UserError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        contracted(study, *shards, at=at("tcp://127.0.0.1:9"))


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"cluster": "tcps://host:8786"}, ["dask.cluster: found 'tcps://host:8786'", "tls://host:port", "not tcps://"]),
        ({"cluster": "pbs"}, ["dask.cluster: found 'pbs'", "choose local, slurm"]),
        ({"cluster": "tcp://host"}, ["dask.cluster: found 'tcp://host'", "tcp://host:port"]),
        ({"cluster": "tls://host:8786"}, ["dask: cluster is tls://host:8786", "give it ca, certificate and key"]),
        ({"tls": {"ca": "no.pem"}}, ["dask.tls.ca: found 'no.pem'; no such file"]),
        ({"workers": 0}, ["dask.workers: found 0", "greater than or equal to 1"]),
        ({"interface": "a b"}, ["dask.interface: found 'a b'", "letters, digits"]),
    ],
)
def test_a_wrong_key_is_said_before_any_job(section: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        check(DEFAULT | {"dask": section}, "config.yaml")
    first = str(caught.value).splitlines()[0]
    assert first.startswith("config.yaml: dask")
    for word in words:
        assert word in first


def test_tcp_takes_no_certificates(tls: dict[str, str]) -> None:
    with pytest.raises(UserError, match="takes no tls; write tls://"):
        check(DEFAULT | {"dask": {"cluster": "tcp://host:8786", "tls": tls}}, "config.yaml")


def test_where_dask_computes_runs_nothing_again() -> None:
    here, there = (check(DEFAULT | {"dask": {"workers": n}}, "") for n in (1, 2))
    job = {"system": "CE", "model": "vit", "seed": "10", "epoch": "20"}
    for stage in ("reduce", "cross"):
        assert settings(here, stage, **job) == settings(there, stage, **job)
    words = {"command": "", "n": "", "unit": ""}
    assert settings(here, "report", **words) == settings(there, "report", **words)


def test_the_stage_reads_the_whole_section() -> None:
    assert cli.load(Dask, HERE.model_dump_json()) == Dask()
    with pytest.raises(UserError, match="--dask: unknown key 'where'; known keys are cluster, "):
        cli.load(Dask, '{"where": "here"}', "--dask")
