"""The project's own campaign of kills and damages finds nothing, and would find something."""

import random
from pathlib import Path

import pytest

from tests import drill

from .conftest import Project


@pytest.mark.slow
def test_a_short_drill_finds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    drill.main(kills=1, faults=60, minutes=10)
    said = capsys.readouterr().out
    assert "60 faults: 0 silent" in said
    assert " kills: 0 problems" in said
    assert "| weights |" in said


def test_what_is_whole_is_not_noticed_and_what_is_not_is(
    tiny: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny.copy(tmp_path / "project").folder)
    for path in (
        "results/tiny/NS/tables/scalars.csv",
        "results/tiny/report.html",
        "data/store/tiny/NS/NS-BB.zarr/mean/zarr.json",
    ):
        file = Path(path)
        assert not drill.noticed(file, "tiny"), path
        whole = file.read_bytes()
        for name, fault in drill.FAULTS.items():
            changed = fault(whole, random.Random(0))
            file.unlink() if changed is None else file.write_bytes(changed)
            found = drill.noticed(file, "tiny")
            file.write_bytes(whole)
            assert found, (path, name)
