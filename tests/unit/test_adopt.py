"""Weights of others become what training writes, each epoch by itself; what is wrong is told before there are data."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from response_study import CHANNELS, FACTORY, SIZE, SNAPSHOTS, Study, build, make, retrained

from surroscope.config import jobs
from surroscope.config.sections import Method
from surroscope.config.weights import digest
from surroscope.data import splits, transitions
from surroscope.errors import UserError
from surroscope.models import surrogate
from surroscope.runtime import fingerprint, store
from surroscope.stages import adopt, contract, validate
from surroscope.tables.reading import read_csv

NETWORK = {"system": "CE", "boundary": "periodic", "model": "net", "factory": FACTORY, "options": {}}
SHAPE = (CHANNELS, SIZE, SIZE)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make(tmp_path_factory.mktemp("study"))


def adopted(path: Path, epoch: int = 3, data: dict[str, Any] | None = None, **changes: Any) -> Path:
    """The folder of an epoch's weights, beside their file. data: stores and split, where it normalises by them"""
    settings = {
        **{"shape": SHAPE, "snapshots": SNAPSHOTS, "seed": 1, "epoch": epoch, "file": digest(path)},
        **{"entry": "", "prefix": None, "pickled": False, "loader": None},
    }
    weights = path.parent / f"epoch{epoch}"
    adopt.stage(jobs.Adopt(**NETWORK | settings | changes), saved=path, weights=weights, **data or {})
    return weights


def test_weights_and_history_are_those_of_a_network_trained_here(study: Study, tmp_path: Path) -> None:
    network, folders = build(CHANNELS, SIZE), []
    for scale, epoch in enumerate((3, 4), 1):
        path = tmp_path / f"{epoch}.pt"
        torch.save({"model": {f"module.{n}": scale * p for n, p in network.state_dict().items()}}, path)
        folders.append(adopted(path, epoch))
        fresh = build(CHANNELS, SIZE)
        surrogate.load_weights(fresh, folders[-1], epoch)
        for name, part in network.state_dict().items():
            assert torch.equal(fresh.state_dict()[name], scale * part)
        assert set(store.manifest(folders[-1])["files"]) == {f"epoch{epoch}.pt"}
    settings = {"seed": 1, "epochs": [3, 4], "snapshots": SNAPSHOTS, "channels": tuple("abcd")}
    validate.stage(
        jobs.Validate(**NETWORK | settings),
        **{"stores": study.stores, "split": study.split, "weights": folders, "history": tmp_path / "history.csv"},
    )
    history = read_csv(tmp_path / "history.csv")
    assert list(history["epoch"]) == [3, 4]
    assert history[["train", "learning_rate", "seconds"]].isna().all(axis=None)
    assert np.isfinite(history[["validation", "persistence"]]).all(axis=None)


def test_what_a_network_normalises_by_is_kept_with_its_weights(study: Study, tmp_path: Path) -> None:
    torch.save(build(CHANNELS, SIZE).state_dict(), tmp_path / "a.pt")
    call: dict[str, Any] = {"call": {"normalize": "data"}}
    data = {"stores": study.stores, "split": study.split}
    kept = torch.load(surrogate.weights_of(adopted(tmp_path / "a.pt", data=data, **call), 3), weights_only=True)
    network = surrogate.build(FACTORY, {}, shape=SHAPE, seed=1, **call)
    surrogate.normalise(network, torch.from_numpy(transitions.trajectories(**data, part="train", snapshots=SNAPSHOTS)))
    assert surrogate.scales(network)
    for name in surrogate.scales(network):
        assert torch.equal(kept[name], network.state_dict()[name])


def test_a_file_that_changed_since_the_plan_leaves_nothing_behind(tmp_path: Path) -> None:
    torch.save(build(CHANNELS, SIZE).state_dict(), tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"a\.pt: written again since this job was planned; run snakemake again"):
        adopted(tmp_path / "a.pt", file="0" * 64)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"options": {"hiden": 3}}, r"options .*'hiden'.* do not fit its signature"),
        (
            {"options": {"hidden": 5}},
            r"a\.pt: not weights of this network: .*shape: 0\.weight \(3, 4, 3, 3\)",
        ),
        ({"shape": (2, SIZE, SIZE)}, r"a\.pt: not weights of this network: .*of another shape"),
        ({"factory": f"{__name__}:four"}, r"fails on a batch of states \(2, 2, 8, 8\)"),
        ({"factory": f"{__name__}:Coarse"}, r"maps states \(2, 4, 8, 8\) to \(2, 4, 4, 4\); expected"),
        ({"factory": f"{__name__}:Noisy"}, r"two predictions from the same states differ"),
    ],
)
def test_a_network_that_is_not_the_weights_is_one_line_before_there_are_data(
    change: dict, words: str, tmp_path: Path
) -> None:
    torch.save(build(CHANNELS, SIZE).state_dict(), tmp_path / "a.pt")
    if change.get("factory", "").endswith("four"):
        change = change | {"shape": (2, SIZE, SIZE)}
    with pytest.raises(UserError, match=words) as raised:
        adopted(tmp_path / "a.pt", **change)
    assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]
    if "weights" not in words:
        with pytest.raises(UserError, match=words):
            contract.stage(
                jobs.Contract(**NETWORK | {"shape": SHAPE, "snapshots": 5} | change),
                contract=tmp_path / "contract.json",
            )
        assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"factory": f"{__name__}:Apart"}, r"net on CE: no exact method for the gradients: .*detach\(\)"),
        (
            {"method": Method(gradients="vmap"), "factory": f"{__name__}:Stepwise"},
            r"net on CE: tangents by 'vmap': .*'double_backward' is exact",
        ),
    ],
)
def test_what_cannot_be_differentiated_is_one_line_before_it_is_trained(
    changes: dict, words: str, tmp_path: Path
) -> None:
    settings = jobs.Contract(**NETWORK | {"shape": SHAPE, "snapshots": 5} | changes)
    with pytest.raises(UserError, match=words) as raised:
        contract.stage(settings, contract=tmp_path / "contract.json")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_training_begins_with_whether_there_will_be_gradients(study: Study) -> None:
    with pytest.raises(UserError, match=r"net on CE: no exact method for the gradients: .*detach\(\)"):
        retrained(study, "apart", factory=f"{__name__}:Apart", options={})
    assert not (study.folder / "resume").exists()
    # It changes no network, so an edit of it trains nothing again.
    closure: set[str] = set()
    fingerprint._collect("surroscope.stages.train", "surroscope", closure)
    assert "surroscope.training.loop" in closure
    assert not any(name.startswith("surroscope.influence") for name in closure)


class Apart(torch.nn.Module):
    """Half of it leaves torch on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.step, self.other = torch.nn.Conv2d(4, 4, 1), torch.nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.step(x) + torch.from_numpy(self.other(x).detach().numpy())


class Stepwise(torch.nn.Module):
    """Has a layer without a rule for batches of gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.step = torch.nn.LSTM(4, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.step(x.flatten(2).mT)[0].mT.unflatten(2, x.shape[2:])


def four() -> torch.nn.Module:
    """Of four channels, whatever there are."""
    return build(4, SIZE)


class Coarse(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.step = torch.nn.Conv2d(4, 4, 2, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.step(x)


class Noisy(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.step = torch.nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.step(x + 0.1 * torch.randn_like(x))


def test_a_network_that_keeps_to_the_contract_is_counted(tmp_path: Path) -> None:
    contract.stage(jobs.Contract(**NETWORK, shape=SHAPE, snapshots=5), contract=tmp_path / "contract.json")
    assert json.loads((tmp_path / "contract.json").read_text()) == {
        "parameters": sum(p.numel() for p in build(CHANNELS, SIZE).parameters())
    }


def test_a_class_that_a_file_lists_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trained.json"
    path.write_text('{"A": "0-5", "A": [0]}')
    with pytest.raises(ValueError, match="A"):
        splits.read(path)


def test_scales_that_a_file_has_are_taken_as_they_are(study: Study, tmp_path: Path) -> None:
    call = {"normalize": "data"}
    network = surrogate.build(FACTORY, {}, shape=SHAPE, seed=1, call=call)
    for number, name in enumerate(surrogate.scales(network)):
        getattr(network, name).fill_(2.0 + number)
    path = tmp_path / "own.pt"
    surrogate.save_weights(network, path)
    folder = adopted(path, data={"stores": study.stores, "split": study.split}, call=call)
    found = surrogate.build(FACTORY, {}, shape=SHAPE, seed=2, call=call)
    surrogate.load_weights(found, folder, 3)
    for name, value in network.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name
