"""Weights that others saved: what is meant in a file is found, or one line says what is not clear."""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from surroscope.config.weights import Weights
from surroscope.errors import UserError
from surroscope.models import surrogate, weights
from surroscope.runtime import store


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1))


SAVED = network(1).state_dict()
BEHIND = {f"module.{name}": part for name, part in SAVED.items()}


def mean(path: Path) -> dict:
    """A loader of one's own."""
    return torch.load(path, weights_only=True)["runs"][0]


class Trainer:
    """What a file may hold that needs its own code to be read."""


def loaded(path: Path, entry: str = "", prefix: str | None = None, **options: object) -> tuple[nn.Module, str]:
    found, fresh = weights.read(path, entry, **options), network(2)
    return fresh, weights.fit(fresh, found, path, prefix)


@pytest.mark.parametrize(
    ("content", "options", "prefix"),
    [
        (SAVED, {}, ""),
        (BEHIND, {}, "module."),
        ({"model_state_dict": SAVED, "epoch": 3}, {}, ""),
        (
            {"state_dict": {f"model.{name}": part for name, part in SAVED.items()} | {"loss.scale": torch.ones(1)}},
            {},
            "model.",
        ),
        (
            {"model": SAVED, "ema": network(3).state_dict(), "optimizer": {"state": {}, "param_groups": []}},
            {"entry": "model"},
            "",
        ),
        (
            # As Lightning saves it, with the score of the best checkpoint.
            {"state_dict": BEHIND, "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.1)}}},
            {},
            "module.",
        ),
        ({"a": {"b": BEHIND}}, {"entry": "a.b"}, "module."),
        (
            {**{f"ema.{n}": p * 2 for n, p in SAVED.items()}, **{f"net.{n}": p for n, p in SAVED.items()}},
            {"prefix": "net."},
            "net.",
        ),
        ({"runs": [SAVED]}, {"loader": "tests.unit.test_weights:mean"}, ""),
    ],
)
def test_what_is_meant_in_a_torch_file_is_found(tmp_path: Path, content: dict, options: dict, prefix: str) -> None:
    torch.save(content, tmp_path / "saved.pt")
    found, behind = loaded(tmp_path / "saved.pt", **options)
    assert behind == prefix
    for name, part in found.state_dict().items():
        assert torch.equal(part, SAVED[name]), name


def test_safetensors_and_folders_with_one_are_read(tmp_path: Path) -> None:
    save_file(dict(SAVED), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    for path in (tmp_path, tmp_path / "model.safetensors"):
        assert torch.equal(loaded(path)[0].state_dict()["2.bias"], SAVED["2.bias"])


def test_the_weights_of_an_archive_of_physicsnemo_are_read(tmp_path: Path) -> None:
    torch.save(SAVED, tmp_path / "model.pt")
    with zipfile.ZipFile(tmp_path / "a.mdlus", "w") as archive:
        archive.write(tmp_path / "model.pt", "model.pt")
        archive.writestr("args.json", "{}")
    assert torch.equal(loaded(tmp_path / "a.mdlus")[0].state_dict()["2.bias"], SAVED["2.bias"])


def test_objects_beside_the_tensors_are_left_out_and_modules_are_read_only_if_allowed(tmp_path: Path) -> None:
    state = OrderedDict(SAVED)
    state["_metadata"] = {"activation": torch.nn.functional.gelu, "layer": Trainer}  # as neuraloperator saves it
    for content in (state, {"state_dict": SAVED, "trainer": Trainer(), "loss": np.float64(1)}):
        torch.save(content, tmp_path / "saved.pt")
        assert torch.equal(loaded(tmp_path / "saved.pt")[0].state_dict()["2.bias"], SAVED["2.bias"])
    torch.save(network(1), tmp_path / "module.pt")
    with pytest.raises(
        UserError, match=r"module\.pt: holds an object of torch\.nn.*Sequential, .* weights\.pickled: true"
    ):
        loaded(tmp_path / "module.pt")
    assert torch.equal(loaded(tmp_path / "module.pt", pickled=True)[0].state_dict()["2.bias"], SAVED["2.bias"])


def test_no_code_runs_unless_it_is_allowed(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"state_dict": SAVED, "x": Bomb()}, tmp_path / "bomb.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(Bomb()))
    for name in ("bomb.pt", "old.pt"):
        with pytest.raises(UserError, match=rf"{name}: .*or holds what only code can read; .* weights\.pickled: true"):
            loaded(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"model": SAVED, "ema": SAVED}, "holds weights as model, ema; say which in weights.entry"),
        ({"epoch": 3}, "holds no tensors but epoch"),
        ([1, 2], "holds list, expected tensors by name"),
        (
            {f"{p}.{n}": t for p in ("ema", "net") for n, t in SAVED.items()},
            r"behind 'ema\.', 'net\.'; say which in weights\.prefix",
        ),
        ({name: part for name, part in SAVED.items() if name != "2.bias"}, r"missing: 2\.bias\. Compare factory"),
        (SAVED | {"3.bias": torch.ones(1)}, r"not the network's: 3\.bias"),
        (SAVED | {"2.bias": torch.ones(5)}, r"of another shape: 2\.bias \(5,\), expected \(2,\)"),
        (SAVED | {"2.bias": torch.tensor([1.0, torch.nan])}, r"not finite: 2\.bias"),
        (
            nn.Linear(2, 2).state_dict(),
            r"of its 9 tensors, missing: 0\.weight, 0\.bias, .* and 4 more; not the network's",
        ),
    ],
)
def test_what_is_not_clear_or_does_not_fit_is_one_line(tmp_path: Path, content: object, said: str) -> None:
    torch.save(content, tmp_path / "saved.pt")
    with pytest.raises(UserError, match=said) as raised:
        loaded(tmp_path / "saved.pt")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<!DOCTYPE html><html>", "a web page, not weights"),
        (b'{"error": "not found"}', "JSON, not weights"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"hello", "neither a file of torch.save nor"),
        (b"", "neither a file of torch.save nor"),
    ],
)
def test_what_was_never_weights_is_said(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "saved.pt").write_bytes(content)
    with pytest.raises(UserError, match=said):
        loaded(tmp_path / "saved.pt")


@pytest.mark.parametrize("name", ["saved.pt", "saved.safetensors"])
def test_half_a_file_is_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    torch.save(SAVED, path) if name.endswith(".pt") else save_file(dict(SAVED), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=rf"{name}: .*again") as raised:
        loaded(path)
    assert "\n" not in str(raised.value)


def test_a_number_that_looks_like_text_is_no_web_page(tmp_path: Path) -> None:
    # The length of the header, in the first two bytes: a blank and "<".
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors", {"note": "x" * 0x3C00})
    length = int.from_bytes((tmp_path / "a.safetensors").read_bytes()[:8], "little")
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors", {"note": "x" * (0x3C00 + 0x3C20 - length)})
    assert (tmp_path / "a.safetensors").read_bytes()[:2] == b" <"
    assert torch.equal(weights.read(tmp_path / "a.safetensors")["a"], torch.ones(2))


def test_files_are_found_by_seed_and_epoch(tmp_path: Path) -> None:
    for name in ("s1/e005.pt", "s1/e10.pt", "s2/e5.pt", "s2/e10.pt", "s2/last.pt", "s12/e7.pt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    pattern = Weights(files=f"{tmp_path}/s{{seed}}/e{{epoch}}.pt")
    assert sorted(pattern.found(1)) == sorted(pattern.found(2)) == [5, 10]
    assert sorted(pattern.found()) == [5, 7, 10]
    assert pattern.path(1, 5).name == "e005.pt"
    with pytest.raises(ValueError, match=r"found no file .* of seed 2 and epoch 7"):
        pattern.path(2, 7)
    (tmp_path / "s1/e5.pt").touch()
    with pytest.raises(ValueError, match=r"e005\.pt and .*e5\.pt are both of epoch 5"):
        pattern.path(1, 5)
    assert Weights(files=f"{tmp_path}/s2/last.pt").path(1, 1).name == "last.pt"
    assert Weights(files=f"{tmp_path}/s{{seed}}/last.pt").path(2, 1).name == "last.pt"


class Noted(nn.Linear):
    """Has its options in its state, as the models of neuraloperator have, and takes tensors alone."""

    def state_dict(self, *arguments: object, **options: object) -> dict:
        found = super().state_dict(*arguments, **options)
        found[f"{options.get('prefix', '')}_metadata"] = {"width": 8}
        return found


def test_a_state_that_holds_more_than_tensors_is_loaded_trained_and_untrained(tmp_path: Path) -> None:
    trained, fresh = nn.Sequential(Noted(2, 2)), nn.Sequential(Noted(2, 2))
    with store.writing(tmp_path / "weights", {}) as temporary:
        temporary.mkdir()
        surrogate.save_weights(trained, surrogate.weights_of(temporary, 1))
    before = fresh[0].weight.clone()
    surrogate.load_weights(fresh, tmp_path / "weights", 1, untrained=True)
    assert torch.equal(fresh[0].weight, before)
    surrogate.load_weights(fresh, tmp_path / "weights", 1)
    assert torch.equal(fresh[0].weight, trained[0].weight)
