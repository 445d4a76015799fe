"""HDF5 files read others of their own folder, and none outside of it unless it is allowed."""

import os
from pathlib import Path

import h5py
import native
import numpy as np
import pytest

from surroscope.config import jobs
from surroscope.data.links import places, require_inside
from surroscope.errors import UserError
from surroscope.runtime import store
from surroscope.stages import ingest

STATES = np.random.default_rng(0).uniform(1, 2, size=(3, 4, 4, 8, 8)).astype(np.float32)
KINDS = ("external link", "external storage", "virtual dataset")


def linked(path: Path, other: Path, kind: str, name: str) -> None:
    """A file whose states lie in another, which it calls by this name."""
    other.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        if kind == "external storage":
            STATES.tofile(other)
            file.create_dataset("state", STATES.shape, "f4", external=[(name, 0, STATES.nbytes)])
            return
        with h5py.File(other, "w") as target:
            target["values"] = STATES
        if kind == "external link":
            file["state"] = h5py.ExternalLink(name, "values")
        else:
            layout = h5py.VirtualLayout(STATES.shape, "f4")
            layout[:] = h5py.VirtualSource(name, "values", STATES.shape)
            file.create_virtual_dataset("state", layout)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")  # where HDF5 looks for external storage
    return tmp_path / "in"


SETTINGS = native.settings(
    (3, 4, 4, 8, 8),
    format="xarray",
    dimensions=["trajectory", "time", "channel", "y", "x"],
    time_step=1.0,
)


def ingested(path: Path, settings: jobs.Ingest = SETTINGS, links: str = "inside") -> np.ndarray:
    place = path.parent.parent / "a.zarr"
    ingest.stage(settings, raw=[path], store=place, links=links)
    return store.read(place)["state"].values


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_the_folder_are_read(folder: Path, kind: str) -> None:
    linked(folder / "a.h5", folder / "b", kind, "b")
    assert np.array_equal(ingested(folder / "a.h5"), STATES)


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_files_outside_are_read_where_it_is_allowed_alone(folder: Path, kind: str, absolute: bool) -> None:
    other = folder.parent / "secret" / "b"
    linked(folder / "a.h5", other, kind, str(other) if absolute else "../secret/b")
    with pytest.raises(
        UserError, match=rf"a\.h5: /?state is (an? )?{kind} of {other}, .* set data\.links: anywhere"
    ) as told:
        ingested(folder / "a.h5")
    assert "\n" not in str(told.value)
    assert not (folder.parent / "a.zarr").exists()
    assert np.array_equal(ingested(folder / "a.h5", links="anywhere"), STATES)


def test_files_outside_are_found_behind_others_symbolic_links_numbers_and_prefixes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = folder.parent / "secret"
    linked(folder / "b.h5", outside / "c0.h5", "virtual dataset", "../secret/c0.h5")
    with h5py.File(folder / "behind.h5", "w") as file:
        file["group/state"] = h5py.ExternalLink("b.h5", "state")
    os.symlink(outside / "c0.h5", folder / "s.h5")
    linked(folder / "symbolic.h5", folder / "d.h5", "external link", "s.h5")
    linked(folder / "prefixed.h5", folder / "d.h5", "external link", "c0.h5")
    monkeypatch.setenv("HDF5_EXT_PREFIX", str(outside))
    for name in ("behind", "symbolic", "prefixed"):
        with pytest.raises(UserError, match=rf"is an? .* of {outside}/c0\.h5, expected a file in {folder}"):
            require_inside(folder / f"{name}.h5", {"state"})
    assert places(folder / "a.h5", "../secret/c%b.h5") == [outside / "c0.h5"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_missing_is_not_read_as_zeros(folder: Path, kind: str) -> None:
    linked(folder / "a.h5", folder / "b", kind, "b")
    (folder / "b").unlink()
    with pytest.raises(UserError, match=rf"a\.h5: /?state is (an? )?{kind} of b, which is not there; put it beside"):
        ingested(folder / "a.h5")
