"""Networks that are given several snapshots, constants and lead times: what reaches them, wherever they run."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.cases import jacobian, relative
from torch import Tensor, nn

from surroscope.config.networks import Call
from surroscope.cost_function import smse
from surroscope.data.transitions import Probe
from surroscope.diagnostics import equivariance, mistakes
from surroscope.diagnostics.rollout import errors, rollout
from surroscope.errors import UserError
from surroscope.influence.calibrate import calibrate
from surroscope.influence.compute import Rules, influence
from surroscope.influence.linearize import Linearization
from surroscope.influence.responses import Grams
from surroscope.models import context, surrogate
from surroscope.models.calling import Called
from surroscope.symmetry import Action
from surroscope.system import System
from surroscope.training import loop, windows
from surroscope.training.recipe import Recipe

T, F, K, CELLS, SNAPSHOTS = 3, 2, 1, 4, 7
DRAW = torch.Generator().manual_seed(0)
# Two classes of two trajectories; the last channel does not change.
STATES = torch.rand(4, SNAPSHOTS, F + K, CELLS, CELLS, generator=DRAW)
STATES[:, :, F:] = STATES[:, :1, F:]


class Past(nn.Module):
    """The next state from T snapshots, one axis of them and of channels, with the constant behind."""

    def __init__(self, history: int = T, channels: int = F, constants: int = K) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(history * channels + constants, channels, 3, padding=1)

    def forward(self, given: Tensor, time: Tensor | None = None) -> Tensor:
        found = torch.tanh(self.convolution(given))
        return found if time is None else found * (1 + time[:, None, None, None])


HERE = f"{__name__}:Past"
CALL = {"history": T, "constants": K}


def built(**call: Any) -> nn.Module:
    told = Call.model_validate(call, strict=False).model_dump(exclude_defaults=True)
    constants = {"constants": K} if call.pop("constants", K) else {}
    return surrogate.build(HERE, {}, shape=STATES.shape[2:], seed=0, call=told | constants)


def by_hand(network: nn.Module, past: Tensor) -> Tensor:
    """The network's own call for snapshots (N, T, F + K, Y, X)."""
    return surrogate.inner(network)(torch.cat([past[:, :, :F].flatten(1, 2), past[:, -1, F:]], dim=1))


def test_a_context_holds_what_it_was_made_of_and_goes_on_with_what_was_predicted() -> None:
    network = built(history=T, lead={"time": 0.5})
    past, labels = STATES[:, :T], torch.tensor([[1, 2]] * 4)
    given = context.of(network, past, labels, lead=2)
    assert given.shape == (4, T * (F + K) + 1, CELLS, CELLS)
    assert torch.equal(context.state(network, given), past[:, -1, :F])
    assert torch.equal(network(given), by_hand(network, past) * 2)
    new = torch.rand(4, F, CELLS, CELLS)
    after = context.advance(network, given, new)
    expected = torch.cat([past[:, 1:], torch.cat([new, past[:, -1, F:]], dim=1)[:, None]], dim=1)
    assert torch.equal(after, context.of(network, expected, labels, lead=2))


def test_the_network_sees_the_same_in_training_validation_rollouts_and_probes() -> None:
    """The oracle is a loop over trajectories and times."""
    network, runs = built(history=T), STATES
    fields = runs[:, :, :F]
    pairs = [(run[t + 1 - T : t + 1], run[t + 1, :F]) for run in runs for t in range(T - 1, SNAPSHOTS - 1)]
    given, following = (torch.stack(part) for part in zip(*pairs, strict=True))
    found = windows.gather(runs, np.arange(windows.count(runs, T + 1)), T + 1)
    assert torch.equal(found[:, :T], given)
    assert torch.equal(found[:, T, :F], following)
    assert [time for _, time in windows.labels(runs, np.arange(16), 2, T, T + 1).tolist()] == [2, 3, 4, 5] * 4
    with torch.no_grad():
        expected = smse(by_hand(network, given), following, following).double().mean()
        still = smse(given[:, -1, :F], following, following).double().mean()
    assert loop.one_step(network, runs, 5, classes=2) == pytest.approx(float(expected), rel=1e-6)
    assert loop.persistence(runs, T, K) == pytest.approx(float(still), rel=1e-6)
    probe = Probe(runs[::2].numpy(), ("a", "b"), (0, 0), history=T, constants=K)
    assert probe.times == range(T - 1, SNAPSHOTS - 1)
    assert np.array_equal(probe.snapshots, torch.cat([given[:4], given[8:12]]).numpy())
    assert np.array_equal(probe.targets, torch.cat([following[:4], following[8:12]]).numpy())
    assert np.array_equal(probe.inputs, probe.snapshots[:, -1, :F])
    flown, kept = errors(network, runs, history=T, constants=K)
    window = runs[:, 1 : T + 1].clone()
    for step in range(T + 1, SNAPSHOTS):
        with torch.no_grad():
            new = by_hand(network, window)
        assert torch.allclose(flown[:, T, step], smse(new, fields[:, step], new).double(), rtol=1e-5)
        assert torch.allclose(kept[:, T, step], smse(fields[:, T], fields[:, step], new).double(), rtol=1e-5)
        window = torch.cat([window[:, 1:], torch.cat([new, runs[:, 0, F:]], dim=1)[:, None]], dim=1)
    assert torch.isnan(flown[:, : T - 1]).all()
    assert not torch.isnan(flown[:, T - 1, T:]).any()


def test_training_learns_from_the_past() -> None:
    network = built(history=T)
    recipe = Recipe(batch=4, learning_rate=0.02, weight_decay=0.0)
    runs = STATES.clone()
    for t in range(T, SNAPSHOTS):  # what follows is the snapshot T before, which the present one does not tell
        runs[:, t, :F] = 0.5 * runs[:, t - T, :F]
    history = [
        state["history"][-1]
        for state in loop.Training(network, runs, runs, recipe, seed=0, until=30, classes=2).epochs()
    ]
    assert history[-1]["validation"] < 0.2 * history[0]["validation"]
    assert history[-1]["validation"] < 0.2 * loop.persistence(runs, T, K)


@pytest.mark.parametrize("call", [{}, {"predicts": "delta"}, {"axes": "b (c t) y x"}], ids=["state", "delta", "c t"])
def test_influence_equals_the_dense_one(call: dict[str, Any]) -> None:
    network = built(history=T, **call)
    probe = Probe(STATES[::2].numpy(), ("a", "b"), (0, 0), history=T, constants=K)
    linear = Linearization(network.double())
    given = context.of(network, torch.from_numpy(probe.snapshots).double())
    targets = torch.from_numpy(probe.targets).double()
    method = calibrate(linear, smse, given, targets, seconds=0).method
    g = linear.gradients(smse, given, targets, method)
    tangents = linear.tangents(given, g, method).flatten(1).numpy()
    rows = np.arange(len(g))
    k = (g @ g.T).numpy()
    grams = Grams(k, tangents @ tangents.T / tangents.shape[1], precision="float64")
    found, _ = influence(grams, rows, rows, Rules("perturbation", 0.0, 1e-3, "absolute"), 1e-3)
    j = jacobian(linear, given)
    assert j.shape == (len(g) * F * CELLS**2, linear.size)
    basis = np.linalg.svd(g.numpy(), full_matrices=False)[2]
    metric = basis @ (j.T @ j / len(j)) @ basis.T
    along = g.numpy() @ basis.T
    assert relative(found, along @ np.linalg.solve(metric + 1e-3 * np.eye(len(metric)), along.T)) < 1e-8


LAYOUTS: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "snapshots behind each other": ("b (t c) y x", lambda x: x.flatten(1, 2)),
    "channels behind each other": ("b (c t) y x", lambda x: x.transpose(1, 2).flatten(1, 2)),
    "an axis of time": ("b t c y x", lambda x: x),
    "channels last": ("b y x (t c)", lambda x: x.flatten(1, 2).permute(0, 2, 3, 1)),
    "time behind channels": ("b x y t c", lambda x: x.permute(0, 4, 3, 1, 2)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_snapshots_are_laid_out_as_the_network_takes_them(name: str) -> None:
    axes, arranged = LAYOUTS[name]
    seen: list[Tensor] = []

    class Seeing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, given: Tensor) -> Tensor:
            seen.append(given)
            return self.weight * given

    x = torch.rand(2, T, F, 4, 5)
    network = Called(Seeing(), channels=F, history=T, axes=axes, output_axes=axes, output_time=-1)
    assert torch.equal(network(context.of(network, x)), x[:, -1])
    assert torch.equal(seen[0], arranged(x))


@pytest.mark.parametrize("predicts", ["state", "delta"])
def test_scales_of_the_data_are_kept_with_the_weights(predicts: str) -> None:
    network = built(history=T, normalize="data", predicts=predicts)
    surrogate.normalise(network, STATES)
    mean, std = STATES.mean(dim=(0, 1, 3, 4)), STATES.std(dim=(0, 1, 3, 4))
    changes = STATES[:, :, :F].diff(dim=1).std(dim=(0, 1, 3, 4))
    past = STATES[:, :T]
    found = network(context.of(network, past))
    own = by_hand(network, (past - mean[:, None, None]) / std[:, None, None])
    expected = own * std[:F, None, None] + mean[:F, None, None]
    if predicts == "delta":
        expected = past[:, -1, :F] + own * changes[:, None, None]
    torch.testing.assert_close(found, expected)
    other = built(history=T, normalize="data", predicts=predicts)
    other.load_state_dict(network.state_dict())
    torch.testing.assert_close(other(context.of(other, past)), found)
    assert set(surrogate.scales(network)) <= {"mean", "std", "output_mean", "output_std"}


def test_images_are_of_all_snapshots() -> None:
    system = System("S", "s", ("u", "v"), vectors=(("u", "v"),), constants=("k",), symmetries=("shifts",))
    network = built(history=T)
    nn.init.zeros_(surrogate.inner(network).convolution.weight)
    given, targets = STATES[:, :T], STATES[:, T, :F]
    found = equivariance.errors(network, given, targets, [Action.parse("e"), Action.parse("x1")], system)
    assert torch.allclose(found[0], found[1], rtol=1e-6)
    assert torch.equal(Action.parse("r")(given, system)[:, :, F:], given[:, :, F:].rot90(1, (-1, -2)))


def test_a_mistake_in_the_call_of_a_network_with_a_past_is_named() -> None:
    given, last = STATES[:, :T] * 5 + 100, STATES[:, T - 1, :F] * 5 + 100
    targets = last + given[:, 0, :F]

    def predict(snapshots: Tensor) -> Tensor:
        return snapshots[:, 0, :F]

    assert mistakes.likelier(predict, given, targets, ("u", "v")).startswith("with its output added to the state")


WRONG = {
    "history is 3, but axes 'b c y x' has no t": {"history": 3, "axes": "b c y x"},
    "expected b, c, y, x in any order": {"axes": "b (t y) c x"},
    "normalize goes without mean": {"normalize": "data", "mean": [0.0]},
    "output_time is 0, but output_axes": {"output_time": 0, "output_axes": "bcyx"},
}


@pytest.mark.parametrize("said", WRONG)
def test_what_does_not_fit_together_is_refused(said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        Call.model_validate(WRONG[said])


def test_a_wrong_history_is_one_line_that_says_what_was_given() -> None:
    with pytest.raises(UserError, match=r"fails on a batch of snapshots \(2, 2, 3, 4, 4\).*expected input"):
        built(history=2)


def test_several_snapshots_that_are_given_back_are_to_be_chosen_from() -> None:
    options = {"in_channels": F, "out_channels": F, "kernel_size": 1}
    call = {"history": T, "axes": "b c t y x"}
    with pytest.raises(UserError, match=r"gives back 3 snapshots; say in call\.output_time which is the next"):
        surrogate.build("torch.nn:Conv3d", options, shape=(F, 4, 4), seed=0, call=call)


def test_rollouts_stand_in_for_the_past() -> None:
    network = built(history=T)
    given = context.of(network, STATES[:, :T])
    flown = rollout(network, given, 2)
    assert flown.shape == (4, 2, F, CELLS, CELLS)
    past = torch.cat([STATES[:, 1:T], torch.cat([flown[:, 0], STATES[:, 0, F:]], dim=1)[:, None]], dim=1)
    torch.testing.assert_close(flown[:, 1], by_hand(network, past))


def test_scales_lie_where_the_network_lies() -> None:
    network = Called(nn.Conv2d(2, 2, 3), channels=2, normalize="data").to("meta")
    network.normalised_by(torch.rand(3, 4, 2, 8, 8))
    assert network.mean.device == next(network.parameters()).device
