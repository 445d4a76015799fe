"""Strategies of training against their definitions, on networks of one parameter."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from arms import EULER, NAMES, PATHS, SHAPE, UNET, Scale, built, window
from dense_jacobian import jacobian
from torch import Tensor, nn

from surroscope.cost_function import EPSILON, smse
from surroscope.errors import UserError
from surroscope.influence import sampling
from surroscope.influence.normalize import standard
from surroscope.models import surrogate
from surroscope.models.calling import Called
from surroscope.symmetry import D4, Action
from surroscope.training.strategies import fish, noise, pushforward, strides, symmetry, unrolled
from surroscope.training.strategy import Pass, Strategy, Window, check, load, next_state


class Power(Scale):
    """f(s, k) = wᵏ s"""

    def forward(self, states: Tensor, lead: Tensor) -> Tensor:  # type: ignore[override]
        return self.weight ** lead[:, None, None, None] * states


def loss_of(strategy: Strategy, of: Window) -> Tensor:
    torch.manual_seed(11)
    return strategy.loss(of.network, of)


def test_one_step_and_noise_of_no_strength_are_the_error_of_the_next_state() -> None:
    of = window(1)
    expected = smse(0.7 * of.snapshots[:, 0], of.snapshots[:, 1], of.snapshots[:, 1])
    for strategy in (next_state(), noise.build(sigma=0.0)):
        assert torch.equal(loss_of(strategy, of), expected)


def test_noise_is_relative_to_each_channel_and_leaves_the_target() -> None:
    of = window(1)
    found = loss_of(noise.build(sigma=0.1), of)
    torch.manual_seed(11)
    given = of.snapshots[:, :1]
    scale = given.square().mean((-2, -1), keepdim=True).sqrt()
    noisy = (given + 0.1 * scale * torch.randn_like(given))[:, 0]
    assert torch.allclose(found, smse(0.7 * noisy, of.snapshots[:, 1], of.snapshots[:, 1]), rtol=1e-12)
    assert torch.equal(of.snapshots, window(1).snapshots)


class Corner(Scale):
    """Doubles the first channel in one cell: it knows a place."""

    def forward(self, states: Tensor) -> Tensor:
        mask = torch.ones_like(states[0])
        mask[0, 0, 0] = 2
        return self.weight * mask * states


def test_symmetry_is_the_error_at_an_image_of_the_transition() -> None:
    of, losses = window(1, Corner()), next_state().loss
    shifts = [(x, y) for x in range(6) for y in range(6)]

    def image(turn: str, shift: tuple[int, int]) -> Tensor:
        moved = Action("", shift=shift)(Action.parse(turn)(of.snapshots, EULER), EULER)
        return losses(of.network, Window(of.network, moved, of.labels))

    images = torch.stack([image(turn, shift) for turn in D4 for shift in shifts])
    found = loss_of(symmetry.build(EULER), of)
    assert torch.isclose(images, found, rtol=1e-12).all(dim=1).any()
    assert not torch.allclose(found, losses(of.network, of), rtol=1e-6)
    plain = window(1)
    assert torch.allclose(loss_of(symmetry.build(EULER), plain), losses(plain.network, plain), rtol=1e-12)


def test_strides_tell_the_network_its_lead_time_and_cover_the_whole_window() -> None:
    network = Called(Power(0.9), channels=4, lead={"lead": 1.0})
    first = window(0).snapshots
    decaying = torch.cat([first * 0.9**t for t in range(5)], dim=1)
    seen: set[tuple[int, int]] = set()

    def forward(contexts: Tensor) -> Tensor:
        starts = torch.log(contexts[:, 0, 0, 0] / first[:, 0, 0, 0, 0]) / np.log(0.9)
        seen.update((round(float(t)), round(float(k))) for t, k in zip(starts, contexts[:, -1, 0, 0], strict=True))
        return network(contexts)

    of = Window(network, decaying, torch.zeros(5, 2, dtype=torch.long))
    strategy = strides.build((1, 2, 4))
    assert strategy.following == 4
    for seed in range(40):
        torch.manual_seed(seed)
        assert torch.allclose(strategy.loss(forward, of), torch.zeros(5).double(), atol=1e-24)
    assert seen == {*((t, 1) for t in range(4)), *((t, 2) for t in range(3)), (0, 4)}
    with pytest.raises(UserError, match=r"call\.lead"):
        strategy.loss(Scale(), window(4))
    with pytest.raises(UserError, match=r"steps\[0\] is 0; expected a whole number, 1 or more"):
        strides.build((0, 1))


def derivative(value: Callable[[float], float], at: float) -> float:
    return (value(at + 1e-6) - value(at - 1e-6)) / 2e-6


def test_pushforward_is_the_error_after_two_steps_without_a_gradient_through_the_first() -> None:
    of = window(2)
    start, end = of.snapshots[:, 0], of.snapshots[:, 2]
    found = loss_of(pushforward.build(share=1.0), of)
    assert torch.allclose(found, smse(0.49 * start, end, end), rtol=1e-12)
    found.sum().backward()
    expected = derivative(lambda w: float(smse(w * 0.7 * start, end, end).sum()), 0.7)
    assert float(of.network.weight.grad) == pytest.approx(expected, rel=1e-6)


def test_pushforward_takes_one_step_from_either_transition_otherwise() -> None:
    of = window(2)
    errors = [smse(0.7 * of.snapshots[:, t], of.snapshots[:, t + 1], of.snapshots[:, t + 1]) for t in range(2)]
    found = loss_of(pushforward.build(share=0.0), of)
    taken = [torch.isclose(found, error, rtol=1e-12) for error in errors]
    assert all(part.any() for part in taken)
    assert (taken[0] | taken[1]).all()


def test_unrolled_steps_have_a_gradient_through_all_of_them() -> None:
    of = window(3)

    def total(weight: Any) -> Tensor:
        start, *ends = of.snapshots.unbind(1)
        return torch.stack([smse(weight**k * start, end, end) for k, end in enumerate(ends, 1)]).sum(0)

    found = loss_of(unrolled.build(steps=3), of)
    assert torch.allclose(found, total(0.7), rtol=1e-12)
    found.sum().backward()
    expected = derivative(lambda w: float(total(w).sum()), 0.7)
    assert float(of.network.weight.grad) == pytest.approx(expected, rel=1e-6)


def passing(network: nn.Module, memory: dict[str, Any], classes: int = 2, times: int = 8, size: int = 3) -> Pass:
    order = np.random.default_rng(0).permutation(classes * times * 2)
    labels = np.stack([order // (2 * times), order % times], axis=1)
    draw = np.random.default_rng(1)
    return Pass(order, labels, size, draw, network, lambda chosen: window(1, network), lambda spent: None, memory)


def test_fish_goes_a_part_of_the_way_that_a_round_of_domains_leads() -> None:
    network, strategy, memory = Scale(1.0), fish.build(rate=0.25, window=4), {}
    of = passing(network, memory)
    found = strategy.batches(of)
    assert sorted(np.concatenate(found).tolist()) == sorted(of.order.tolist())
    domain = dict(zip(of.order.tolist(), (of.labels // [1, 4]).tolist(), strict=True))
    domains = [{tuple(domain[number]) for number in batch.tolist()} for batch in found]
    assert all(len(one) == 1 for one in domains)
    assert all(len(set.union(*domains[start : start + 4])) == 4 for start in range(0, len(domains), 4))
    for step in range(1, 9):
        with torch.no_grad():
            network.weight += 1.0
        strategy.stepped(network, memory)
        # After each round of four a quarter of the way of four.
        assert float(network.weight) == pytest.approx(1 + step // 4 + step % 4)


def test_more_is_drawn_from_where_a_step_helps_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = np.repeat([0, 1, 2], 2)
    h = np.array([[5, 5, 1, 1, -1, -1], [5, 5, 1, 1, -1, -1]] * 3, dtype=float)
    # Group 0 helps others by 5, group 1 by 1, and group 2 harms.
    assert sampling.helps(h, groups, 3) == pytest.approx([5, 1, 0])
    spent: list[int] = []
    monkeypatch.setattr(sampling, "influence", lambda of: np.eye(12) + 0.01 * np.arange(12))
    monkeypatch.setattr(sampling, "helps", lambda *_: np.array([5.0, 1.0, 0.0, 0.0]))
    memory: dict[str, Any] = {}
    of = passing(Scale(), memory, times=400)
    of = Pass(of.order, of.labels, of.size, of.draw, of.network, of.window, spent.append, memory)
    strategy = sampling.build(every=2, samples=3, window=200, floor=0.4)
    for _ in range(2):
        drawn = np.concatenate(strategy.batches(of))
        label = dict(zip(of.order.tolist(), (of.labels // [1, 200]).tolist(), strict=True))
        counts = np.bincount([2 * label[n][0] + label[n][1] for n in drawn.tolist()], minlength=4) / len(drawn)
        assert counts == pytest.approx([0.1 + 0.5, 0.1 + 0.1, 0.1, 0.1], abs=0.04)
    assert spent == [12 * 3 + 12**2 * 2]


def test_influence_of_training_windows_is_that_of_the_metric() -> None:
    draw = torch.Generator().manual_seed(0)
    network = nn.Conv2d(4, 4, 3, padding=1)
    states = torch.rand(6, 2, *SHAPE, generator=draw)
    found = sampling.influence(Window(network, states, torch.zeros(6, 2, dtype=torch.long)))
    exact = network.double()
    j = jacobian(exact, states[:, 0].double())
    residual = (exact(states[:, 0].double()) - states[:, 1].double()).detach()
    scale = states[:, 1].double().square().mean((-2, -1), keepdim=True).sqrt() + EPSILON
    weights = 2 * residual / scale / residual[0].numel()
    g = torch.einsum("nmp,nm->np", j, weights.flatten(1)).numpy()
    metric = np.einsum("nmp,nmq->pq", j.numpy(), j.numpy()) / (j.shape[0] * j.shape[1])
    # Within the gradients' leading directions, which leave out a share of 1e-4 of their squares.
    _, singular, directions = np.linalg.svd(g, full_matrices=False)
    left = np.append(np.cumsum(singular[::-1] ** 2)[::-1], 0.0) / (singular**2).sum()
    q = directions[: np.argmax(left <= sampling.RULES.discarded_share)].T
    damped = q.T @ metric @ q + sampling.RULES.damping * np.eye(q.shape[1])
    assert found == pytest.approx(g @ q @ np.linalg.solve(damped, q.T @ g.T), rel=2e-3, abs=1e-4 * np.abs(found).max())


def test_a_pass_is_drawn_by_the_influence_of_its_own_windows() -> None:
    network = nn.Conv2d(4, 4, 3, padding=1)
    states = torch.rand(32, 2, *SHAPE, generator=torch.Generator().manual_seed(0))
    of = passing(network, {})
    spent: list[int] = []

    def chosen(numbers: np.ndarray) -> Window:
        return Window(network, states[numbers], torch.zeros(len(numbers), 2, dtype=torch.long))

    of = Pass(of.order, of.labels, of.size, of.draw, network, chosen, spent.append, {})
    drawn = np.concatenate(sampling.build(samples=2, floor=0.0).batches(of))
    assert len(drawn) == len(of.order)
    named = {n: (ic, time // 4) for n, (ic, time) in zip(of.order.tolist(), of.labels.tolist(), strict=True)}
    groups = sorted(set(named.values()))
    rows = np.concatenate([[n for n in of.order.tolist() if named[n] == group][:2] for group in groups])
    h = standard(sampling.influence(chosen(rows)))
    help_of = sampling.helps(h, np.repeat(np.arange(4), 2), 4)
    assert of.memory["help"] == pytest.approx(help_of.tolist(), rel=1e-6)
    drawn_from = {named[n] for n in drawn.tolist()}
    assert drawn_from <= {group for group, help in zip(groups, help_of, strict=True) if help > 0}
    assert spent == [8 * 3 + 8**2 * 2]


@pytest.mark.parametrize(
    ("name", "option", "value", "words"),
    [
        ("unrolled", "steps", 2.5, "steps is 2.5; expected a whole number, 1 or more"),
        ("unrolled", "steps", "2", "steps is '2'; expected a whole number, 1 or more"),
        ("fish", "window", 0, "window is 0; expected a whole number, 1 or more"),
        ("fish", "rate", 5, "rate is 5; expected a number from 0 to 1"),
        ("pushforward", "share", 2, "share is 2; expected a number from 0 to 1"),
        ("noise", "sigma", -1.0, "sigma is -1.0; expected a number, 0 or more"),
        ("noise", "sigma", "much", "options .* fails"),
        ("weighted", "every", 0, "every is 0; expected a whole number, 1 or more"),
        ("weighted", "samples", True, "samples is True; expected a whole number, 1 or more"),
        ("weighted", "floor", 1.5, "floor is 1.5; expected a number from 0 to 1"),
    ],
)
def test_options_that_cannot_be_are_one_line(name: str, option: str, value: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load(PATHS[name], {option: value}, EULER)


@pytest.mark.parametrize("name", ["one_step", *NAMES, "weighted"])
def test_every_strategy_passes_the_check_without_a_warning(name: str) -> None:
    network, strategy = built(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(strategy, network, SHAPE, 8, name)
    wrong = replace(strategy, batches=lambda of: [of.order + 1])
    with pytest.raises(UserError, match=r"batches are of \[1, 2, 3\]; expected numbers of the windows"):
        check(wrong, network, SHAPE, 8, name)


def wrapped(name: str, call: dict[str, Any] | None = None, **options: Any) -> nn.Module:
    factory, inner = UNET
    options = {"factory": factory, "options": inner} | options
    return surrogate.build(f"surroscope.models.wrapped:{name}", options, shape=SHAPE, seed=1, call=call)


def test_a_conserving_network_keeps_means() -> None:
    states = 0.5 + torch.rand(3, *SHAPE)
    with torch.no_grad():
        found = wrapped("conserving", kept=[0, 3])(states)
    moved = (found - states).mean((-2, -1)).abs()
    assert moved[:, [0, 3]].max() < 1e-6
    assert moved[:, [1, 2]].min() > 1e-4


def test_a_network_that_is_told_its_lead_time_depends_on_it() -> None:
    network = wrapped("told", {"lead": {"lead": 1.0}})
    states = 0.5 + torch.rand(3, *SHAPE)
    contexts = [Window(network, states[:, None], torch.zeros(3, 2)).given(lead=k) for k in (1, 2)]
    with torch.no_grad():
        assert not torch.allclose(network(contexts[0]), network(contexts[1]))


def test_experts_share_nothing_between_windows_of_times() -> None:
    network = wrapped("experts", window=2)
    states, times = 0.5 + torch.rand(2, *SHAPE), torch.tensor([[0, 1], [0, 5]])
    given = Window(network, states[:, None], times).given()
    for sample, other in ((0, 1), (1, 0)):
        network.zero_grad()
        network(given)[sample].sum().backward()
        norms = [sum(float(p.grad.abs().sum()) for p in one.parameters()) for one in network.network.networks]
        assert norms[sample] > 0
        assert norms[other] == 0
