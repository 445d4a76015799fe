"""Stores are written whole or not at all, and what was changed afterwards is not read."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from surroscope.errors import UserError
from surroscope.runtime import claims, store


def write(path: Path) -> None:
    dataset = xr.Dataset(
        {"state": (("class", "x"), np.arange(6.0).reshape(2, 3))}, coords={"class": store.names("class", ["a-b", "c"])}
    )
    with store.writing(path, {"code": "0"}) as temporary:
        dataset.to_zarr(temporary, zarr_format=3, consolidated=False)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write(tmp_path / "data.zarr")
    return tmp_path / "data.zarr"


def chunk(path: Path) -> Path:
    return path / "state" / "c" / "0" / "0"


def test_what_was_written_is_read_with_its_names(written: Path) -> None:
    dataset = store.read(written)
    assert dataset["class"].values.tolist() == ["a-b", "c"]
    assert dataset["state"].sel({"class": "c"}).values.tolist() == [3, 4, 5]
    assert store.manifest(written)["code"] == "0"


def test_plain_xarray_reads_it_too(written: Path) -> None:
    dataset = xr.open_zarr(written, consolidated=False)
    assert dataset["state"].dims == ("class", "x")


def test_the_same_data_have_the_same_digest(written: Path, tmp_path: Path) -> None:
    write(tmp_path / "again.zarr")
    assert store.manifest(tmp_path / "again.zarr")["digest"] == store.manifest(written)["digest"]


def damage(path: Path) -> None:
    data = bytearray(chunk(path).read_bytes())
    data[-1] ^= 1
    chunk(path).write_bytes(data)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (damage, "does not have the SHA-256"),
        (lambda path: chunk(path).unlink(), "is missing"),
        (lambda path: (path / "extra").write_text(""), "was not written by this workflow"),
        (lambda path: (path / store.MANIFEST).unlink(), "no readable manifest"),
        (lambda path: (path / store.MANIFEST).write_text("{"), "no readable manifest"),
    ],
)
def test_a_changed_store_is_an_error_that_names_it(written: Path, change, words: str) -> None:
    change(written)
    with pytest.raises(store.DamagedStoreError, match=words) as caught:
        store.read(written)
    assert str(written) in str(caught.value)
    assert isinstance(caught.value, UserError)


# What the Finder, Explorer, KDE, NFS and FUSE leave in folders.
STRAY = (
    ".DS_Store",
    "._zarr.json",
    "._c",
    "Thumbs.db",
    "desktop.ini",
    ".directory",
    ".nfs00000a1b2c",
    ".fuse_hidden0001",
)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", STRAY)
def test_what_file_managers_leave_in_a_store_damages_nothing(written: Path, name: str) -> None:
    digest = store.manifest(written)["digest"]
    for folder in (written, written / "state", chunk(written).parent):
        (folder / name).write_text("not of the store")
    assert store.read(written)["state"].values.sum() == 15
    write(written.parent / "again.zarr")
    assert store.verify(written.parent / "again.zarr")["digest"] == digest
    (written / "mine.txt").write_text("")
    with pytest.raises(
        store.DamagedStoreError, match=r"mine\.txt was not written by .*; remove that file and run again"
    ):
        store.read(written)


def test_what_file_managers_leave_while_a_store_is_written_is_not_of_it(tmp_path: Path) -> None:
    path = tmp_path / "data.zarr"
    with store.writing(path, {}) as temporary:
        xr.Dataset({"state": ("x", np.arange(3.0))}).to_zarr(temporary, zarr_format=3, consolidated=False)
        (temporary / "state" / ".DS_Store").write_text("")
    (path / "state" / ".DS_Store").unlink()
    assert store.read(path)["state"].values.tolist() == [0, 1, 2]


def test_a_failed_writer_leaves_what_was_there_and_nothing_else(written: Path) -> None:
    def fail() -> None:
        with store.writing(written, {}) as temporary:
            temporary.mkdir()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert store.read(written)["state"].size == 6
    assert [path.name for path in written.parent.iterdir()] == ["data.zarr"]


def test_the_temporaries_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".data.partial-1.zarr").mkdir()
    (tmp_path / ".other.partial-1.zarr").mkdir()
    write(tmp_path / "data.zarr")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.partial-1.zarr", "data.zarr"]


def test_a_claimant_that_was_killed_leaves_nothing_behind_and_one_that_lives_claims_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.csv"
    (tmp_path / ".table.csv.writer-killed").write_text("")
    (tmp_path / ".other.csv.writer-killed").write_text("")
    replace, others = os.replace, []

    def another_first(source: Path, target: Path) -> None:
        if not others:
            others.append(source)
            others.append(claims.Claim(path))
        replace(source, target)

    monkeypatch.setattr(os, "replace", another_first)
    claim = claims.Claim(path)
    claim.require()
    with pytest.raises(claims.StaleWriterError):
        others[1].require()
    assert sorted(file.name for file in tmp_path.iterdir()) == [".other.csv.writer-killed", ".table.csv.writer"]


def test_a_store_replaces_the_one_before_it(written: Path) -> None:
    write(written)
    assert store.read(written)["state"].size == 6


def test_the_newest_writer_wins_and_an_older_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"

    def write_twice() -> None:
        with store.atomic(path) as older:
            older.write_text("older")
            with store.atomic(path) as newer:
                newer.write_text("newer")
                assert newer != older

    with pytest.raises(claims.StaleWriterError, match=r"table\.csv: not written by .* has begun to write it later"):
        write_twice()
    assert path.read_text() == "newer"
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]


def test_an_older_writer_whose_folder_was_taken_away_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.zarr"

    def write_twice() -> None:
        with store.writing(path, {}) as older:
            older.mkdir()
            write(path)
            (older / "part").write_text("")

    with pytest.raises(claims.StaleWriterError):
        write_twice()
    store.verify(path)
    assert [file.name for file in tmp_path.iterdir()] == ["data.zarr"]


def test_a_job_that_began_earlier_is_refused_however_late_it_writes(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with claims.claimed([path]):
        newer = claims.Claim(path)
        path.write_text("newer")
        newer.release()
        with pytest.raises(claims.StaleWriterError), store.atomic(path) as older:
            older.write_text("older")
    assert path.read_text() == "newer"
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]


def test_a_job_that_began_earlier_leaves_what_the_newer_one_is_writing(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"

    def write_late() -> None:
        with store.atomic(path):
            raise AssertionError("it was let in")

    with claims.claimed([path]):
        newer = claims.Claim(path)
        half = tmp_path / f".table.partial-{newer.name}.csv"
        half.write_text("half")
        with pytest.raises(claims.StaleWriterError):
            write_late()
    assert half.read_text() == "half"


JOB = """
from pydantic import BaseModel
from surroscope.runtime import cli, store

class Settings(BaseModel):
    number: int = 0

def stage(settings: Settings, table: cli.Output):
    print("began", flush=True)
    input()
    with store.atomic(table) as temporary:
        temporary.touch()
    print("written\\n" * 100)

if __name__ == "__main__":
    cli.run(stage)
"""


@pytest.mark.parametrize("same", [True, False])
def test_a_job_that_is_refused_says_so_and_takes_what_the_other_wrote_if_it_is_the_same(
    tmp_path: Path, same: bool
) -> None:
    (tmp_path / "job.py").write_text(JOB)
    log, jobs = tmp_path / "log", []
    found = os.pathsep.join([str(Path(store.__file__).parents[2]), str(tmp_path)])
    options = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": found}, "stdin": subprocess.PIPE}
    for number in range(2):
        settings = json.dumps({} if same else {"number": number})
        command = [sys.executable, "-m", "job", "--settings", settings, "--table", "table.csv"]
        with log.open("w") as stream:
            job = subprocess.Popen(command, stdout=stream, stderr=stream, **options)
        while "began" not in log.read_text():
            assert job.poll() is None
            time.sleep(0.01)
        jobs.append(job)
    for job in jobs:
        job.stdin.write(b"\n")
        job.stdin.flush()
        while job is jobs[0] and "refused" not in log.read_text():
            time.sleep(0.01)
    assert [job.wait() for job in jobs] == [0 if same else 1, 0]
    began, refused, *written = log.read_text().splitlines()
    assert began == "began"
    assert refused.startswith("refused: table.csv: not written by ")
    assert refused.endswith("has begun to write it later; let that one finish")
    taken = ["what that one wrote is what this one was to write, and is taken"] if same else []
    assert sorted(written) == sorted(["written"] * 100 + [""] + taken)


def test_a_job_writes_what_it_claimed(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with claims.claimed([path]), store.recording({"code": "abc"}), store.atomic(path) as temporary:
        temporary.write_text("mine")
    assert path.read_text() == "mine"
    assert sorted(file.name for file in tmp_path.iterdir()) == [".table.csv.made.json", "table.csv"]
    made = store.made(path)
    assert made is not None
    assert (made["code"], made["size"], made["digest"]) == ("abc", 4, hashlib.sha256(b"mine").hexdigest())
    store.require_whole(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: path.write_text("time,value\n0,1.6\n"), "does not have the SHA-256"),
        (lambda path: path.write_text("time"), "does not have the SHA-256"),
        (lambda path: path.write_text(""), "does not have the SHA-256"),
        (lambda path: store.record_of(path).unlink(), r"no readable \.table\.csv\.made\.json"),
        (lambda path: store.record_of(path).write_text("{}"), "does not have the SHA-256|no readable"),
        (lambda path: store.record_of(path).write_text("[]"), "no readable"),
    ],
)
def test_a_file_that_is_not_what_was_written_is_refused(tmp_path: Path, change, words: str) -> None:
    path = tmp_path / "table.csv"
    with claims.claimed([path]), store.atomic(path) as temporary:
        temporary.write_text("time,value\n0,1.5\n")
    change(path)
    with pytest.raises(store.DamagedStoreError, match=words) as caught:
        store.require_whole(path)
    assert str(path) in str(caught.value)


def test_of_data_all_but_the_states_is_checked_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "data.zarr"
    with store.writing(path, {}) as temporary:
        arrays = {"state": ("trajectory", np.arange(6.0)), "mean": ("trajectory", np.arange(6.0) / 3)}
        xr.Dataset(arrays).to_zarr(temporary, zarr_format=3, consolidated=False)
    for name in ("state", "mean"):
        (chunk,) = [file for file in (path / name / "c").rglob("*") if file.is_file()]
        chunk.write_bytes(bytes([chunk.read_bytes()[0] ^ 1]) + chunk.read_bytes()[1:])
        if name == "state":
            store.read(path, contents=False)
    with pytest.raises(store.DamagedStoreError, match=r"file mean/c/"):
        store.read(path, contents=False)


def test_a_claim_that_fails_takes_the_ones_before_it_along(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError), claims.claimed([tmp_path / "table.csv", tmp_path / "file" / "below.csv"]):
        raise AssertionError("it was let in")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with store.atomic(tmp_path / "table.csv") as temporary:
        temporary.touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "table.csv"]


def test_a_claim_that_is_lost_is_not_released(tmp_path: Path) -> None:
    older, newer = claims.Claim(tmp_path / "resume"), claims.Claim(tmp_path / "resume")
    older.release()
    newer.require()
    newer.release()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_what_is_written_has_the_permissions_of_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write(tmp_path / "data.zarr")
    finally:
        os.umask(before)
    for path in (tmp_path / "data.zarr").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~mask, path
