"""Stages by hand: their command line, and bad input that becomes one line before anything is written."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from surroscope import store, transitions
from surroscope.errors import UserError
from surroscope.stages import cli, ingest, split, train

STAGES = [
    *("simulate", "ingest", "split", "train", "calibrate", "gradients", "reduce", "full", "influence", "sensitivity"),
    *("cross", "maps", "evaluate", "tables", "figures", "report"),
]
TRAIN = {
    "system": "NS",
    "model": "vit",
    "factory": "surroscope.models.vit:build",
    "options": {"patch": 4, "width": 8, "depth": 1, "heads": 2},
    "seed": 1,
    "snapshots": 3,
    "epochs": 1,
    "save_epochs": [1],
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "batch": 8,
}


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_explains_itself(stage: str) -> None:
    module = f"surroscope.stages.{stage}"
    shown = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True).stdout
    assert "settings:" in shown
    assert "--settings" in shown


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lr": 1}, "unknown key 'lr'"),
        ({"epochs": "many"}, "epochs: .*'many'"),
        ({"seed": None}, "seed: "),
    ],
)
def test_wrong_settings_name_the_key(change: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        cli.load(train.Settings, json.dumps(TRAIN | change))


def test_settings_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(json.dumps(TRAIN))
    assert cli.load(train.Settings, str(path)) == train.Settings(**TRAIN)
    with pytest.raises(UserError, match="nowhere"):
        cli.load(train.Settings, "nowhere.yaml")


def raw(path: Path, first: int = 0, channels: int = 4, **bad: float) -> Path:
    state = np.random.default_rng(first).uniform(1, 2, size=(3, 4, channels, 8, 8)).astype(np.float32)
    for value in bad.values():
        state[1, 2, 0, 3, 4] = value
    xr.Dataset(
        {"state": (("trajectory", "time", "channel", "y", "x"), state), "fallbacks": ("trajectory", [0, 0, 1])},
        coords={"trajectory": np.arange(first, first + 3), "time": np.linspace(0, 1, 4)},
        attrs={"preset": "calibrated", "seed": 0, "solver_version": 1},
    ).to_netcdf(path, engine="h5netcdf")
    return path


def test_ingest_keeps_every_value_in_order(tmp_path: Path) -> None:
    files = [raw(tmp_path / "block0.nc"), raw(tmp_path / "block1.nc", first=3)]
    ingest.stage(ingest.Settings("CE", "CE-RP"), raw=files, store=tmp_path / "CE-RP.zarr")
    dataset = store.read(tmp_path / "CE-RP.zarr")
    expected = np.concatenate([xr.open_dataset(path, engine="h5netcdf")["state"].values for path in files])
    assert np.array_equal(dataset["state"].values, expected)
    assert dataset["trajectory"].values.tolist() == list(range(6))
    assert dataset["channel"].values.tolist() == ["density", "momentum_x", "momentum_y", "energy"]
    assert dataset.attrs["solver_version"] == 1
    array = zarr.open_array(tmp_path / "CE-RP.zarr" / "state")
    assert array.chunks == (1, 1, 4, 8, 8)
    assert array.shards == (64, 4, 4, 8, 8)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bad": np.nan}, r"block0\.nc: density is nan in trajectory 1, snapshot 2, cell \(y=3, x=4\)"),
        ({"bad": -0.5}, r"density is -0\.5 .*expected finite and positive"),
        ({"channels": 2}, "state has 2 channels; CE has density"),
    ],
)
def test_ingest_refuses_states_that_are_not_physical(tmp_path: Path, change: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        ingest.stage(
            ingest.Settings("CE", "CE-RP"), raw=[raw(tmp_path / "block0.nc", **change)], store=tmp_path / "CE-RP.zarr"
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["block0.nc"]


@pytest.fixture
def stores(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "CE-RP.zarr", tmp_path / "CE-CRP.zarr"]
    for number, path in enumerate(paths):
        files = [raw(tmp_path / f"{number}{block}.nc", first=9 * number + 3 * block) for block in range(3)]
        ingest.stage(ingest.Settings("CE", path.stem), raw=files, store=path)
    return paths


def divide(stores: list[Path], path: Path, seed: int = 1) -> dict:
    settings = split.Settings(seed, ["CE-RP", "CE-CRP"], 0.5, 0.2)
    split.stage(settings, stores=stores, split=path)
    return json.loads(path.read_text())


def test_a_split_is_a_partition_fixed_by_its_seed(stores: list[Path], tmp_path: Path) -> None:
    parts = divide(stores, tmp_path / "a.json")
    for name in ("CE-RP", "CE-CRP"):
        own = parts[name]
        assert sorted(own["train"] + own["validation"] + own["test"]) == list(range(9))
    assert parts["CE-RP"] != parts["CE-CRP"]
    assert divide(stores, tmp_path / "b.json") == parts
    assert divide(stores, tmp_path / "c.json", seed=2) != parts


def test_too_many_probes_for_the_data_is_said(stores: list[Path], tmp_path: Path) -> None:
    divide(stores, tmp_path / "split.json")
    with pytest.raises(UserError, match=r"CE-RP has 3 trajectories to test, expected 4 or more"):
        transitions.probes(stores, tmp_path / "split.json", [("test", 3)], 3)


def test_probes_are_class_major_and_in_the_order_of_the_split(stores: list[Path], tmp_path: Path) -> None:
    parts = divide(stores, tmp_path / "split.json")
    batches = [("test", 0), ("test", 1), ("train", 2)]
    probes = transitions.probes(stores, tmp_path / "split.json", batches, 3)
    for (part, batch), probe in zip(batches, probes, strict=True):
        assert probe.classes == ("CE-RP", "CE-CRP")
        assert list(probe.trajectories) == [parts[name][part][batch] for name in probe.classes]
        for number, name in enumerate(probe.classes):
            states = store.read(stores[number])["state"].values[parts[name][part][batch]]
            assert np.array_equal(probe.inputs[2 * number : 2 * number + 2], states[:2])
            assert np.array_equal(probe.targets[2 * number : 2 * number + 2], states[1:3])


def test_every_so_many_th_transition_may_be_taken(stores: list[Path], tmp_path: Path) -> None:
    divide(stores, tmp_path / "split.json")
    whole, thin = (transitions.probes(stores, tmp_path / "split.json", [("test", 0)], 4, every)[0] for every in (1, 2))
    assert list(thin.times) == [0, 2]
    assert np.array_equal(thin.inputs, whole.inputs[[0, 2, 3, 5]])
    assert np.array_equal(thin.targets, whole.targets[[0, 2, 3, 5]])
