"""Training: resumed is uninterrupted bit for bit, seeds fix everything, and bad gradients stop it."""

import contextlib
import io
import itertools
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from surroscope.errors import UserError
from surroscope.models import surrogate
from surroscope.runtime import claims, store
from surroscope.training import loop
from surroscope.training.checkpoints import Checkpoints
from surroscope.training.recipe import Recipe

VIT = "surroscope.models.vit:build"
OPTIONS = {"patch": 4, "width": 8, "depth": 1, "heads": 2}
RECIPE = Recipe(batch=4, learning_rate=1e-3, weight_decay=0.0)


def network(seed: int = 1) -> torch.nn.Module:
    return surrogate.build(VIT, OPTIONS, shape=(2, 8, 8), seed=seed)


def data() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    states = torch.randn(5, 4, 2, 8, 8, generator=draw)
    return states[:4], states[4:]


def train(until: int, *, seed: int = 1, resume: dict | None = None, rate: float = 1e-3, **options: Any) -> dict:
    recipe = Recipe(**{"batch": 4, "learning_rate": rate, "weight_decay": 1e-4} | options)
    *_, last = loop.Training(network(seed), *data(), recipe, seed=seed, until=until).epochs(resume)
    return last


def test_resumed_training_is_bitwise_the_uninterrupted_one(tmp_path: Path) -> None:
    torch.save(train(3), tmp_path / "state.pt")
    resumed = train(6, resume=torch.load(tmp_path / "state.pt", weights_only=True))
    straight = train(6)
    for name, tensor in straight["network"].items():
        assert torch.equal(resumed["network"][name], tensor), name
    for key in ("epoch", "train", "validation", "learning_rate"):
        assert [row[key] for row in resumed["history"]] == [row[key] for row in straight["history"]]


def test_a_seed_fixes_initialisation_and_order_and_another_changes_them() -> None:
    same, other = train(2), train(2, seed=2)
    assert all(torch.equal(tensor, same["network"][name]) for name, tensor in train(2)["network"].items())
    assert not all(torch.equal(tensor, same["network"][name]) for name, tensor in other["network"].items())


def test_initialisation_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    network()
    assert torch.equal(torch.get_rng_state(), before)


def test_an_epoch_sees_every_transition_once_and_lowers_the_error() -> None:
    history = train(30)["history"]
    assert [row["epoch"] for row in history] == list(range(1, 31))
    assert history[-1]["train"] < 0.8 * history[0]["train"]


def test_bfloat16_trains_weights_that_are_float32() -> None:
    trained, exact = train(30, precision="bfloat16"), train(30)
    history = trained["history"]
    assert history[-1]["train"] < 0.8 * history[0]["train"]
    assert {tensor.dtype for tensor in trained["network"].values()} == {torch.float32}
    assert {slot.dtype for slots in trained["optimizer"]["state"].values() for slot in slots.values()} == {
        torch.float32
    }
    assert not all(torch.equal(tensor, exact["network"][name]) for name, tensor in trained["network"].items())
    assert history[-1]["validation"] == pytest.approx(exact["history"][-1]["validation"], rel=0.05)


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("c++") or torch.cuda.is_available()), reason="needs a C++ compiler")
def test_a_compiled_network_trains_the_same_weights_under_the_same_names() -> None:
    compiled, eager = train(3, compile=True)["network"], train(3)["network"]
    assert list(compiled) == list(eager)
    for name, tensor in eager.items():
        assert torch.allclose(compiled[name], tensor, rtol=1e-3, atol=1e-5), name


def test_a_network_that_cannot_be_compiled_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(network: torch.nn.Module) -> Any:
        def call(state: Tensor) -> Tensor:
            raise torch._dynamo.exc.TorchDynamoException("no compiler\nat all")

        return call

    monkeypatch.setattr(torch, "compile", failing)
    with pytest.raises(UserError, match=r"training\.compile: .*no compiler at all.*; set it to false"):
        train(1, compile=True)


def test_a_gradient_that_is_not_finite_stops_with_epoch_and_parameter() -> None:
    states, validation = data()
    states[2, 1, 0, 0, 0] = torch.inf
    with pytest.raises(UserError, match=r"gradient of .* is not finite at epoch 1, batch \d"):
        list(loop.Training(network(), states, validation, RECIPE, seed=1, until=1).epochs())


def test_persistence_is_the_error_of_no_change() -> None:
    still = torch.randn(1, 1, 2, 8, 8).expand(3, 4, 2, 8, 8)
    assert loop.persistence(still) == 0
    assert loop.persistence(data()[0]) > 0.5


def state(epoch: int) -> dict:
    return {"epoch": epoch, "history": []}


def test_checkpoints_of_another_identity_are_dropped_and_it_is_said(tmp_path: Path) -> None:
    folder = Checkpoints(tmp_path / "resume", {"code": "a"})
    folder.save(state(2))
    assert Checkpoints(tmp_path / "resume", {"code": "a"}).load([]) == state(2)
    fresh = Checkpoints(tmp_path / "resume", {"code": "b"})
    assert fresh.load([]) is None
    assert "starting afresh" in fresh.message


def test_an_older_writer_is_refused(tmp_path: Path) -> None:
    older = Checkpoints(tmp_path / "resume", {})
    older.save(state(1))
    newer = Checkpoints(tmp_path / "resume", {})
    with pytest.raises(claims.StaleWriterError, match="resume"):
        older.save(state(2))
    assert newer.load([]) == state(1)


def test_weights_that_were_not_kept_make_it_start_afresh(tmp_path: Path) -> None:
    folder = Checkpoints(tmp_path / "resume", {})
    folder.save(state(5))
    assert folder.load([7]) == state(5)
    assert folder.load([3, 7]) is None
    assert "epoch 3" in folder.message


@pytest.mark.parametrize(
    ("factory", "options", "words"),
    [
        ("nowhere.at.all:build", {}, "cannot be imported"),
        ("surroscope.models.vit:nothing", {}, "cannot be imported"),
        (VIT, {"widht": 8}, "do not fit its signature"),
        (VIT, {"patch": 3}, "patch"),
        ("torch.nn:Linear", {"in_features": 3, "out_features": 3}, "fails on a"),
        ("torch.nn:Linear", {"in_features": 8, "out_features": 8, "dtype": torch.float64}, r"float64.*network\.float"),
        ("torch.nn:PixelShuffle", {}, "do not fit"),
        ("torch.nn:Conv2d", {"in_channels": 2, "out_channels": 3, "kernel_size": 1}, r"expected \(2, 2, "),
        ("torch.nn:MaxPool2d", {"kernel_size": 1}, "no trainable parameter"),
    ],
)
def test_a_factory_that_cannot_be_used_is_one_clear_error(factory: str, options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        surrogate.build(factory, options, shape=(2, 8, 8), seed=0)
    assert factory in str(caught.value)


class Mean(nn.Module):
    """Divides by the mean of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x / x.mean()


class Noise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


class InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x -= 1.5
        return 2 * x


NETWORKS = {
    "statistics of the batch": lambda: nn.BatchNorm2d(2, track_running_stats=False),
    "mean of the batch": Mean,
    "random numbers": Noise,
    "in place": InPlace,
    "statistics of training": lambda: nn.BatchNorm2d(2),
    "round-off": lambda: nn.Sequential(*(nn.Conv2d(2, 2, 3, padding=1) for _ in range(30))),
    "not finite": lambda: nn.Threshold(1e9, float("nan")),
}


def listed(channels: int, size: int, name: str) -> nn.Module:
    return nn.Sequential(NETWORKS[name](), nn.Conv2d(2, 2, 1))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_whose_states_interact_or_that_changes_its_input_is_refused(name: str) -> None:
    factory = f"{__name__}:listed"
    words = {"in place": r"changes the states that it is given.*x\.clone"}
    words |= dict.fromkeys(["statistics of the batch", "mean of the batch"], "predicted by itself")
    words["random numbers"] = r"two predictions from the same states differ.*if self\.training"
    if name in words:
        with pytest.raises(UserError, match=rf"{factory}.*{words[name]}"):
            surrogate.build(factory, {"name": name}, shape=(2, 8, 8), seed=0)
    else:
        assert surrogate.build(factory, {"name": name}, shape=(2, 8, 8), seed=0)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    with store.writing(tmp_path / "weights", {}) as temporary:
        temporary.mkdir()
        surrogate.save_weights(network(), surrogate.weights_of(temporary, 3))
    surrogate.load_weights(network(2), tmp_path / "weights", 3)
    other = surrogate.build(VIT, OPTIONS | {"width": 16}, shape=(2, 8, 8), seed=0)
    with pytest.raises(UserError, match=r"epoch3\.pt: not weights of this network"):
        surrogate.load_weights(other, tmp_path / "weights", 3)


def test_a_folder_without_identity_is_never_resumed_from(tmp_path: Path) -> None:
    folder = Checkpoints(tmp_path / "resume", {"code": "a"})
    folder.save(state(2))
    (tmp_path / "resume" / "identity.json").unlink()
    assert Checkpoints(tmp_path / "resume", {"code": "a"}).load([]) is None


def kept(path: Path) -> Checkpoints:
    """A folder with a checkpoint of epoch 2, and what is needed of it."""
    folder = Checkpoints(path, {})
    surrogate.save_weights(network(), folder.weights(2))
    moments = network()
    surrogate.save_moments(moments, torch.optim.AdamW(moments.parameters()).state_dict(), folder.moments(2))
    folder.save(state(2) | {"network": network().state_dict()})
    assert folder.load([2]) is not None
    folder.claim.release()
    return folder


def pickled(data: bytes) -> bytes:
    """A zip archive as torch writes it, of an object that no checkpoint holds."""
    stream = io.BytesIO()
    torch.save(Path("nowhere"), stream)
    return stream.getvalue()


DAMAGE = {
    # More than the padding between the parts of the file.
    "flipped": lambda data: (
        data[: len(data) // 2] + bytes(byte ^ 1 for byte in data[len(data) // 2 :][:128]) + data[-9:]
    ),
    "directory": lambda data: data[:-100] + bytes(byte ^ 255 for byte in data[-100:-90]) + data[-90:],
    "cut": lambda data: data[:-7],
    "empty": lambda data: b"",
    "zero": lambda data: bytes(len(data)),
    "pickle": lambda data: pickle.dumps({"epoch": 2, "history": []}),
    "pickle in an archive": pickled,
}


@pytest.mark.parametrize("recorded", [True, False], ids=["digests", "of an earlier version"])
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["latest.pt", "epoch2.pt", "epoch2.moments.pt"])
def test_a_damaged_checkpoint_is_set_aside_and_not_resumed_from(
    tmp_path: Path, name: str, damage: str, recorded: bool
) -> None:
    file = kept(tmp_path / "resume").folder / name
    if not recorded:
        (file.parent / "digests.json").unlink()
    damaged = DAMAGE[damage](file.read_bytes())
    file.write_bytes(damaged)
    folder = Checkpoints(tmp_path / "resume", {})
    assert folder.load([2]) is None
    assert f"{name} is damaged; starting afresh at epoch 1, and keeping it as {name}.damaged" in folder.message
    assert not file.exists()
    assert (file.parent / f"{name}.damaged").read_bytes() == damaged
    folder.save(state(1))
    assert folder.load([]) == state(1)


def test_no_changed_byte_of_a_checkpoint_is_resumed_from(tmp_path: Path) -> None:
    """A byte of the archive's directory too, which would make torch read what is no part of the file."""
    saved = kept(tmp_path / "resume")
    data = (saved.folder / "latest.pt").read_bytes()
    for place in range(len(data) - 600, len(data), 3):
        (saved.folder / "latest.pt").write_bytes(data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :])
        assert Checkpoints(saved.folder, {}).load([]) is None
    (saved.folder / "latest.pt").write_bytes(data)
    assert Checkpoints(saved.folder, {}).load([]) is not None


def test_runs_that_are_killed_while_they_save_leave_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace
    found = []
    for allowed in range(8):
        folder = Checkpoints(tmp_path / str(allowed), {})
        folder.save(state(1))
        for _ in range(3):
            moves = itertools.count()

            def killed(source: Path, target: Path, moves=moves, allowed=allowed) -> None:
                if next(moves) >= allowed:
                    raise KeyboardInterrupt
                replace(source, target)

            with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
                patched.setattr(os, "replace", killed)
                folder.save(folder.load([]) | {"epoch": 2})
            folder = Checkpoints(tmp_path / str(allowed), {})
            last = folder.load([])
            assert last is not None, folder.message
        found.append(last["epoch"])
    assert sorted(set(found)) == [1, 2]


@pytest.mark.parametrize("damaged", [b"", b"\xff", b"[]"])
def test_an_identity_that_is_damaged_is_another(tmp_path: Path, damaged: bytes) -> None:
    saved = kept(tmp_path / "resume")
    (saved.folder / "identity.json").write_bytes(damaged)
    folder = Checkpoints(saved.folder, {})
    assert folder.load([]) is None
    assert "starting afresh" in folder.message


class Dropping(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.dropout(self.layer(x), training=self.training)


def test_random_draws_inside_the_network_resume_too() -> None:
    def run(until: int, resume: dict | None = None) -> dict:
        torch.manual_seed(0)
        *_, last = loop.Training(Dropping(), *data(), RECIPE, seed=1, until=until).epochs(resume)
        return {key: value for key, value in last.items() if key != "history"} | {
            "history": [dict(row) for row in last["history"]]
        }

    half = run(2)
    half["network"] = {name: tensor.clone() for name, tensor in half["network"].items()}
    resumed, straight = run(4, half), run(4)
    assert all(torch.equal(resumed["network"][name], tensor) for name, tensor in straight["network"].items())


@pytest.mark.parametrize(("count", "batches"), [(1, 1), (16, 4), (17, 5)])
def test_no_batch_is_larger_than_asked(count: int, batches: int) -> None:
    assert loop.batches_in(torch.zeros(count, 4, 1), 12) == batches


def test_a_layer_of_single_precision_does_not_make_samples_interact() -> None:
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer.float()(x.float()).double()

    states = torch.rand(2, 2, 32, 32, dtype=torch.float64)
    surrogate.require_independent(Single().eval(), states, "a network")


class Noted(nn.Conv2d):
    """Its state holds more than tensors, as that of neuraloperator's networks."""

    def state_dict(self, *args: Any, **named: Any) -> Any:
        return super().state_dict(*args, **named) | {"_metadata": {"made by": Noted}}


def test_training_goes_on_with_a_network_whose_state_holds_more_than_tensors() -> None:
    states, validation = data()
    first = next(iter(loop.Training(Noted(2, 2, 1), states, validation, RECIPE, seed=1, until=2).epochs()))
    assert all(isinstance(part, Tensor) for part in first["network"].values())
    (last,) = loop.Training(Noted(2, 2, 1), states, validation, RECIPE, seed=1, until=2).epochs(first)
    assert last["epoch"] == 2
