"""Components of vectors lie along the axes that they are stored on, or the states show that they do not."""

import functools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import native
import numpy as np
import pytest
import torch
import xarray as xr
import yaml
from default_study import DEFAULT
from tests.workflow import data_sets

from surroscope.config import jobs
from surroscope.config.study import check
from surroscope.data.orientation import Orientation
from surroscope.errors import UserError
from surroscope.physics import euler
from surroscope.physics.simulate import simulate
from surroscope.runtime import store
from surroscope.stages import ingest
from surroscope.symmetry import D4
from surroscope.system import ADVECTION_DIFFUSION, CLASSES, COMPRESSIBLE_EULER, NAVIER_STOKES, SYSTEMS, System
from surroscope.tools import exchanged

SNAPSHOTS, COUNT = 21, 8
PAIRED = [ic for system in ("CE", "NS") for ic in CLASSES[system]]
PRIMITIVE = System("P", "gas", ("density", "u", "v", "pressure"), ("density", "pressure"), (), (("u", "v"),))
WAVES = System("W", "waves", ("field", "u", "v"), ("field",), (), (("u", "v"),))


@functools.cache
def states(ic: str, size: int = 16) -> np.ndarray:
    """(n, T, F, Y, X)"""
    made = simulate(ic, preset="calibrated", seed=3, indices=range(COUNT), size=size, factor=2, snapshots=SNAPSHOTS)
    found = np.concatenate([part.states for part in made])
    found.setflags(write=False)
    return found


def turned(x: np.ndarray, first: int) -> np.ndarray:
    """The channels `first` and the next one exchanged."""
    order = list(range(x.shape[2]))
    order[first : first + 2] = order[first : first + 2][::-1]
    return x[:, :, order]


def reversed_(x: np.ndarray, channel: int) -> np.ndarray:
    return np.where(np.arange(x.shape[2])[:, None, None] == channel, -x, x)


def look(system: System, x: np.ndarray, rows: int | None = None, file: str = "a.nc") -> list[str]:
    """What is told of states, all of one file, so many trajectories at a time."""
    found = Orientation(system, (x.shape[-2], x.shape[-1]), {name: f"f[{n}]" for n, name in enumerate(system.channels)})
    rows = rows or len(x)
    for start in range(0, len(x), rows):
        found.add([(Path(file), slice(start, start + rows))], x[start : start + rows])
    return found.told()


def remedy(found: pytest.ExceptionInfo[UserError]) -> dict[str, str]:
    """What an error says of data.channels."""
    text = re.search(r"data\.channels: ({.*?})", str(found.value))
    assert text
    return dict(yaml.safe_load(text[1]))


@pytest.mark.parametrize("ic", PAIRED)
def test_every_class_is_told_and_its_mistakes_are_refused(ic: str) -> None:
    system, x = SYSTEMS[ic[:2]], states(ic)
    first = system.channels.index(system.vectors[0][0])
    u, v = system.vectors[0]
    (line,) = look(system, x)
    assert re.match(rf"{u} and {v}: along x and y \(.* leaves 0\.\d+ as stored, and exchanged (0\.[89]|1)", line), line
    mended = rf"data\.channels: {{{u}: 'f\[{first + 1}\]', {v}: 'f\[{first}\]'}}"
    words = rf"^a\.nc: {u} lies along y and {v} along x: .* as stored, and exchanged 0\.[01].*{mended}"
    for wrong in (turned(x, first), x.swapaxes(-1, -2)):
        (line,) = look(replace(system, vectors=((v, u),)), wrong)
        assert line.startswith(f"{v} and {u}: along x and y (")
        with pytest.raises(UserError, match=words):
            look(system, wrong)
        for trajectory in wrong:
            with pytest.raises(UserError, match=words):
                look(system, trajectory[None])
    which, turn = v if ic.startswith("CE") else f"{u} or {v}", rf"{{{u}: '.*', {v}: '-\(f\[{first + 1}\]\)'}}"
    words = rf"^a\.nc: {which} counts against its axis: .* {v} reversed as stored.*{turn}"
    for wrong in (reversed_(x, first + 1), x[..., ::-1, :]):
        with pytest.raises(UserError, match=words):
            look(system, wrong)


@pytest.mark.parametrize("ic", CLASSES["CE"])
def test_a_density_also_tells_which_component_is_reversed_and_that_both_mistakes_were_made(ic: str) -> None:
    x = states(ic)
    with pytest.raises(UserError, match="momentum_x counts against its axis: "):
        look(COMPRESSIBLE_EULER, x[..., ::-1])
    with pytest.raises(UserError, match="momentum_x counts against its axis, and momentum_y counts against"):
        look(COMPRESSIBLE_EULER, x[..., ::-1, ::-1])
    quarter = np.rot90(x, axes=(-2, -1))
    with pytest.raises(
        UserError, match=r"momentum_x lies along y and momentum_y along x, and momentum_. counts"
    ) as found:
        look(COMPRESSIBLE_EULER, quarter)
    fields = dict(zip(COMPRESSIBLE_EULER.channels, np.moveaxis(quarter, 2, 0), strict=True))
    f = list(fields.values())
    mended = fields | {name: eval(text, {"f": f}) for name, text in remedy(found).items()}
    (line,) = look(COMPRESSIBLE_EULER, np.stack(list(mended.values()), axis=2))
    assert "along x and y" in line


def test_velocities_beside_the_density_that_they_carry_are_told() -> None:
    conserved = torch.from_numpy(states("CE-CRP", 32).copy())
    x = euler.primitive(conserved).numpy()
    (line,) = look(PRIMITIVE, x)
    assert "along x and y (density carried by the vector leaves 0." in line
    with pytest.raises(UserError, match="u lies along y and v along x: density carried by the vector"):
        look(PRIMITIVE, turned(x, 1))


@pytest.mark.parametrize("ic", ["CE-RP", "NS-Gauss"])
def test_edges_and_the_shape_of_cells_do_not_matter(ic: str) -> None:
    system = SYSTEMS[ic[:2]]
    part = states(ic, 32)[..., 4:28, 3:21]
    coarse = part.reshape(*part.shape[:-2], 12, 2, 18).mean(-2)
    (line,) = look(system, coarse)
    assert "along x and y" in line
    with pytest.raises(UserError, match="lies along y and"):
        look(system, turned(coarse, system.channels.index(system.vectors[0][0])))


def vortex() -> np.ndarray:
    """One that is its own mirror image across the diagonal, decaying: (n, T, 2, Y, X)"""
    angle = 2 * np.pi * (np.arange(16) + 0.5) / 16
    y, x = np.meshgrid(angle, angle, indexing="ij")
    flow = np.stack([np.sin(x) * np.cos(y), -np.cos(x) * np.sin(y)])
    return (np.exp(-np.arange(5.0))[None, :, None, None, None] * flow).astype(np.float32)


def shear() -> np.ndarray:
    return np.broadcast_to(np.stack([np.eye(8)[:1].repeat(8, 0).T, np.zeros((8, 8))]), (3, 4, 2, 8, 8))


def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 3, 2, 8, 8)).astype(np.float32)


def gradient() -> np.ndarray:
    """Without curl: of the exchanged components with one of them reversed that is zero divergence."""
    x = states("NS-BB")
    return reversed_(turned(x, 0), 0)


def resonance() -> np.ndarray:
    """The gradient of cos πx cos πy: zero divergence but for a sign, and zero curl."""
    angle = np.pi * (np.arange(16) + 0.5) / 16
    y, x = np.meshgrid(angle, angle, indexing="ij")
    return np.cos(np.arange(5.0))[None, :, None, None, None] * np.stack([np.sin(x) * np.cos(y), np.cos(x) * np.sin(y)])


@pytest.mark.parametrize("made", [vortex, shear, noise, gradient, resonance, lambda: np.zeros((2, 3, 2, 8, 8))])
def test_nothing_is_told_or_refused_where_nothing_tells(made: Callable[[], np.ndarray]) -> None:
    (line,) = look(NAVIER_STOKES, made())
    assert line.startswith("velocity_x and velocity_y: axes cannot be told")


def test_snapshots_that_lie_too_far_apart_say_nothing() -> None:
    for x in (states("CE-RPUI")[:, ::10], turned(states("CE-RPUI"), 1)[:, ::10]):
        assert "axes cannot be told" in look(COMPRESSIBLE_EULER, x)[0]


def test_systems_without_pairs_have_nothing_to_tell() -> None:
    assert look(ADVECTION_DIFFUSION, np.ones((2, 3, 1, 8, 8))) == []
    assert look(System("L", "L", ("u",), vectors=(("u",),)), np.ones((2, 3, 1, 1, 8))) == []


def test_a_file_among_others_is_found_and_small_ones_are_judged_together() -> None:
    x = states("NS-BB")
    found = Orientation(NAVIER_STOKES, (16, 16), {"velocity_x": "u", "velocity_y": "v"})
    found.add([(Path("a.nc"), slice(0, 8))], x)
    with pytest.raises(UserError, match=r"^b\.nc: velocity_x lies along y"):
        found.add([(Path("b.nc"), slice(0, 8))], turned(x, 0))
    found = Orientation(NAVIER_STOKES, (16, 16), {"velocity_x": "u", "velocity_y": "v"})
    parts = [(Path(f"{n}.nc"), slice(0, 1)) for n in range(4)]
    found.add(parts[:3], turned(x[:3], 0))
    with pytest.raises(UserError, match=r"^0\.nc to 3\.nc: velocity_x lies along y"):
        found.add(parts[3:], turned(x[3:4], 0))


def test_snapshots_may_come_one_by_one() -> None:
    x = states("CE-RP")[:1]
    whole, part = (Orientation(COMPRESSIBLE_EULER, (16, 16), {}) for _ in range(2))
    whole.add([(Path("a.nc"), slice(0, 1))], x)
    for time in range(SNAPSHOTS):
        part.add([(Path("a.nc"), slice(0, 1))], x[:, time : time + 1], further=time > 0)
    np.testing.assert_allclose(part.of_class, whole.of_class, rtol=1e-12)
    assert part.told() == whole.told()


def test_ingestion_refuses_a_file_whose_axes_are_exchanged_and_its_remedy_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = states("NS-Gauss")
    right = [native.write(tmp_path / "a.nc", x), native.write(tmp_path / "c.nc", -x)]
    wrong = native.write(tmp_path / "b.nc", turned(x, 0))
    settings = native.settings((16, *x.shape[1:]), "NS-Gauss", NAVIER_STOKES)
    ingest.stage(settings, raw=right, store=tmp_path / "right.zarr")
    assert "velocity_x and velocity_y: along x and y (zero divergence leaves 0.0" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"b\.nc: velocity_x lies along y and velocity_y along x: zero div") as found:
        ingest.stage(settings, raw=[right[0], wrong], store=tmp_path / "NS.zarr")
    assert not (tmp_path / "NS.zarr").exists()
    mended = settings.model_copy(update={"channels": remedy(found), "trajectories": 8})
    ingest.stage(mended, raw=[wrong], store=tmp_path / "mended.zarr")
    assert np.array_equal(store.read(tmp_path / "mended.zarr")["state"].values, x)
    accepted = settings.model_copy(update={"equations": replace(NAVIER_STOKES, vectors=()), "trajectories": 8})
    ingest.stage(accepted, raw=[wrong], store=tmp_path / "accepted.zarr")
    assert np.array_equal(store.read(tmp_path / "accepted.zarr")["state"].values, turned(x, 0))


@pytest.mark.parametrize("ic", ["CE-RP", "NS-BB"])
def test_our_mapping_of_files_of_the_hub_is_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ic: str
) -> None:
    """Files in PDEGym's layout as we believe that they are, and with x and y exchanged."""

    def settings(**changes: Any) -> jobs.Ingest:
        data = DEFAULT["data"] | {"source": "pdegym"} | changes
        study = check(DEFAULT | {"systems": {ic[:2]: DEFAULT["systems"]["CE"]}, "data": data}, "config.yaml")
        return jobs.Ingest.of(study, ic[:2], ic).model_copy(update={"grid": (16, 16), "trajectories": 12})

    raw = data_sets.pdegym(tmp_path, ic, size=16)
    ingest.stage(settings(), raw=[raw], store=tmp_path / "right.zarr")
    assert ": along x and y (" in capsys.readouterr().out
    with xr.open_dataset(raw) as data:
        data.rename(x="y", y="x").to_netcdf(tmp_path / "wrong.nc", engine="h5netcdf")
    with pytest.raises(UserError, match=r"wrong\.nc: .* lies along y and .* along x: ") as found:
        ingest.stage(settings(), raw=[tmp_path / "wrong.nc"], store=tmp_path / "wrong.zarr")
    for changes in ({"channels": remedy(found)}, {"orientation": "accept"}):
        ingest.stage(settings(**changes), raw=[tmp_path / "wrong.nc"], store=tmp_path / "mended.zarr")


def test_what_is_looked_at_is_a_setting_of_ingestion_alone_where_there_is_a_pair() -> None:
    study = check(DEFAULT, "config.yaml")
    assert jobs.Ingest.of(study, "CE", "CE-RP").equations.vectors == COMPRESSIBLE_EULER.vectors
    with pytest.raises(UserError, match=r"orientation goes with source: files or pdegym, found 'simulation'"):
        check(DEFAULT | {"data": DEFAULT["data"] | {"orientation": "accept"}}, "config.yaml")


def test_a_perfect_surrogate_of_exchanged_states_fails_at_the_turns_that_were_published() -> None:
    """At r, r3, s and sr2, arXiv 2601.20172, and as if the flow were run backwards; at no other, nor as stored."""
    same, turns = ("e", "r2", "sr", "sr3"), ("r", "r3", "s", "sr2")
    for kind in exchanged.KINDS.values():
        found = dict(zip(D4, exchanged.errors("NS-Gauss", exchanged=kind, trajectories=1).T, strict=True))
        for name in same if kind else D4:
            np.testing.assert_allclose(found[name], found["e"], rtol=1e-2)
        for name in turns if kind else ():
            assert np.median(found[name] / found["e"]) > 100
            np.testing.assert_allclose(found[name], found["r"], rtol=1e-3)
            assert 0.03 < np.median(found[name]) < 0.1
