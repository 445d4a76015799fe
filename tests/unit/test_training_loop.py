"""The loop of training: resumed bit by bit by any strategy, budgets as hooks count them, averages, what is held out."""

from typing import Any

import pytest
import torch
from arms import EULER, NAMES, SHAPE, UNET, Scale, built, data, window
from default_study import ROOT
from torch import Tensor

from surroscope.config.networks import Factory
from surroscope.cost_function import smse
from surroscope.errors import UserError
from surroscope.runtime import fingerprint
from surroscope.system import System
from surroscope.training import loop, windows
from surroscope.training.distributed import Group
from surroscope.training.recipe import Recipe
from surroscope.training.strategies import pushforward, unrolled
from surroscope.training.strategy import Counted, Strategy, Window, check, load, next_state, price

FULL = Recipe(
    learning_rate=1e-3, batch=8, budget=1500.0, clip=0.5, warmup=0.2, schedule="cosine", average=0.9, weight_decay=1e-4
)


@pytest.mark.parametrize("recipe", [FULL, Recipe(learning_rate=1e-3, batch=8, weight_decay=0.0)], ids=["full", "plain"])
@pytest.mark.parametrize("name", ["one_step", *NAMES, "weighted"])
def test_training_resumes_bit_by_bit(name: str, recipe: Recipe, tmp_path: Any) -> None:
    def run(until: int, resume: dict[str, Any] | None = None, stop: int | None = None) -> dict[str, Any]:
        network, strategy = built(name)
        rule: dict[str, Any] = {"seed": 1, "until": until, "classes": 3, "strategy": strategy}
        for state in loop.Training(network, *data(), recipe, **rule).epochs(resume):
            if state["epoch"] == (stop or until):
                torch.save(state, tmp_path / "state.pt")
                break
        return torch.load(tmp_path / "state.pt", weights_only=True)

    straight = run(4)
    resumed = run(4, run(4, stop=2))
    for key in ("network", "average"):
        assert all(torch.equal(resumed[key][part], tensor) for part, tensor in straight[key].items()), key
    for left, right in zip(straight["history"], resumed["history"], strict=True):
        assert {k: v for k, v in left.items() if k != "seconds"} == {k: v for k, v in right.items() if k != "seconds"}
    assert bool(straight["average"]) == (recipe.average is not None)


@pytest.mark.parametrize("name", ["one_step", *NAMES])
def test_a_budget_is_what_hooks_count(name: str) -> None:
    network, strategy = built(name)
    seen = {"forward": 0, "backward": 0}

    def forward(_: Any, given: tuple[Tensor, ...], __: Any) -> None:
        if network.training:
            seen["forward"] += len(given[0])

    def backward(_: Any, gradients: tuple[Tensor, ...], __: Any) -> None:
        seen["backward"] += len(gradients[0])

    network.register_forward_hook(forward)
    # Of the last layer, since inputs of a network need no gradient.
    network.register_full_backward_hook(lambda module, _, gradients: backward(module, gradients, None))
    recipe = Recipe(learning_rate=1e-3, batch=8, budget=700.0)
    rows = [
        dict(state["history"][-1])
        for state in loop.Training(network, *data(), recipe, seed=1, until=2, classes=3, strategy=strategy).epochs()
    ]
    spent = rows[-1]["forwards"]
    assert spent == seen["forward"] + 2 * seen["backward"]
    most = 8 * 6  # of a batch
    assert all(0 <= row["forwards"] - 350 * part < most for part, row in enumerate(rows, 1))
    if name != "strides":  # which gives more
        assert rows[-1]["flops"] == spent * loop.flops(network, window(1, network).given().float()[:1])


def test_prices_of_a_window() -> None:
    expected = {"one_step": 3, "noise": 3, "symmetry": 3, "strides": 3, "unrolled": 6, "fish": 3}
    for name, forwards in expected.items():
        network, strategy = built(name)
        assert price(strategy, network, SHAPE) == forwards, name
    network, _ = built("pushforward")
    assert price(pushforward.build(share=1.0), network, SHAPE) == 4
    assert price(pushforward.build(), network, SHAPE, draws=200) == pytest.approx(3.5, abs=0.1)


def test_the_learning_rate_rises_and_falls() -> None:
    recipe = Recipe(learning_rate=2.0, warmup=0.25, schedule="cosine")
    assert [recipe.rate(done) for done in (0, 0.125, 0.25, 0.625, 1)] == pytest.approx([0, 1, 2, 1, 0])
    assert Recipe(learning_rate=2.0).rate(0.0) == Recipe(learning_rate=2.0).rate(1.0) == 2.0


def test_the_average_is_the_recurrence_and_is_what_is_validated() -> None:
    kept: list[dict[str, Tensor]] = []
    network, strategy = built("one_step")
    start = {name: tensor.detach().clone() for name, tensor in network.named_parameters()}
    noting = Strategy(
        strategy.loss,
        stepped=lambda net, _: kept.append({name: tensor.detach().clone() for name, tensor in net.named_parameters()}),
    )
    recipe = Recipe(learning_rate=1e-2, batch=8, average=0.5)
    (state,) = loop.Training(network, *data(), recipe, seed=1, until=1, classes=3, strategy=noting).epochs()
    expected = start
    for step, weights in enumerate(kept, 1):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = {name: decay * expected[name] + (1 - decay) * tensor for name, tensor in weights.items()}
    for name, tensor in expected.items():
        assert torch.allclose(state["average"][name], tensor, rtol=1e-4, atol=1e-6), name
        assert torch.equal(dict(network.named_parameters())[name], kept[-1][name])
    with loop.averaged(network, state["average"]):
        assert loop.one_step(network, data()[1], 8, classes=3) == state["history"][-1]["validation"]


def test_the_average_of_fish_is_of_what_it_keeps_and_not_of_inner_steps() -> None:
    network, strategy = built("fish")
    recipe = Recipe(learning_rate=1e-2, batch=8, average=0.5, budget=40.0)
    start = {name: tensor.detach().clone() for name, tensor in network.named_parameters()}
    training = loop.Training(network, *data(), recipe, seed=1, until=1, classes=3, strategy=strategy)
    (state,) = training.epochs()
    assert state["memory"]["steps"] == 2 < state["memory"]["domains"]
    assert any(not torch.equal(tensor, start[name]) for name, tensor in network.named_parameters())
    assert all(torch.equal(tensor, start[name]) for name, tensor in state["average"].items())


def test_gradients_are_clipped_to_their_norm() -> None:
    steps = []
    for clip in (None, 1e-3):
        network = Scale().float()
        recipe = Recipe(learning_rate=1e-3, batch=100, clip=clip, weight_decay=0.0)
        list(loop.Training(network, *data(), recipe, seed=1, until=1, classes=3).epochs())
        steps.append(abs(float(network.weight.grad)))
    assert steps[0] > 1e-3
    assert steps[1] == pytest.approx(1e-3, rel=1e-3)


def test_windows_that_hold_what_is_held_out_are_left_out() -> None:
    trajectories, length, classes = torch.zeros(6, 8, *SHAPE), 3, 3
    without = [(0, 0, 6), (1, 2, 3)]
    kept = windows.allowed(trajectories, classes, without, following=length - 1)
    expected = [
        number
        for number in range(6 * (8 - length + 1))
        if (ic := number // 6 // 2, start := number % 6)
        and not any(c == ic and first <= t <= last for c, first, last in without for t in (start, start + 1))
    ]
    assert kept.tolist() == expected


def test_what_is_held_out_is_never_seen_and_steps_stay_as_many() -> None:
    states, validation = data()
    states[:2] += 100  # the first class
    validation[:1] += 100
    seen: list[float] = []

    def noted(forward: Any, of: Window) -> Tensor:
        seen.append(float(of.snapshots.max()))
        return next_state().loss(forward, of)

    counts = []
    for without in ([], [(0, 0, 6)]):
        seen.clear()
        (state,) = loop.Training(
            built("one_step")[0],
            *(states, validation, Recipe(learning_rate=1e-4, batch=8)),
            **{"seed": 1, "until": 1, "classes": 3, "strategy": Strategy(noted), "without": without},
        ).epochs()
        counts.append((len(seen), max(seen) > 50, state["history"][-1]["validation"] > 10))
    assert counts == [(6, True, True), (6, False, False)]
    rule: dict[str, Any] = {"seed": 1, "until": 1, "classes": 3, "without": [(c, 0, 6) for c in range(3)]}
    with pytest.raises(UserError, match="leaves nothing"):
        list(loop.Training(built("one_step")[0], *data(), Recipe(learning_rate=1e-4), **rule).epochs())


def test_an_edit_of_a_strategy_trains_its_own_arm_again(monkeypatch: pytest.MonkeyPatch) -> None:
    arms: dict[str, dict[str, Any]] = {"one_step": {}} | {
        name: {"strategy": {"factory": f"surroscope.training.strategies.{name}:build"}} for name in NAMES
    }

    def codes() -> dict[str, str]:
        fingerprint.of_code.cache_clear()
        return {name: fingerprint.of_stage("train", {"factory": UNET[0]} | arm) for name, arm in arms.items()}

    before, outline = codes(), fingerprint._outline
    edited = "surroscope.training.strategies.noise"
    monkeypatch.setattr(
        fingerprint, "_outline", lambda m, p: (outline(m, p)[0] + "!" * (m == edited), outline(m, p)[1])
    )
    after = codes()
    fingerprint.of_code.cache_clear()
    assert [name for name in arms if before[name] != after[name]] == ["noise"]


def test_a_network_within_a_network_counts_among_the_code() -> None:
    told = {"factory": "surroscope.models.wrapped:conserving", "options": {"factory": "surroscope.models.vit:build"}}
    alone = {"factory": "surroscope.models.wrapped:conserving", "options": {}}
    assert fingerprint.of_stage("train", told) != fingerprint.of_stage("train", alone)


def wrong_shape() -> Strategy:
    return Strategy(lambda forward, of: forward(of.given()).mean()[None])


def no_strategy(system: System) -> str:
    return system.name


def test_strategies_of_a_users_own_are_checked_before_hours_are_spent() -> None:
    network = built("one_step")[0]
    with pytest.raises(UserError, match=r"loss of shape \(1,\) for 3 samples"):
        check(wrong_shape(), network, SHAPE, 8, "mine")
    with pytest.raises(UserError, match=r"a window has 5 snapshots, but probe\.snapshots is 4"):
        check(unrolled.build(4), network, SHAPE, 4, "unrolled")
    failing = Strategy(lambda forward, of: forward(of.given()[:, :1]).sum((1, 2, 3)))
    with pytest.raises(UserError, match=r"'mine' fails on windows \(3, 2, 4, 6, 6\)"):
        check(failing, network, SHAPE, 8, "mine")
    with pytest.raises(UserError, match="gives str; expected"):
        load("test_training_loop:no_strategy", {}, EULER)
    with pytest.raises(UserError, match=r"options .* fails"):
        load("surroscope.training.strategies.noise:build", {"strength": 1}, EULER)
    check(next_state(), network, SHAPE, 8, "one step")
    assert all(parameter.grad is None for parameter in network.parameters())


def test_counted_passes() -> None:
    forward = Counted(Scale().float())
    given = torch.ones(5, *SHAPE)
    forward(given)
    with torch.no_grad():
        forward(given)
    assert forward.spent == 5 * 3 + 5


def test_the_strategy_in_the_documentation_can_be_trained() -> None:
    text = (ROOT / "docs/remedies.md").read_text()
    names: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], names)
    strategy = names["two_steps"](weight=0.25)
    of = window(2)
    one, two = (smse(0.7 * of.snapshots[:, t], of.snapshots[:, t + 1], of.snapshots[:, t + 1]) for t in (0, 1))
    assert torch.allclose(strategy.loss(of.network, of), 0.75 * one + 0.25 * two, rtol=1e-12)
    check(strategy, built("one_step")[0], SHAPE, 8, "two steps")


def test_a_budget_that_does_not_pay_for_every_epoch_is_told() -> None:
    recipe = Recipe(learning_rate=1e-3, batch=8, budget=10.0)
    with pytest.raises(UserError, match=r"a budget of 10 forwards in 5 epochs is spent before epoch 2 .* raise"):
        list(loop.Training(built("one_step")[0], *data(), recipe, seed=1, until=5, classes=3).epochs())


def test_rates_are_of_the_middle_of_a_step_by_either_way_of_counting() -> None:
    rates = []
    for budget in (None, 6 * 7 * 3.0):  # of a pass over all windows
        seen: list[float] = []
        recipe = Recipe(learning_rate=1.0, batch=6, budget=budget, warmup=0.5, schedule="cosine")
        network = Scale(0.0).float()

        def loss(forward: Any, of: Window, seen: list[float] = seen) -> Tensor:
            seen.append(1.0)
            return 0 * forward(of.given()).sum((1, 2, 3))

        noting = Strategy(loss)
        history = [
            state["history"][-1]["learning_rate"]
            for state in loop.Training(network, *data(), recipe, seed=1, until=1, classes=3, strategy=noting).epochs()
        ]
        rates.append((len(seen), *history))
    assert rates[0] == pytest.approx(rates[1])
    assert rates[0] == pytest.approx((7, recipe.rate(6.5 / 7)))


def test_what_fish_validates_and_keeps_is_not_an_inner_step() -> None:
    network, strategy = built("fish")
    recipe = Recipe(learning_rate=1e-2, batch=8, budget=200.0)  # a round of six domains, and a part of the next
    (state,) = loop.Training(network, *data(), recipe, seed=1, until=1, classes=3, strategy=strategy).epochs()
    assert state["memory"]["steps"] % state["memory"]["domains"]
    own = dict(network.named_parameters())
    assert any(not torch.equal(tensor, own[name]) for name, tensor in state["weights"].items())
    with loop.averaged(network, state["weights"]):
        assert loop.one_step(network, data()[1], 8, classes=3) == state["history"][-1]["validation"]


def test_a_network_with_a_past_is_given_nothing_from_the_midst_of_held_out_times() -> None:
    trajectories = torch.zeros(1, 12, *SHAPE)
    kept = windows.allowed(trajectories, 1, [(0, 4, 6)], history=3)
    times = windows.labels(trajectories, kept, 1, history=3, length=4)[:, 1]
    assert times.tolist() == [2, 3, 9, 10]


def test_no_change_with_a_past_errs_by_the_transitions_that_are_left() -> None:
    trajectories = torch.rand(4, 12, *SHAPE, generator=torch.Generator().manual_seed(0))
    found = loop.persistence(trajectories, 3, classes=2, without=[(1, 4, 6)])
    left = [(n, t) for n in range(4) for t in range(2, 11) if n < 2 or t < 4 or t > 8]
    errors = [smse(*(trajectories[n : n + 1, k] for k in (t, t + 1, t + 1))) for n, t in left]
    assert found == pytest.approx(float(torch.cat(errors).mean()), rel=1e-6)


def test_windows_are_put_together_where_their_snapshots_are() -> None:
    states = torch.rand(3, 3, *SHAPE, device="meta")
    of = Window(Scale().float(), states, torch.zeros(3, 2, dtype=torch.long, device="meta"))
    assert of.given().device == of.given(torch.zeros(3, dtype=torch.long, device="meta")).device == states.device


def test_a_batch_smaller_than_the_processes_is_told() -> None:
    with pytest.raises(UserError, match="a batch of 1 transitions for 2 processes"):
        loop.require_shares(1, Group(0, 2, 0))


def test_factories_within_options_are_told_and_checked() -> None:
    outer = Factory(
        factory="surroscope.models.wrapped:told", options={"factory": "mine:net", "options": {"factory": "residual"}}
    )
    assert [inner.factory for inner in outer.within()] == ["mine:net"]
    assert Factory(factory="a.b:c", options={"factory": "http://x: y"}).within() == []
    assert fingerprint.of_stage("train", {"factory": UNET[0], "options": {"factory": "residual"}})
