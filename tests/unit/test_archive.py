"""A finished study is checked and packed: whatever was damaged since is named, and equal contents give equal bytes."""

import gzip
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from surroscope.config import jobs
from surroscope.errors import UserError
from surroscope.runtime import claims, cli, provenance, store
from surroscope.tools import verify
from surroscope.tools.archive import archive, packed

TINY = Path(__file__).parents[1] / "workflow" / "tiny.yaml"
DATA = Path("data/store/tiny/NS/NS-BB.zarr")
TABLE = Path("results/tiny/NS/tables/training.csv")
CONFIG = Path("tiny.yaml")


def write_store(path: Path, value: float) -> None:
    with store.writing(path, {"code": "c"}) as temporary:
        xr.Dataset({"x": ("n", np.full(3, value))}).to_zarr(temporary, zarr_format=3, consolidated=False)


def finish() -> None:
    """Write what the report writes at the end of a study."""
    page = Path("results/tiny/report.html")
    page.write_text("<p>done</p>")
    settings = json.loads(jobs.settings(verify.configured(CONFIG), "report", command="", n="", unit=""))
    found = provenance.stores_of(settings["stores"], page.parent)
    assert [path.name for path in found] == ["weights", "grams.zarr", "shard0.zarr"]
    record = provenance.record(settings["config"], {"versions": {}}, files=[TABLE, page], stores=[DATA, *found])
    path = page.parent / provenance.FILE
    with claims.claimed([path]), store.atomic(path) as temporary:
        temporary.write_text(json.dumps(record))


@pytest.fixture(autouse=True)
def _finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(TINY, CONFIG)
    checkpoint = Path("results/tiny/NS/vit/seed10")
    for number, path in enumerate(
        [
            DATA,
            checkpoint / "weights",
            checkpoint / "epoch60/grams.zarr",
            checkpoint / "epoch60/gradients/shard0.zarr",
            # Of earlier configurations: another epoch, a solver, symmetry, more shards.
            checkpoint / "epoch1/grams.zarr",
            checkpoint / "epoch60/full.zarr",
            checkpoint / "epoch60/orbits.zarr",
            checkpoint / "epoch60/gradients/shard9.zarr",
        ]
    ):
        write_store(path, number)
    TABLE.parent.mkdir(parents=True)
    TABLE.write_text("a\n1\n")
    finish()


def test_what_is_whole_passes(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("results/tiny/NS/vit/seed10/epoch1")
    verify.main(None)
    verify.main(CONFIG)
    assert capsys.readouterr().out.count("checked 4 stores and 2 files") == 2


def test_everything_that_was_damaged_is_named() -> None:
    TABLE.write_text("a\n2\n")
    Path("results/tiny/report.html").unlink()
    shutil.rmtree("results/tiny/NS/vit/seed10/weights")
    chunk = next(path for path in Path("results/tiny/NS/vit/seed10/epoch60/grams.zarr").rglob("c/0"))
    chunk.write_bytes(b"x" * chunk.stat().st_size)
    write_store(DATA, 7.0)
    with pytest.raises(UserError) as found:
        verify.main(None)
    lines = str(found.value).splitlines()
    expected = ["weights: missing", "grams.zarr: file", "whole, but written after", "edited", "report.html: missing"]
    assert len(lines) == 5
    assert all(part in line for part, line in zip(expected, lines, strict=True))
    with pytest.raises(UserError, match=r"weights: missing"):
        archive(CONFIG)
    assert not Path("results/tiny.tar.gz").exists()


def test_an_archive_holds_its_sums_and_the_same_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = archive(CONFIG)
    first = path.read_bytes()
    CONFIG.touch()
    assert archive(CONFIG).read_bytes() == first
    assert str(tmp_path).encode() not in gzip.decompress(first)
    with tarfile.open(path) as tar:
        assert {"tiny/NS/tables/training.csv", "tiny/config.yaml", "tiny/provenance.json", "tiny/versions.txt"} <= set(
            tar.getnames()
        )
        assert {(entry.mtime, entry.uid, entry.gid, entry.uname) for entry in tar} == {(0, 0, 0, "")}
    verify.main(path)
    assert "all as it was written" in capsys.readouterr().out


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "copy.tar.gz"
    whole = archive(CONFIG).read_bytes()
    for part in (whole[: len(whole) // 2], whole[:200] + b"x" + whole[201:], b"", b"no archive"):
        path.write_bytes(part)
        with pytest.raises(UserError, match=r"copy\.tar\.gz"):
            verify.main(path)


def test_an_edited_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "copy.tar.gz"
    path.write_bytes(gzip.compress(gzip.decompress(packed("s", {"a": b"1234", "b": b"5"})).replace(b"1234", b"1235")))
    assert verify.verify_archive(path).problems == (f"{path}: a is damaged; take another copy",)


def test_a_study_that_is_not_finished_or_was_changed_is_refused(tmp_path: Path) -> None:
    content = yaml.safe_load(CONFIG.read_text())
    CONFIG.write_text(yaml.safe_dump(content | {"figures": {"dpi": 100}}))
    with pytest.raises(UserError, match=r"tiny\.yaml: was changed since study 'tiny' was run"):
        archive(CONFIG)
    CONFIG.write_text(yaml.safe_dump(content | {"study": "other"}))
    with pytest.raises(
        UserError, match=r"results/other/provenance\.json: missing, so study 'other' is not finished here"
    ):
        archive(CONFIG)
    CONFIG.write_text("a: [")
    with pytest.raises(UserError, match=r"tiny\.yaml: neither JSON nor YAML"):
        archive(CONFIG)
    with pytest.raises(UserError, match=r"none\.yaml: no such file"):
        verify.main(Path("none.yaml"))


def test_home_folders_are_not_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/jane")
    CONFIG.write_text(f"# of /home/jane/flows/\n{CONFIG.read_text()}")
    with tarfile.open(archive(CONFIG)) as tar:
        stream = tar.extractfile("tiny/config.yaml")
        assert stream is not None
        assert stream.read().startswith(b"# of ~/flows/\n")


def test_a_tools_command_line_is_its_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Path, int, bool]] = []

    def count(what: Path = Path("all"), *, cores: int = 2, dry: bool = False) -> None:
        calls.append((what, cores, dry))

    for line in ("count", "count some --cores 3 --dry"):
        monkeypatch.setattr("sys.argv", line.split())
        cli.tool(count)
    assert calls == [(Path("all"), 2, False), (Path("some"), 3, True)]
    monkeypatch.setattr("sys.argv", ["verify", "none.yaml"])
    with pytest.raises(SystemExit, match=r"^error: none\.yaml: no such file"):
        cli.tool(verify.main)
