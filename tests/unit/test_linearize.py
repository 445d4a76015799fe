"""Every method of gradients, tangents and metric against loops of backward passes and dense Jacobians in float64."""

import json
from collections.abc import Callable
from dataclasses import asdict

import pytest
import torch
from torch import Tensor, nn

from surroscope.cost_function import smse
from surroscope.influence import calibrate, linearize
from surroscope.influence.linearize import Linearization, Method
from surroscope.models import unet, vit
from surroscope.models.layers import Attention, Conv, Grid, Linear

SAMPLES, FIELDS, SIZE = 3, 2, 8
GRADIENTS = [Method(sample_chunk=2), Method(gradients="loop")]
TANGENTS = [
    Method(direction_chunk=3, tangent_samples=2),
    Method(direction_chunk=100, tangent_samples=100),
    Method(tangents="double_backward", direction_chunk=3, tangent_samples=2),
]


class Tokens(nn.Module):
    """Fields as tokens (B, Y X, F) through a block and back."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x.flatten(2).mT).mT.reshape(x.shape)


class Positions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(1, FIELDS, SIZE, SIZE))
        self.gain = nn.Parameter(torch.randn(FIELDS, 1, 1))
        self.unused = nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x * self.gain + self.position) / self.gain


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = Conv(FIELDS, FIELDS, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(torch.tanh(self.convolution(x)))


class Cube(torch.autograd.Function):
    """x³ in reverse mode only, and without a rule for vmap."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, cotangent: Tensor) -> Tensor:
        return 3 * ctx.saved_tensors[0] ** 2 * cotangent


class ReverseOnly(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Cube.apply(x)


class Tied(nn.Module):
    """One parameter in two modules, and one module under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Conv(FIELDS, FIELDS, 3), Conv(FIELDS, FIELDS, 3)
        self.second.weight = self.first.weight
        self.again = self.second

    def forward(self, x: Tensor) -> Tensor:
        return self.again(torch.tanh(self.second(torch.tanh(self.first(x)))))


def frozen() -> nn.Module:
    network = nn.Sequential(Conv(FIELDS, 3, 3), nn.SiLU(), Conv(3, FIELDS, 3))
    network[0].weight.requires_grad_(False)
    network[2].bias.requires_grad_(False)
    return network


def strided() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(FIELDS, 4, 3, stride=2, padding=1, padding_mode="circular"),
        nn.GELU(),
        nn.Conv2d(4, 4 * FIELDS, 3, padding=1, groups=2),
        nn.PixelShuffle(2),
    )


def normalised() -> nn.Module:
    return nn.Sequential(nn.GroupNorm(2, FIELDS), nn.Tanh(), nn.LayerNorm(SIZE), Conv(FIELDS, FIELDS, 3))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: Tokens(Linear(FIELDS, FIELDS)),
    "nn.Linear": lambda: nn.Sequential(nn.Flatten(2), nn.Linear(SIZE**2, SIZE**2), nn.Unflatten(2, (SIZE, SIZE))),
    "circular convolution": lambda: Conv(FIELDS, FIELDS, 3),
    "open convolution": lambda: Conv(FIELDS, FIELDS, 5, grid=Grid(boundary="open")),
    "attention": lambda: Tokens(nn.Sequential(Linear(FIELDS, 4), Attention(4, 2), Linear(4, FIELDS))),
    "UNet": lambda: unet.build(FIELDS, SIZE, width=2, stages=1, kernels=(3, 3), heads=2, blocks=1),
    "ViT": lambda: vit.build(FIELDS, SIZE, patch=4, width=4, depth=1, heads=2, mlp_ratio=1),
    "shared weights": Twice,
    "tied modules": Tied,
    "frozen weights": frozen,
    "strided and grouped": strided,
    "functional and unused parameters": Positions,
    "normalised": normalised,
}


@pytest.fixture(params=NETWORKS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def build(name: str) -> Linearization:
    torch.manual_seed(0)
    network = NETWORKS[name]().double()
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return Linearization(network)


def probe(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    states, targets = torch.randn(2, SAMPLES, FIELDS, SIZE, SIZE, generator=draw, dtype=dtype)
    return states, targets


def directions(linear: Linearization) -> Tensor:
    return torch.randn(7, linear.size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def backward_passes(linear: Linearization, values: Tensor, leaves: dict[str, Tensor]) -> Tensor:
    rows = [linearize.reverse(value, leaves, retain_graph=True) for value in values]
    return torch.stack([torch.cat([part.flatten() for part in row.values()]) for row in rows])


def jacobian(linear: Linearization, states: Tensor) -> Tensor:
    """(N, F*Y*X, P), one backward pass an output."""
    leaves = {name: p.clone().requires_grad_() for name, p in linear.parameters.items()}
    return backward_passes(linear, linear.predict(leaves, states).flatten(), leaves).view(len(states), -1, linear.size)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def test_every_method_equals_backward_passes_and_the_dense_jacobian(name: str) -> None:
    linear, (states, targets) = build(name), probe()
    leaves = {key: p.clone().requires_grad_() for key, p in linear.parameters.items()}
    expected = backward_passes(linear, smse(linear.predict(leaves, states), targets, states), leaves)
    for method in GRADIENTS:
        assert relative(linear.gradients(smse, states, targets, method), expected) < 1e-10, method

    vectors, dense = directions(linear), jacobian(linear, states)
    pushed = torch.einsum("nop,kp->kno", dense, vectors)
    metric = torch.einsum("nop,kno->kp", dense, pushed) / states.numel()
    for method in TANGENTS:
        assert relative(linear.tangents(states, vectors, method), pushed) < 1e-10, method
        assert relative(linear.metric(states, vectors, method), metric) < 1e-10, method


def test_tangents_are_adjoint_to_backward_passes(name: str) -> None:
    linear, (states, cotangent) = build(name), probe()
    leaves = {key: p.clone().requires_grad_() for key, p in linear.parameters.items()}
    pulled = linearize.reverse(linear.predict(leaves, states), leaves, cotangent)
    vectors = directions(linear)
    for method in TANGENTS:
        left = linear.tangents(states, vectors, method).flatten(1) @ cotangent.flatten()
        assert relative(left, vectors @ torch.cat([part.flatten() for part in pulled.values()])) < 1e-10, method


def test_tangents_come_in_blocks_that_cover_every_pair_once() -> None:
    linear, (states, _) = build("shared weights"), probe()
    vectors, method = directions(linear), Method(direction_chunk=3, tangent_samples=2)
    counts = torch.zeros(len(vectors), len(states))
    whole = linear.tangents(states, vectors, method)
    for rows, columns, block in linear.iter_tangents(states, vectors, method):
        counts[rows, columns] += 1
        assert torch.equal(block, whole[rows, columns])
    assert (counts == 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_calibration_picks_an_exact_method_and_lists_every_candidate(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    linear = Linearization(NETWORKS["UNet"]().to(dtype))
    found = calibrate.calibrate(linear, smse, *probe(dtype), seconds=0.2)
    assert [c.left_out for c in found.candidates] == [None] * sum(map(len, calibrate.CHOICES.values()))
    assert all(c.seconds is not None and c.seconds > 0 for c in found.candidates)
    assert Method(**json.loads(json.dumps(asdict(found)))["method"]) == found.method
    gradients = linear.gradients(smse, *probe(dtype), found.method)
    assert relative(gradients, linear.gradients(smse, *probe(dtype))) < 100 * torch.finfo(dtype).eps


def test_calibration_leaves_out_a_method_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    grad = linearize.grad
    monkeypatch.setattr(linearize, "grad", lambda f: lambda *at: {name: 1.001 * g for name, g in grad(f)(*at).items()})
    found = calibrate.calibrate(build("linear"), smse, *probe(), seconds=0.1)
    assert found.method.gradients == "loop"
    left_out = [c for c in found.candidates if c.quantity == "gradients" and c.method.gradients == "vmap"]
    assert len(left_out) == 2
    assert all("relative error 1.0e-03" in str(c.left_out) for c in left_out)


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ((1.0, 0.95, 2.0, 2.0, 2.0), 0),
        ((1.0, 0.85, 2.0, 2.0, 2.0), 1),
        ((2.0, 0.85, 0.8, 2.0, 2.0), 1),
        ((None, 0.85, 0.8, 2.0, 2.0), 1),
        ((0.5, None, None, 2.0, 2.0), 2),
        ((None, None, None, None, None), 2),
        ((None, None, 1.0, None, 0.5), 4),
    ],
)
def test_an_earlier_method_stays_unless_a_later_one_is_worth_it(seconds: tuple[float | None, ...], chosen: int) -> None:
    methods = calibrate.CHOICES["tangents"]
    candidates = [
        calibrate.Candidate("tangents", method, error=0.0, seconds=time)
        for method, time in zip(methods, seconds, strict=True)
    ]
    assert calibrate.quickest(candidates).method == methods[chosen]


def test_a_layer_in_reverse_mode_only_is_named_and_calibration_goes_round_it() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(Conv(FIELDS, FIELDS, 3), nn.Sequential(ReverseOnly(), Conv(FIELDS, FIELDS, 1)))
    linear, (states, targets) = Linearization(network.double()), probe()
    for call in (
        lambda: linear.tangents(states, directions(linear)),
        lambda: linear.metric(states, directions(linear)),
        lambda: linear.gradients(smse, states, targets),
    ):
        with pytest.raises(ValueError, match=r"module '1\.0' \(ReverseOnly\)"):
            call()
    found = calibrate.calibrate(linear, smse, states, targets, seconds=0.1)
    assert (found.method.gradients, found.method.tangents) == ("loop", "double_backward")


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, cotangent: Tensor) -> Tensor:
        return 2 * cotangent


class FirstOrder(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Once.apply(x)


def test_a_layer_that_no_method_can_differentiate_is_named() -> None:
    linear = Linearization(nn.Sequential(Conv(FIELDS, FIELDS, 3), FirstOrder()).double())
    for method in (Method(), Method(tangents="double_backward")):
        with pytest.raises(ValueError, match=r"module '1' \(FirstOrder\)"):
            linear.tangents(probe()[0], directions(linear), method)
    with pytest.raises(ValueError, match=r"no exact method for the tangents: .*module '1' \(FirstOrder\)"):
        calibrate.calibrate(linear, smse, *probe(), seconds=0.1)


def test_calibration_finds_a_layer_that_drops_out_of_double_backward_silently() -> None:
    class Skip(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + Once.apply(x)

    linear = Linearization(nn.Sequential(Conv(FIELDS, FIELDS, 3), Skip()).double())
    with pytest.raises(ValueError, match="no exact method for the tangents"):
        calibrate.calibrate(linear, smse, *probe(), seconds=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_fixed_method_is_checked(dtype: torch.dtype) -> None:
    linear = build("shared weights")
    linear.network.to(dtype)
    linear = Linearization(linear.network)
    for method in (Method(), Method(gradients="loop", tangents="double_backward")):
        calibrate.check(linear, probe(dtype)[0], method)


def test_a_fixed_method_that_is_wrong_is_refused_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    states = probe()[0]
    layer = nn.Sequential(Conv(FIELDS, FIELDS, 3), ReverseOnly()).double()
    said = (
        r"gradients by 'vmap': .*module '1' \(ReverseOnly\).*; 'loop' is exact.*; 'double_backward' is exact. Set grad"
    )
    with pytest.raises(ValueError, match=said):
        calibrate.check(Linearization(layer), states, Method())
    linear, grad, jvp = build("linear"), linearize.grad, linearize.jvp
    monkeypatch.setattr(linearize, "grad", lambda f: lambda *at: {name: 1.001 * g for name, g in grad(f)(*at).items()})
    with pytest.raises(
        ValueError, match=r"gradients by 'vmap': relative error 1\.0e-03.*Set gradients.method to measured"
    ):
        calibrate.check(linear, states, Method())
    monkeypatch.setattr(linearize, "jvp", lambda *at: [1.001 * part for part in jvp(*at)])
    with pytest.raises(ValueError, match=r"tangents by 'vmap': relative error"):
        calibrate.check(linear, states, Method(gradients="loop"))


def test_a_batched_branch_on_data_is_explained() -> None:
    class Branch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.mean() > 0 else -x

    linear = Linearization(nn.Sequential(Conv(FIELDS, FIELDS, 3), Branch()).double())
    with pytest.raises(ValueError, match=r"module '1' \(Branch\)"):
        linear.gradients(smse, *probe())
