"""Stages by hand: their command line, and bad input that becomes one line before anything is written."""

import json
import subprocess
import sys
from pathlib import Path

import native
import numpy as np
import pytest

from surroscope.config import jobs
from surroscope.config.weights import digest
from surroscope.data import transitions
from surroscope.errors import UserError
from surroscope.runtime import cli, store
from surroscope.stages import split

STAGES = [
    *("simulate", "listing", "download", "ingest", "split", "contract", "train", "adopt", "validate"),
    *("calibrate", "gradients", "reduce"),
    *("full", "influence", "sensitivity", "cross", "maps", "orbits", "evaluate", "tables", "figures", "report"),
]
TRAIN = {
    "system": "NS",
    "boundary": "periodic",
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
        cli.load(jobs.Train, json.dumps(TRAIN | change))


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        raw = native.write(tmp_path / "raw.nc", states(count=40))
        settings = native.settings((40, 4, 4, 8, 8)).model_dump_json()
        command = [sys.executable, "-m", "surroscope.stages.ingest", "--settings", settings]
        command += ["--raw", str(raw), "--store", str(folder / "CE-RP.zarr")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "no space is left" in done.stderr
        assert "Traceback" not in done.stderr
        assert not list(folder.iterdir())
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_settings_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(json.dumps(TRAIN))
    assert cli.load(jobs.Train, str(path)) == jobs.Train(**TRAIN)
    path.write_text("options: {start: !!binary aGVsbG8=}")
    with pytest.raises(UserError, match=r"settings\.yaml: .* bytes .*; put it in quotes"):
        cli.load(jobs.Train, str(path))
    with pytest.raises(UserError, match="nowhere"):
        cli.load(jobs.Train, "nowhere.yaml")


def states(first: int = 0, count: int = 3) -> np.ndarray:
    return np.random.default_rng(first).uniform(1, 2, size=(count, 4, 4, 8, 8)).astype(np.float32)


@pytest.fixture
def stores(tmp_path: Path) -> list[Path]:
    names = ("CE-RP", "CE-CRP")
    return [native.ingested(tmp_path / f"{name}.zarr", states(n, 9)) for n, name in enumerate(names)]


def divide(
    stores: list[Path], path: Path, seed: int = 1, trained: dict | None = None, file: Path | None = None
) -> dict:
    settings = jobs.Split(
        **{"seed": seed, "classes": ["CE-RP", "CE-CRP"], "train": 0.5, "validation": 0.2, "trajectories": 9},
        trained=trained,
        listed=digest(file) if file else "",
    )
    split.stage(settings, stores=stores, split=path, trained=[file] if file else [])
    return json.loads(path.read_text())


def test_a_split_is_a_partition_fixed_by_its_seed(stores: list[Path], tmp_path: Path) -> None:
    parts = divide(stores, tmp_path / "a.json")
    for name in ("CE-RP", "CE-CRP"):
        own = parts[name]
        assert sorted(own["train"] + own["validation"] + own["test"]) == list(range(9))
    assert parts["CE-RP"] != parts["CE-CRP"]
    assert divide(stores, tmp_path / "b.json") == parts
    assert divide(stores, tmp_path / "c.json", seed=2) != parts


def test_what_was_trained_on_elsewhere_neither_validates_nor_tests(stores: list[Path], tmp_path: Path) -> None:
    drawn = divide(stores, tmp_path / "a.json")
    assert drawn["CE-RP"] == {"train": [4, 2, 7, 3], "validation": [5, 6], "test": [8, 0, 1]}, "as before"
    listed = {"CE-RP": [0, 1, 2, 700], "CE-CRP": "0-3, 8"}
    found = divide(stores, tmp_path / "b.json", trained=listed)
    assert set(found["CE-RP"]["train"]) == {0, 1, 2}
    assert set(found["CE-CRP"]["train"]) == {0, 1, 2, 3, 8}
    for parts in found.values():
        assert len(parts["validation"]) == 2
        assert sorted(parts["train"] + parts["validation"] + parts["test"]) == list(range(9))
    (tmp_path / "trained.json").write_text(json.dumps(listed))
    assert divide(stores, tmp_path / "c.json", file=tmp_path / "trained.json") == found
    none = divide(stores, tmp_path / "d.json", trained={})
    assert [len(none["CE-RP"][part]) for part in ("train", "validation", "test")] == [0, 2, 7]
    (tmp_path / "trained.json").write_text("{}")
    settings = jobs.Split(seed=1, classes=["CE-RP"], train=0.5, validation=0.2, trajectories=9, listed="0" * 64)
    with pytest.raises(UserError, match=r"trained\.json: written again since this job was planned"):
        split.stage(settings, stores=stores, split=tmp_path / "e.json", trained=[tmp_path / "trained.json"])


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
