"""Trajectories that cannot be used are left out where the study says so: counted, named, and the rest as they are."""

from pathlib import Path
from typing import Any

import native
import numpy as np
import pytest

from surroscope.config import jobs
from surroscope.data.selection import Source
from surroscope.errors import UserError
from surroscope.runtime import store
from surroscope.stages import ingest, report


def trajectories(count: int = 12, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return draw.uniform(1, 2, size=(count, 4, 4, 8, 8)).astype(np.float32)


def spoiled() -> np.ndarray:
    """Of twelve trajectories 1 is not finite, 3 the same as 0, 4 at rest, 6 has a density below 0, 7 infinity."""
    values = trajectories()
    values[1, 2, 1, 3, 4] = np.nan
    values[3] = values[0]
    values[4] = values[4, :1]
    values[6, 3, 0, 0, 0] = -1e-3
    values[7, 0, 3, 0, 0] = np.inf
    return values


def settings(count: int, **changes: Any) -> jobs.Ingest:
    return native.settings((count, 4, 4, 8, 8), format="xarray", **changes)


def ingested(folder: Path, files: list[np.ndarray], own: jobs.Ingest) -> Path:
    raw = [native.write(folder / f"{name}.nc", values) for name, values in zip("abc", files, strict=False)]
    ingest.stage(own, raw=raw, store=folder / "CE-RP.zarr")
    return folder / "CE-RP.zarr"


EVERY = ["nan", "negative", "rest", "duplicate"]


@pytest.mark.parametrize("block", [2**26, 4 * 4 * 8 * 8 * 4 * 2, 4 * 4 * 8 * 8])
def test_what_is_named_is_left_out_and_the_rest_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(ingest, "BLOCK_BYTES", block)
    values, more = spoiled(), trajectories(3, 1)
    more[1] = values[2]
    path = ingested(tmp_path, [values, more], settings(9, skip=EVERY))
    found = store.read(path)
    taken = [0, 2, 5, 8, 9, 10, 11]
    assert np.array_equal(found["state"].values, np.concatenate([values[taken], more[[0, 2]]]))
    assert found["row"].values.tolist() == [*taken, 0, 2]
    assert found["file"].values.tolist() == ["a.nc"] * 7 + ["b.nc"] * 2
    assert found.attrs["skipped"] == {"duplicate": 2, "nan": 2, "negative": 1, "rest": 1}
    reasons = {"1": "nan", "3": "duplicate", "4": "rest", "6": "negative", "7": "nan"}
    assert found.attrs["skipped_rows"] == {"a.nc": reasons, "b.nc": {"1": "duplicate"}}
    facts = report.card(path).facts
    assert facts["left out"] == "2 duplicate, 2 nan, 1 negative, 1 rest"
    assert float(found["mean"][0]) == pytest.approx(found["state"].values[:, :, 0].mean(dtype=float))


def test_nothing_is_read_beyond_the_last_one_that_is_taken(tmp_path: Path) -> None:
    path = ingested(tmp_path, [spoiled(), trajectories(3, 1)], settings(3, skip=["nan", "duplicate"]))
    assert store.read(path)["row"].values.tolist() == [0, 2, 4]
    assert store.read(path).attrs["skipped"] == {"duplicate": 1, "nan": 1}


def test_a_file_of_which_nothing_is_left_is_passed_over(tmp_path: Path) -> None:
    path = ingested(tmp_path, [spoiled()[[1, 7]], trajectories(3, 1)], settings(3, skip=["nan"]))
    found = store.read(path)
    assert np.array_equal(found["state"].values, trajectories(3, 1))
    assert (found["row"].dtype.kind, found["row"].values.tolist()) == ("i", [0, 1, 2])
    assert found["file"].values.tolist() == ["b.nc"] * 3


def test_rows_are_left_out_by_hand(tmp_path: Path) -> None:
    rows = {"a.nc": [1, 3, 6, 7], str(tmp_path / "b.nc"): [0]}
    path = ingested(tmp_path, [spoiled(), trajectories(3, 1)], settings(10, skip_rows=rows))
    found = store.read(path)
    assert found["row"].values.tolist() == [0, 2, 4, 5, 8, 9, 10, 11, 1, 2]
    assert found.attrs["skipped"] == {"by hand": 5}
    both = settings(8, skip_rows={"a.nc": [1, 3]}, skip=EVERY)
    path = ingested(tmp_path, [spoiled(), trajectories(3, 1)], both)
    assert store.read(path).attrs["skipped"] == {"by hand": 2, "nan": 1, "negative": 1, "rest": 1}


def test_where_nothing_is_left_out_the_store_is_the_same(tmp_path: Path) -> None:
    usual = store.manifest(ingested(tmp_path, [trajectories()], settings(12)))["digest"]
    assert store.manifest(ingested(tmp_path, [trajectories()], settings(12, skip=EVERY)))["digest"] == usual


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"skip": ["duplicate"]},
            r"momentum_x is nan in trajectory 1, .*leave such trajectories out by data.skip: .nan.",
        ),
        ({"skip_rows": {"a.nc": [1, 7]}}, r"density is -0\.001\d* in trajectory 6, .*out by data.skip: .negative."),
        (
            {"skip": ["nan", "negative"], "trajectories": 9},
            r"trajectory 3 is the same as trajectory 0 of .*a\.nc; .*data.skip: .duplicate.",
        ),
        (
            {"skip": EVERY, "trajectories": 8},
            r"hold 7 trajectories without 1 duplicate, 2 nan, 1 negative, 1 rest, exp",
        ),
        ({"skip_rows": {"a.nc": [12]}}, r"data\.skip_rows\.CE-RP: a\.nc: .12. asked for, found rows 0 to 11; expected"),
        ({"skip_rows": {"z.nc": [1]}}, r"data\.skip_rows\.CE-RP: z\.nc: .1. asked for, found 0 files of this name"),
    ],
)
def test_errors_name_the_key_that_leaves_out(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        ingested(tmp_path, [spoiled()], settings(10, **changes))


def test_neighbours_are_read_at_once() -> None:
    source = Source(Path("a"), 9, 1, {0: "nan", 4: "nan", 5: "rest", 8: "nan"})
    assert source.runs() == [slice(1, 4), slice(6, 8)]
    assert Source(Path("a"), 2, 1).runs() == [slice(0, 2)]
    assert Source(Path("a"), 1, 1, {0: "nan"}).runs() == []


def test_what_is_advised_for_a_value_beyond_single_precision_leaves_it_out(tmp_path: Path) -> None:
    values = trajectories(3).astype(np.float64)
    values[1, 2, 1, 3, 4] = -1e300  # of a momentum, which may be negative
    own = settings(2, dtype="float64")
    with pytest.raises(UserError, match=r"is -1e\+300 in trajectory 1.*expected finite values.*data\.skip: \[nan\]"):
        ingested(tmp_path, [values], own)
    path = ingested(tmp_path, [values], own.model_copy(update={"skip": ["nan"]}))
    assert store.read(path)["row"].values.tolist() == [0, 2]
