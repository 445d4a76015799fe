"""Simulated files: what is in them, that they are written part by part, and whole or not at all."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from native import joined

from surroscope.config import jobs
from surroscope.errors import UserError
from surroscope.physics import simulate as physics
from surroscope.physics.errors import SolverError
from surroscope.physics.initial_conditions import sample
from surroscope.stages import simulate as stage

OPTIONS = {"preset": "calibrated", "seed": 4, "size": 8, "snapshots": 3}


@pytest.fixture(autouse=True)
def two_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(physics, "BATCH_CELLS", 2 * 16**2)


def settings(ic: str) -> jobs.Simulate:
    return jobs.Simulate(ic=ic, start=3, stop=8, refinement=2, **OPTIONS)


@pytest.mark.parametrize("ic", ["CE-CRP", "NS-BB"])
def test_the_file_holds_what_was_simulated(ic: str, tmp_path: Path) -> None:
    stage.stage(settings(ic), raw=tmp_path / "block.nc")
    expected = joined(physics.simulate(ic, indices=range(3, 8), factor=2, **OPTIONS))
    with xr.open_dataset(tmp_path / "block.nc", engine="h5netcdf") as found:
        state = found["state"]
        assert state.dims == ("trajectory", "time", "channel", "y", "x")
        assert state.dtype == np.float32
        np.testing.assert_array_equal(state.values, expected.states)
        assert found["trajectory"].values.tolist() == [3, 4, 5, 6, 7]
        assert found["time"].values.tolist() == [0.0, 0.5, 1.0]
        assert set(found.data_vars) == {"state"}
        assert found.attrs["cell_updates_by_positive_scheme"] == expected.fallbacks.sum()
        assert (found.attrs["ic"], found.attrs["solved_size"]) == (ic, 16)


def test_a_part_is_solved_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def watched(*arguments: object) -> np.ndarray:
        drawn.append(arguments[3])
        return sample(*arguments)

    monkeypatch.setattr(physics, "sample", watched)
    parts = physics.simulate("CE-RP", indices=range(3, 8), factor=2, **OPTIONS)
    assert drawn == []
    assert len(next(parts).states) == 2
    assert drawn == [3, 4]
    assert [len(part.states) for part in parts] == [2, 1]


def test_only_averaged_frames_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A solver's answer is of the stored size, whatever it was solved at."""
    shapes = []

    def watched(*arguments: object, **options: object) -> object:
        solution = solve(*arguments, **options)
        shapes.append(tuple(solution.states.shape))
        return solution

    for module in (physics.euler, physics.navier_stokes):
        solve = module.solve
        monkeypatch.setattr(module, "solve", watched)
        next(physics.simulate("CE-RP" if module is physics.euler else "NS-BB", indices=[0], factor=2, **OPTIONS))
    assert shapes == [(1, 3, 4, 8, 8), (1, 4, 2, 8, 8)]


def test_a_trajectory_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def broken(*arguments: object) -> np.ndarray:
        written.extend(path.stat().st_size for path in tmp_path.iterdir())
        return sample(*arguments) * (np.nan if arguments[3] == 6 else 1)

    monkeypatch.setattr(physics, "sample", broken)
    with pytest.raises(UserError, match=r"^trajectory 6 of CE-RP .* failed at time 0: .*; choose another data\.seed"):
        stage.stage(settings("CE-RP"), raw=tmp_path / "block.nc")
    assert written
    assert list(tmp_path.iterdir()) == []


def test_a_failure_is_counted_among_all_indices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(physics, "sample", lambda *each: sample(*each) * (np.nan if each[3] == 6 else 1))
    with pytest.raises(SolverError) as caught:
        joined(physics.simulate("CE-RP", indices=range(3, 8), factor=2, **OPTIONS))
    assert caught.value.row == 3
