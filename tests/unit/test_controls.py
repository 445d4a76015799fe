"""Control networks share exactly what they say, and labels reach a network wherever it runs."""

from itertools import product

import numpy as np
import pytest
import torch
from cases import jacobian, relative
from torch import Tensor, nn

from surroscope.cost_function import smse
from surroscope.data.transitions import Probe
from surroscope.diagnostics import equivariance
from surroscope.diagnostics.rollout import errors
from surroscope.errors import UserError
from surroscope.influence.calibrate import calibrate, check
from surroscope.influence.linearize import Linearization, Method
from surroscope.influence.span import solve_span
from surroscope.models import context, controls, surrogate
from surroscope.models.calling import Called
from surroscope.symmetry import Action
from surroscope.system import ADVECTION_DIFFUSION
from surroscope.training import loop
from surroscope.training.recipe import Recipe

CLASSES, TIMES, SIZE, FIELDS = 2, 4, 6, 2
LABELS = torch.tensor([*product(range(CLASSES), range(TIMES))])
METHODS = [Method(), Method(gradients="loop", tangents="double_backward", tangent_samples=3)]
GROUPS = {"class": {"by": "class", "groups": 2}, "time": {"by": "time", "groups": 2, "window": 2}}
GROUP_OF = {"class": LABELS[:, 0], "time": LABELS[:, 1] // 2}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def build(name: str, **options: object) -> nn.Module:
    network = surrogate.build(f"surroscope.models.controls:{name}", dict(options), shape=(FIELDS, SIZE, SIZE), seed=0)
    draw = torch.Generator().manual_seed(1)
    for parameter in network.parameters():  # off the special point of zero biases
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=draw)
    return network


def transitions(network: nn.Module) -> tuple[Tensor, Tensor]:
    states, targets = (noise(len(LABELS), FIELDS, SIZE, SIZE, seed=seed) for seed in (2, 3))
    return context.of(network, states[:, None], LABELS), targets


@pytest.mark.parametrize("method", METHODS, ids=["vmap", "double backward"])
@pytest.mark.parametrize("kind", GROUPS)
@pytest.mark.parametrize("name", ["dial", "split_convolution"])
def test_what_shares_nothing_has_no_influence_between_groups(name: str, kind: str, method: Method) -> None:
    network = build(name, **GROUPS[kind], **({"share": 0, "width": 4} if name == "dial" else {"kernel": 3}))
    linear = Linearization(network)
    x, y = transitions(network)
    g = linear.gradients(smse, x, y, method)
    t = linear.tangents(x, g, method)
    apart = GROUP_OF[kind][:, None] != GROUP_OF[kind]
    assert (t.flatten(2)[apart] == 0).all()
    assert t.flatten(2)[~apart].any(dim=-1).all()
    k, b = (part.double().flatten(1) @ part.double().flatten(1).T for part in (g, t))
    span = solve_span(k.numpy(), b.numpy(), discarded_share=0.0, precision="float32")
    h = span.influence(k.numpy(), k.numpy(), 1e-6)
    for matrix in (k.numpy(), b.numpy(), h):
        assert (matrix[apart.numpy()] == 0).all()
        assert (matrix[~apart.numpy()] != 0).all()


def test_what_shares_all_has_no_parameter_of_a_group() -> None:
    network = build("dial", share=1, width=4)
    assert all(name.startswith("network.shared.") for name, _ in network.named_parameters())
    states = noise(len(LABELS), FIELDS, SIZE, SIZE)
    same, other = (network(context.of(network, states[:, None], told)) for told in (LABELS, LABELS.flip(0)))
    assert torch.equal(same, other)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.75])
def test_the_share_is_that_of_the_hidden_width(share: float) -> None:
    network = build("dial", share=share, width=8, groups=3)
    widths = {True: 0, False: 0}
    for name, parameter in network.named_parameters():
        if name.endswith("layers.0.bias"):
            widths[".shared." in name] = parameter.shape[1]
            assert len(parameter) == (1 if ".shared." in name else 3)
    assert widths == {True: round(8 * share), False: round(8 * (1 - share))}


def test_a_sample_uses_the_parameters_of_its_group() -> None:
    """The split convolution beside torch's own with the weights of one group."""
    network = build("split_convolution", by="time", groups=2, window=2, kernel=3)
    layer = network.network.layer
    states = noise(len(LABELS), FIELDS, SIZE, SIZE)
    found = network(context.of(network, states[:, None], LABELS))
    padded = nn.functional.pad(states, (1, 1, 1, 1), mode="circular")
    for sample, group in enumerate(GROUP_OF["time"].tolist()):
        expected = nn.functional.conv2d(padded[sample], layer.weight[group], layer.bias[group])
        torch.testing.assert_close(found[sample], expected)


def test_past_the_last_time_the_last_window_goes_on() -> None:
    chosen = controls.Groups("time", 2, 3)(torch.tensor([[0.0, 5.0], [0.0, 6.0], [0.0, 2.0], [9.0, 40.0]]))
    assert chosen.argmax(dim=1).tolist() == [1, 1, 0, 1]
    assert (chosen.sum(dim=1) == 1).all()


@pytest.mark.parametrize(
    "options",
    [{"share": 0.3, "width": 4}, {"share": 1.5, "width": 4}, {"share": 0, "by": "place"}, {"share": 1, "kernel": 4}],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UserError, match="expected"):
        build("dial", **options)


def test_the_small_convolution_has_26_parameters_and_a_kernel_that_training_leaves_alone() -> None:
    network = surrogate.build("surroscope.models.controls:convolution", {}, shape=(1, 8, 8), seed=0)
    assert sum(p.numel() for p in network.parameters()) == 26
    x, y = (noise(4, 1, 8, 8, seed=seed) for seed in (0, 1))
    vectors = noise(3, 26)
    before = Linearization(network).tangents(x, vectors)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    error = smse(network(x), y, x).mean()
    error.backward()
    optimizer.step()
    assert smse(network(x), y, x).mean() < error
    assert torch.equal(Linearization(network).tangents(x, vectors), before)


def test_at_a_minimum_the_signed_influence_of_a_training_set_adds_up_to_zero() -> None:
    """Σ_i J_iᵀ w_i = 0 there, so Σ_i H[j, i] = 0 for every j: what helps one sample is paid for by others."""
    network = controls.convolution(1, 6, kernel=3).double()
    x, y = (noise(12, 1, 6, 6, seed=seed).double() for seed in (0, 1))
    linear = Linearization(network)
    scale = (y.square().mean((-2, -1)).sqrt() + 1e-6).repeat_interleave(36, dim=0).numpy().ravel() ** -0.5
    j, zero = jacobian(linear, x), network(torch.zeros_like(x)).detach()
    assert torch.allclose(zero, network.bias.detach()[0])
    # The network is linear in its parameters, so that the weighted least squares solution is its minimum.
    best = np.linalg.lstsq(j * scale[:, None], y.numpy().ravel() * scale, rcond=None)[0]
    for name, part in linear.split(torch.from_numpy(best)[None]).items():
        linear.parameters[name].copy_(part.reshape(linear.parameters[name].shape))
    g = linear.gradients(smse, x, y).numpy()
    h = g @ np.linalg.solve(j.T @ j / len(j) + 1e-6 * np.eye(j.shape[1]), g.T)
    assert (np.abs(h.sum(axis=1)) < 1e-12 * np.abs(h).sum(axis=1)).all()
    assert (np.diag(h) > 0).all()


class Told(nn.Module):
    """Predicts w (10 class + time), and keeps what it was told with the value of each state's first cell."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seen: list[tuple[float, float, float]] = []

    def forward(self, states: Tensor, labels: Tensor) -> Tensor:
        self.seen += [(s, *told) for s, told in zip(states[:, 0, 0, 0].tolist(), labels.tolist(), strict=True)]
        return 0 * states + self.weight * (labels @ labels.new_tensor([10.0, 1.0]))[:, None, None, None]


def coded(trajectories: int) -> Tensor:
    """Trajectories of two classes (2 n, TIMES + 1, 1, 4, 4), with the value 10 class + time everywhere."""
    times = torch.arange(TIMES + 1.0)
    each = torch.stack([times + 10 * c for c in range(CLASSES)]).repeat_interleave(trajectories, dim=0)
    return each[:, :, None, None, None].expand(-1, -1, 1, 4, 4).contiguous()


def test_labels_reach_training_and_validation() -> None:
    network = Called(Told(), channels=1, labelled=True)
    recipe = Recipe(batch=5, learning_rate=1e-9, weight_decay=0.0)
    next(iter(loop.Training(network, coded(3), coded(1), recipe, seed=0, until=1, classes=CLASSES).epochs()))
    seen = network.network.seen
    counted = 1  # whose operations are counted
    assert len(seen) == CLASSES * TIMES * (3 + 1) + counted
    assert {(c, t) for _, c, t in seen} == {(c, t) for c, t in product(range(CLASSES), range(TIMES))}
    assert all(value == 10 * c + t for value, c, t in seen)


def test_labels_reach_rollouts_with_the_time_of_each_step() -> None:
    network = Called(Told(), channels=1, labelled=True)
    trajectories = coded(1)
    found, _ = errors(network, trajectories, classes=torch.arange(CLASSES))
    told = {}
    steps = iter(network.network.seen)
    for start in range(TIMES):
        for step in range(TIMES - start):
            told[start, step] = [next(steps)[1:] for _ in range(CLASSES)]
    assert all(seen == [(c, start + step) for c in range(CLASSES)] for (start, step), seen in told.items())
    with pytest.raises(ValueError, match="asks for labels"):
        errors(network, trajectories)
    assert torch.isfinite(found[:, 0, 1:]).all()


def test_labels_reach_gradients_and_images_and_observables_get_the_state_alone() -> None:
    probe = Probe(coded(1).numpy(), ("a", "b"), (0, 0))
    assert probe.labels.tolist() == LABELS.tolist()
    quiet = Called(Quiet(), channels=1, labelled=True)
    states, targets = (torch.from_numpy(part) for part in (probe.inputs, probe.targets))
    given = context.of(quiet, states[:, None], torch.from_numpy(probe.labels))
    shapes = set()

    def mean(prediction: Tensor, target: Tensor, state: Tensor) -> Tensor:
        shapes.add(tuple(state.shape))
        return prediction.mean((1, 2, 3))

    linear = Linearization(quiet)
    expected = (10 * LABELS[:, 0] + LABELS[:, 1]).float()
    for method in METHODS:
        assert torch.equal(linear.gradients(mean, given, targets, method)[:, 0], expected)
    assert shapes == {(1, 1, 4, 4)}
    assert torch.equal(linear.metric(given, torch.ones(1, 1)), expected.square().mean().reshape(1, 1))
    error = equivariance.errors(
        quiet,
        states[:, None],
        targets,
        [Action.parse("e"), Action.parse("x1")],
        ADVECTION_DIFFUSION,
        told=torch.from_numpy(probe.labels),
    )
    assert torch.equal(error[0], smse(states, targets, states).double())
    assert torch.equal(error[1], error[0])


class Quiet(Told):
    """Keeps nothing, since what is told under vmap has no values."""

    def forward(self, states: Tensor, labels: Tensor) -> Tensor:
        return 0 * states + self.weight * (labels @ labels.new_tensor([10.0, 1.0]))[:, None, None, None]


def test_the_methods_are_checked_and_measured_on_a_network_with_labels() -> None:
    network = build("dial", share=0.5, width=4, groups=2)
    x, y = transitions(network)
    linear = Linearization(network)
    check(linear, x, Method())
    method = calibrate(linear, smse, x, y, seconds=0).method
    linear = Linearization(network.double())
    j = jacobian(linear, x.double())
    vector = noise(1, linear.size, seed=4).double()
    found = linear.metric(x.double(), vector, method)[0]
    assert relative(found.numpy(), j.T @ (j @ vector[0].numpy()) / len(j)) < 1e-10


def test_a_network_without_labels_is_given_its_states_and_nothing_else() -> None:
    network = surrogate.build("surroscope.models.controls:convolution", {}, shape=(FIELDS, SIZE, SIZE), seed=0)
    states = noise(2, FIELDS, SIZE, SIZE)
    assert type(network) is controls.Convolution
    for told in (LABELS, None):
        assert torch.equal(context.of(network, states[:, None], told), states)
    assert context.state(network, states) is states
