"""Every optional part of a study, run once end to end."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from surroscope.report.catalogue import figure, figures_for, tables_for
from surroscope.runtime import store

from .conftest import Project, fresh

pytestmark = pytest.mark.slow

PARTS = ("sensitivity", "cross", "maps", "symmetry", "epochs", "turns", "conserved", "lines", "box")
QUANTITIES = ["span", "full", "low_rank", "euclidean", "cosine", "adam"]


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = fresh(tmp_path_factory.mktemp("tour") / "project", "workflow/presets/tour.yaml")
    project.run()
    return project


@pytest.fixture(scope="module", params=["unet", "vit"])
def influence(request: pytest.FixtureRequest, tour: Project) -> xr.Dataset:
    return store.read(tour.folder / f"results/tour/CE/{request.param}/seed10/epoch4/influence.zarr").load()


def square(matrix: xr.DataArray) -> np.ndarray:
    size = matrix.sizes["response_class"] * matrix.sizes["response_time"]
    return matrix.values.reshape(size, size)


def test_every_figure_and_table_is_there_and_nothing_is_left_to_do(tour: Project) -> None:
    results = tour.folder / "results/tour/CE"
    for name in figures_for(["smse", "mass", "energy"], PARTS):
        for suffix in figure(name).suffixes:
            assert (results / f"figures/{name}.{suffix}").stat().st_size > 1000, name
    for name in tables_for(PARTS):
        assert len(pd.read_csv(results / f"tables/{name}.csv")), name
    record = json.loads((tour.folder / "results/tour/provenance.json").read_text())
    manifests = [*tour.folder.glob("data/store/**/manifest.json"), *tour.folder.glob("results/**/manifest.json")]
    assert set(record["stores"]) == {str(path.parent.relative_to(tour.folder)) for path in manifests}
    assert tour.planned() == {}


def test_every_solver_names_its_quantity_and_the_full_space_is_certified(influence: xr.Dataset) -> None:
    assert influence.attrs["quantities"] == QUANTITIES
    assert influence["converged"].all()
    for probe in influence["probe"].values:
        of = {
            str(name): square(influence["influence"].sel(solver=name, probe=probe).isel(response=0))
            for name in influence["solver"].values
        }
        reach = np.abs(of["full"]).max()
        assert np.linalg.eigvalsh(of["full"] - of["subspace"]).min() > -1e-2 * reach
        assert np.allclose(np.diagonal(of["cosine"]), 1)
        assert not np.allclose(of["full"], of["subspace"], rtol=0, atol=1e-3 * reach)


def test_tables_hold_one_reference_and_every_action(tour: Project) -> None:
    tables = tour.folder / "results/tour/CE/tables"
    sensitivity = pd.read_csv(tables / "sensitivity.csv")
    own = sensitivity[sensitivity["reference"]]
    assert own.groupby("model").size().to_dict() == {"unet": 1, "vit": 1}
    assert np.allclose(own["correlation"], 1)
    # How many modes a low-rank metric has is a choice of the study, which no variant changes.
    assert set(sensitivity["quantity"]) == set(QUANTITIES) - {"low_rank"}
    for name in ("symmetry", "equivariance"):
        # D4, lines of 4 cells along either axis, and a box of 2 x 2.
        actions = pd.read_csv(tables / f"{name}.csv").groupby("model")["action"].nunique()
        assert actions.to_dict() == {"unet": 20, "vit": 20}
    pairs = pd.read_csv(tables / "two_time.csv").groupby(["observable", "step"]).ngroups
    assert pairs == 8
