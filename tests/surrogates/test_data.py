"""Trajectories that other solvers computed and wrote, by their own savers, are read by configuration alone."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from surroscope.config import jobs
from surroscope.config.study import check
from surroscope.runtime import store
from surroscope.stages import ingest
from tests.workflow.conftest import ROOT, TINY

COUNT, SNAPSHOTS, X, Y = 4, 4, 16, 8
STEP = 0.05


def exponax(folder: Path) -> np.ndarray:
    import exponax as ex
    import jax

    stepper = ex.stepper.Burgers(2, 1.0, X, STEP, diffusivity=0.05)
    initial = ex.ic.RandomMultiChannelICGenerator([ex.ic.RandomTruncatedFourierSeries(2, cutoff=3)] * 2)
    states = ex.build_ic_set(initial, num_points=X, num_samples=COUNT, key=jax.random.PRNGKey(0))
    found = jax.vmap(ex.rollout(stepper, SNAPSHOTS - 1, include_init=True))(states)
    jax.numpy.save(folder / "burgers.npy", found)
    return np.asarray(found)


def apebench(folder: Path) -> np.ndarray:
    """Training and test trajectories, which are longer, in a file each: parts of one class."""
    from apebench import scenarios

    lengths = {"train_temporal_horizon": SNAPSHOTS - 1, "test_temporal_horizon": SNAPSHOTS + 1}
    counts = {"num_train_samples": COUNT - 1, "num_test_samples": 1}
    scenario = scenarios.difficulty.Advection(num_spatial_dims=2, num_points=X, **counts, **lengths)
    train, test = np.asarray(scenario.get_train_data()), np.asarray(scenario.get_test_data())
    np.save(folder / "train.npy", train)
    np.save(folder / "test.npy", test)
    return np.concatenate([train, test[:, :SNAPSHOTS]])


def py_pde(folder: Path) -> np.ndarray:
    import pde

    grid, found = pde.CartesianGrid([[0, 2], [0, 1]], [X, Y], periodic=True), []
    for number in range(COUNT):
        fields = [pde.ScalarField.random_uniform(grid, rng=np.random.default_rng([number, k])) for k in range(2)]
        writer = pde.FileStorage(folder / f"run{number}.hdf5")
        equation = pde.PDE({"u": "laplace(u) / 100 - u * v", "v": "laplace(v) / 50"})
        collection = pde.FieldCollection(fields, labels=["u", "v"])
        tracker = writer.tracker(STEP)
        equation.solve(collection, (SNAPSHOTS - 1) * STEP, dt=STEP / 10, tracker=[tracker], backend="numpy")
        found.append(np.stack([state.data for state in writer]))
    return np.stack(found)


def jax_cfd(folder: Path) -> np.ndarray:
    import jax
    import jax_cfd.base as cfd
    from jax_cfd.data import xarray_utils

    grid = cfd.grids.Grid((X, Y), domain=((0, 4 * np.pi), (0, 2 * np.pi)))
    step = cfd.equations.semi_implicit_navier_stokes(density=1.0, viscosity=0.01, dt=STEP / 5, grid=grid)
    run = jax.jit(cfd.funcutils.trajectory(cfd.funcutils.repeated(step, 5), SNAPSHOTS, start_with_input=True))
    runs = []
    for seed in range(COUNT):
        _, velocity = run(cfd.initial_conditions.filtered_velocity_field(jax.random.PRNGKey(seed), grid, 1, 3))
        runs.append([np.asarray(component.data) for component in velocity])
    u, v = (np.stack(component) for component in zip(*runs, strict=True))
    times = STEP * np.arange(SNAPSHOTS)
    xarray_utils.velocity_trajectory_to_xarray((u, v), grid, times, samples=True).to_netcdf(folder / "ns.nc")
    return np.stack([u, v], axis=2)


def phiflow(folder: Path) -> np.ndarray:
    from phi import flow

    noise = flow.Noise(flow.batch(run=COUNT), vector="x,y")
    velocity = flow.CenteredGrid(noise, flow.extrapolation.PERIODIC, x=X, y=Y, bounds=flow.Box(x=2, y=1))

    def step(velocity: Any) -> Any:
        moved = flow.advect.semi_lagrangian(velocity, velocity, STEP)
        return flow.diffuse.explicit(moved, 0.01, STEP)

    found = flow.iterate(step, flow.batch(time=SNAPSHOTS - 1), velocity)
    np.save(folder / "velocity.npy", found.values.numpy("run,time,vector,x,y"))
    return np.load(folder / "velocity.npy")


@dataclass(frozen=True)
class Tool:
    """write: makes files and gives what is in them, (trajectory, time, channel, x, y); said: of `data`"""

    write: Callable[[Path], np.ndarray]
    files: str | list[str]
    said: dict[str, Any]
    channels: list[str] = field(default_factory=lambda: ["u", "v"])
    grid: tuple[int, int] = (Y, X)


BOTH = {"channels": {"u": "state[0]", "v": "state[1]"}, "format": "apebench", "time_step": STEP}
TOOLS = {
    "exponax": Tool(exponax, "burgers.npy", BOTH, grid=(X, X)),
    "apebench": Tool(
        apebench, ["train.npy", "test.npy"], BOTH | {"channels": {"u": "state[0]"}}, channels=["u"], grid=(X, X)
    ),
    "py-pde": Tool(
        py_pde,
        "run*.hdf5",
        {"format": "py-pde", "channels": {"u": "data[0]", "v": "data[1]"}, "dtype": "float64"},
    ),
    "jax-cfd": Tool(jax_cfd, "ns.nc", {"dimensions": {"trajectory": "sample"}}),
    "phiflow": Tool(phiflow, "velocity.npy", BOTH),
}
INSTALLED = {one.metadata["Name"] for one in metadata.distributions()}


@pytest.mark.parametrize("name", sorted(TOOLS.keys() & INSTALLED))
def test_what_a_solver_wrote_is_what_is_stored(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = TOOLS[name]
    expected = tool.write(tmp_path)
    assert expected.shape == (COUNT, SNAPSHOTS, len(tool.channels), tool.grid[1], tool.grid[0])
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load((ROOT / TINY).read_text())
    models = config["systems"]["NS"]["models"]
    about = {"dataset": "tools", "source": "files", "size": list(tool.grid), "snapshots": SNAPSHOTS}
    config |= {"data": about | {"files": {"one": tool.files}} | tool.said, "gradients": {}}
    config |= {"systems": {"S": {"trajectories": COUNT, "equations": {"channels": tool.channels}, "models": models}}}
    config |= {"probe": {"batches": 1, "snapshots": 3}}
    study = check(config, "tools.yaml")
    raw = [Path(path) for path in study.data.paths()["one"]]
    ingest.stage(jobs.Ingest.of(study, "S", "one"), raw=raw, store=tmp_path / "one.zarr")
    found = store.read(tmp_path / "one.zarr")
    np.testing.assert_array_equal(found["state"].values, expected.swapaxes(-1, -2).astype(np.float32))
    np.testing.assert_allclose(found["time"].values, STEP * np.arange(SNAPSHOTS), rtol=1e-6)
