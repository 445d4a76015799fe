"""Killed at any stage, on any number of cores: the next run ends with the same tables, bit for bit."""

import os
import re
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from .conftest import SECRET, TINY, Project, fresh

TABLES = "results/tiny/NS/tables/verdict.json"


def start(project: Project) -> subprocess.Popen[bytes]:
    output = subprocess.DEVNULL
    return subprocess.Popen(
        project.command("--quiet", "progress", "--cores", "2", TABLES),
        cwd=project.folder,
        stdout=output,
        stderr=output,
        start_new_session=True,
        # Where the tests run in the background of a script, they and what they start ignore it.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def wait_for_stage(head: subprocess.Popen[bytes], stage: str, ready: str | None = None) -> psutil.Process:
    """The running Python process of a stage, once a file or folder `ready` (a pattern) stands in its project."""
    for _ in range(6000):
        assert head.poll() is None, f"the workflow ended before {stage} was seen"
        for process in psutil.Process(head.pid).children(recursive=True):
            try:
                words = process.cmdline()
            except psutil.Error:
                continue
            if f"surroscope.stages.{stage}" in words and (ready is None or any(Path(process.cwd()).glob(ready))):
                return process
        time.sleep(0.01)
    raise AssertionError(f"{stage} did not start within a minute")


DOWNSTREAM = {
    "simulate": ("data", "results", ".snakemake"),
    "train": ("results/tiny/NS/vit", "results/tiny/NS/tables"),
    "gradients": ("results/tiny/NS/vit/seed10/epoch*", "results/tiny/NS/tables"),
    "influence": ("results/tiny/NS/vit/seed10/epoch*/influence.zarr", "results/tiny/NS/tables"),
}


@pytest.mark.slow
@pytest.mark.parametrize("stage", DOWNSTREAM)
def test_a_killed_stage_is_finished_by_the_next_run(tiny: Project, tmp_path: Path, stage: str) -> None:
    project = tiny.copy(tmp_path / "project")
    project.remove(*DOWNSTREAM[stage])
    ready = {
        "train": "results/tiny/NS/vit/seed10/resume/latest.pt",
        "gradients": "results/tiny/NS/vit/seed10/epoch60/gradients/.shard*.partial-*",
    }.get(stage)
    head = start(project)
    wait_for_stage(head, stage, ready).kill()
    assert head.wait() != 0
    project.run(TABLES)
    assert project.tables() == tiny.tables()
    if stage == "train":
        assert "resuming after epoch" in (project.folder / "results/tiny/NS/vit/seed10/train.log").read_text()
    assert not list(project.folder.glob("**/.*.partial-*"))


@pytest.mark.slow
def test_a_killed_head_is_recovered_by_unlocking(tiny: Project, tmp_path: Path) -> None:
    project = tiny.copy(tmp_path / "project")
    project.remove(*DOWNSTREAM["train"])
    head = start(project)
    wait_for_stage(head, "train")
    os.killpg(head.pid, signal.SIGKILL)
    head.wait()
    project.run("--unlock")
    project.run(TABLES)
    assert project.tables() == tiny.tables()


def test_a_head_is_known_before_it_locks_and_no_longer_than_it_lives(tmp_path: Path) -> None:
    project = fresh(tmp_path / "project", TINY)
    places = [project.folder / ".snakemake" / name for name in ("locks", "heads")]

    def standing() -> list[bool]:
        return [any(place.glob("*")) for place in places]

    for quiet in ("--dry-run", "--unlock"):
        project.run(quiet)
        assert standing() == [False, False]
    head = start(project)
    wait_for_stage(head, "simulate")
    assert standing() == [True, True]
    locked, known = ([path.stat().st_ctime_ns for path in place.glob("*")] for place in places)
    assert max(known) < min(locked)
    head.send_signal(signal.SIGINT)
    assert head.wait() != 0
    assert standing() == [False, False]


@pytest.mark.slow
def test_one_core_and_two_cores_give_the_same_tables(tiny: Project, tmp_path: Path) -> None:
    project = fresh(tmp_path / "project", TINY)
    project.run(TABLES, cores=1)
    assert project.tables() == tiny.tables()


def test_a_deleted_shard_reruns_itself_and_what_follows(tiny: Project, tmp_path: Path) -> None:
    project = tiny.copy(tmp_path / "project")
    project.remove("results/tiny/NS/vit/seed10/epoch60/gradients/shard0.zarr")
    jobs = {"gradients": 1, "reduce": 1, "influence": 1, "tables": 1, "figures": 1, "report": 1}
    assert project.planned() == jobs


@pytest.mark.slow
def test_an_upstream_run_and_then_the_rest_leave_nothing_stale(tiny: Project, tmp_path: Path) -> None:
    change = ("learning_rate: 2.0e-3", "learning_rate: 1.0e-3")
    direct, stepwise = (tiny.copy(tmp_path / name) for name in ("direct", "stepwise"))
    for project in (direct, stepwise):
        project.edit(TINY, *change)
    direct.run(TABLES)
    stepwise.run("--until", "train")
    stepwise.run("--until", "gradients")
    stepwise.run(TABLES)
    assert stepwise.tables() == direct.tables()
    assert stepwise.tables() != tiny.tables()


@pytest.mark.slow
def test_more_epochs_go_on_from_the_checkpoint(tiny: Project, tmp_path: Path) -> None:
    resumed, straight = (tiny.copy(tmp_path / name) for name in ("resumed", "straight"))
    straight.remove(*DOWNSTREAM["train"])
    for project in (resumed, straight):
        project.edit(TINY, "epochs: 60", "epochs: 70")
        project.edit(TINY, "[60]", "[70]")
        project.run("--until", "train")
    assert "resuming after epoch 60" in (resumed.folder / "results/tiny/NS/vit/seed10/train.log").read_text()
    weights = "results/tiny/NS/vit/seed10/weights/epoch70.pt"
    assert (resumed.folder / weights).read_bytes() == (straight.folder / weights).read_bytes()


@pytest.mark.parametrize(
    ("victim", "reader"),
    [
        ("data/store/tiny/NS/NS-BB.zarr", "results/tiny/NS/vit"),
        ("results/tiny/NS/vit/seed10/weights", "results/tiny/NS/vit/seed10/epoch*"),
        ("results/tiny/NS/vit/seed10/epoch60/influence.zarr", "results/tiny/NS/tables"),
    ],
)
def test_a_damaged_store_is_an_error_and_not_a_figure(tiny: Project, tmp_path: Path, victim: str, reader: str) -> None:
    project = tiny.copy(tmp_path / "project")
    files = [path for path in (project.folder / victim).rglob("*") if path.is_file() and path.suffix != ".json"]
    largest = max(files, key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    project.remove(reader, "results/tiny/NS/tables")
    finished = subprocess.run(
        project.command("--cores", "2"), cwd=project.folder, capture_output=True, text=True, check=False
    )
    assert finished.returncode != 0
    said = finished.stdout + finished.stderr
    assert re.search(r"does not have the SHA-256 that its manifest|a chunk is damaged", said)
    assert not (project.folder / TABLES).exists()


@pytest.mark.parametrize(
    ("victim", "removed"),
    [
        ("results/tiny/NS/splits/seed10.json", "results/tiny/NS/vit/seed10/epoch60/evaluation.zarr"),
        ("results/tiny/NS/vit/seed10/history.csv", "results/tiny/NS/tables/training.csv"),
        ("results/tiny/NS/tables/time_lag.csv", "results/tiny/NS/figures/time_lag.png"),
        ("results/tiny/NS/tables/verdict.json", "results/tiny/report.html"),
    ],
)
def test_one_digit_in_a_file_is_an_error_and_not_a_figure(
    tiny: Project, tmp_path: Path, victim: str, removed: str
) -> None:
    project = tiny.copy(tmp_path / "project")
    path = project.folder / victim
    text = path.read_text()
    digit = max(place for place, letter in enumerate(text) if letter in "345")
    path.write_text(text[:digit] + "6" + text[digit + 1 :])
    project.remove(removed)
    finished = subprocess.run(
        project.command("--cores", "2"), cwd=project.folder, capture_output=True, text=True, check=False
    )
    assert finished.returncode != 0
    assert f"error: {victim}: does not have the SHA-256" in finished.stdout + finished.stderr
    assert not (project.folder / removed).exists()


def test_results_hold_no_token_and_no_path_of_this_machine(common: Path, tiny: Project) -> None:
    private = [text.encode() for text in (SECRET, str(common), os.path.expanduser("~") + "/")]
    kept = [path for folder in ("results", "data") for path in (tiny.folder / folder).rglob("*") if path.is_file()]
    kept = [path for path in kept if not path.name.endswith((".log", ".benchmark.tsv"))]
    assert {"report.html", "manifest.json", "scalars.csv"} <= {path.name for path in kept}
    for path in kept:
        for text in private:
            assert text not in path.read_bytes(), (path, text)


@pytest.mark.slow
def test_two_studies_run_side_by_side_on_the_same_data(tiny: Project, tmp_path: Path) -> None:
    project = tiny.copy(tmp_path / "project")
    other = Project(project.folder, "tests/workflow/other.yaml")
    text = (project.folder / TINY).read_text()
    (project.folder / other.configfile).write_text(text.replace("study: tiny", "study: other"))
    project.remove(*DOWNSTREAM["train"])
    head = start(project)
    other.run("results/other/NS/tables/verdict.json")
    assert head.wait() == 0
    for name, table in tiny.tables().items():
        assert project.tables()[name] == table
        assert project.tables()[name.replace("results/tiny", "results/other")] == table


@pytest.mark.slow
def test_two_folders_that_make_the_same_data_at_once_both_have_it(tmp_path: Path) -> None:
    shared, heads = tmp_path / "shared", []
    shared.mkdir()
    for name in ("one", "other"):
        project = fresh(tmp_path / name, TINY)
        (project.folder / "data").symlink_to(shared)
        target = "data/store/tiny/NS/NS-BB.zarr"
        heads.append(subprocess.Popen(project.command("--cores", "1", target), cwd=project.folder))
    assert [head.wait() for head in heads] == [0, 0]
    assert (shared / "store/tiny/NS/NS-BB.zarr/manifest.json").is_file()
