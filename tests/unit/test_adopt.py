"""The stage that adopts weights writes what training writes, and says how a network that errs may be meant."""

from pathlib import Path

import numpy as np
import pytest
import torch
from response_study import CHANNELS, FACTORY, SIZE, SNAPSHOTS, Study, build, make

from surroscope.config import jobs
from surroscope.config.weights import digest
from surroscope.errors import UserError
from surroscope.models import surrogate
from surroscope.runtime import store
from surroscope.stages import adopt
from surroscope.tables.reading import read_csv


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make(tmp_path_factory.mktemp("study"))


def adopted(study: Study, saved: list[Path], folder: Path, **changes: object) -> None:
    settings = {
        **{"system": "CE", "boundary": "periodic", "model": "net", "factory": FACTORY, "options": {}, "seed": 1},
        **{"snapshots": SNAPSHOTS, "channels": tuple("abcd"), "epochs": [*range(3, 3 + len(saved))]},
        **{"files": [digest(path) for path in saved], "entry": "", "prefix": None, "pickled": False, "loader": None},
    }
    adopt.stage(
        jobs.Adopt(**settings | changes),
        stores=study.stores,
        split=study.split,
        saved=saved,
        weights=folder / "weights",
        history=folder / "history.csv",
    )


def test_weights_and_history_are_those_of_a_network_trained_here(study: Study, tmp_path: Path) -> None:
    saved, network = [tmp_path / "a.pt", tmp_path / "b.pt"], build(CHANNELS, SIZE)
    for scale, path in enumerate(saved, 1):
        torch.save({"model": {f"module.{n}": scale * p for n, p in network.state_dict().items()}}, path)
    adopted(study, saved, tmp_path)
    for scale, epoch in enumerate((3, 4), 1):
        fresh = build(CHANNELS, SIZE)
        surrogate.load_weights(fresh, tmp_path / "weights", epoch)
        for name, part in network.state_dict().items():
            assert torch.equal(fresh.state_dict()[name], scale * part)
    history = read_csv(tmp_path / "history.csv")
    assert list(history["epoch"]) == [3, 4]
    assert history[["train", "learning_rate", "seconds"]].isna().all(axis=None)
    assert np.isfinite(history[["validation", "persistence"]]).all(axis=None)
    assert set(store.manifest(tmp_path / "weights")["files"]) == {"epoch3.pt", "epoch4.pt"}


def test_a_file_that_changed_since_the_plan_leaves_nothing_behind(study: Study, tmp_path: Path) -> None:
    torch.save(build(CHANNELS, SIZE).state_dict(), tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"a\.pt: written again since this job was planned; run snakemake again"):
        adopted(study, [tmp_path / "a.pt"], tmp_path, files=["0" * 64])
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]
