"""Networks as people write them: derivatives and influence against a dense Jacobian in float64 of the module itself.

The Jacobian is from backward passes of the module as it is, parameter by parameter, and it is compared with
differences of its predictions; neither knows of torch.func or of how the package calls a network.
"""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from dense_jacobian import jacobian, moved, relative
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from surroscope import influence_matrix
from surroscope.cost_function import smse
from surroscope.errors import UserError
from surroscope.influence import calibrate
from surroscope.influence.functional import converted
from surroscope.influence.linearize import Linearization, Method
from surroscope.models.surrogate import require_differentiable, require_independent

SAMPLES, FIELDS, SIZE = 3, 2, 6
DAMPING = 1e-3


def mixing() -> nn.Module:
    return nn.Conv2d(FIELDS, FIELDS, 3, padding=1, padding_mode="circular")


class Around(nn.Module):
    """A convolution, then what is tested, on tokens (B, Y X, C) if asked, and a skip connection around it."""

    def __init__(self, block: nn.Module, width: int = 0) -> None:
        super().__init__()
        self.enter, self.block = mixing(), block
        self.up, self.down = (nn.Linear(FIELDS, width), nn.Linear(width, FIELDS)) if width else (None, None)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.enter(x))
        if self.up is None or self.down is None:
            return x + self.block(y)
        found = self.block(self.up(y.flatten(2).mT))
        found = found[0] if isinstance(found, tuple) else found
        return x + self.down(found).mT.reshape(x.shape)


class Spectral(nn.Module):
    """Complex weights on the lowest modes; in_place: written into two slices of zeros, as neural operators do."""

    def __init__(self, in_place: bool, modes: int = 2, fields: int = FIELDS) -> None:
        super().__init__()
        self.in_place, self.modes = in_place, modes
        self.weight = nn.Parameter(0.5 * torch.randn(2, fields, fields, modes, modes, dtype=torch.cfloat))

    def forward(self, x: Tensor) -> Tensor:
        m, spectrum = self.modes, torch.fft.rfft2(x)
        low, high = (
            torch.einsum("bcyx,cdyx->bdyx", part, weight)
            for part, weight in zip((spectrum[..., :m, :m], spectrum[..., -m:, :m]), self.weight, strict=True)
        )
        if self.in_place:
            out = torch.zeros(spectrum.shape, dtype=spectrum.dtype)
            out[..., :m, :m] = low
            out[..., -m:, :m] = high
        else:
            rows = torch.cat([low, torch.zeros_like(spectrum[..., m:-m, :m]), high], dim=-2)
            out = F.pad(rows, (0, spectrum.shape[-1] - m))
        return torch.fft.irfft2(out, s=x.shape[-2:])


class Patched(nn.Module):
    """Writes in place into copies and into new tensors of several makers."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.randn(FIELDS))
        self.register_buffer("pattern", torch.randn(FIELDS, SIZE, SIZE))

    def forward(self, x: Tensor) -> Tensor:
        one, two, three = self.pattern.clone(), x.new_zeros(x.shape), torch.empty_like(self.pattern)
        one[0] = self.gain[0] * self.pattern[1]
        two[:, 1:] += self.gain[1] ** 2 * x[:, :1]
        three[:] = 1.0
        three[:, 0] *= self.gain[1]
        return x * one + two + three


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(4, 12)

    def forward(self, tokens: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (2, 2)).transpose(1, 2) for part in self.qkv(tokens).chunk(3, dim=-1))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    def __init__(self, weights: bool) -> None:
        super().__init__()
        self.attention, self.weights = nn.MultiheadAttention(4, 2, dropout=0.3, batch_first=True), weights

    def forward(self, tokens: Tensor) -> Tensor:
        return self.attention(tokens, tokens, tokens, need_weights=self.weights)[0]


class Recomputed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.inner, self.reentrant = nn.Sequential(mixing(), nn.Tanh(), nn.Dropout(0.5), mixing()), reentrant

    def forward(self, x: Tensor) -> Tensor:
        return torch.utils.checkpoint.checkpoint(self.inner, x, use_reentrant=self.reentrant)


class Tied(nn.Module):
    """A complex parameter in two modules and a real one in two."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three, self.four = Spectral(True), Spectral(True), mixing(), mixing()
        self.two.weight, self.four.weight = self.one.weight, self.three.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.four(torch.tanh(self.three(self.two(torch.tanh(self.one(x))))))


class Doubled(nn.Module):
    """A layer of float64 in a network of float32."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = mixing().double()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.double()).to(x.dtype)


def normalised() -> nn.Module:
    layer = nn.BatchNorm2d(FIELDS)
    layer.running_mean.uniform_()
    layer.running_var.uniform_(0.5, 2)
    return nn.Sequential(layer, nn.Dropout2d(0.5), mixing())


def lazy() -> nn.Module:
    network = nn.Sequential(nn.LazyConv2d(FIELDS, 3, padding=1), nn.Tanh(), nn.LazyConv2d(FIELDS, 1))
    network(torch.zeros(1, FIELDS, SIZE, SIZE))
    return network


def inside_compiled() -> nn.Module:
    layer = mixing()
    layer.compile(backend="eager")
    return layer


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.LSTM(4, 4, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.inner(tokens)[0]


def on_tokens(block: nn.Module) -> nn.Module:
    return Around(block, width=4)


def encoder() -> nn.Module:
    return nn.TransformerEncoderLayer(4, 2, 6, dropout=0.2, batch_first=True)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "complex parameters": lambda: Around(Spectral(False)),
    "written into slices": lambda: Around(Spectral(True)),
    "written into copies": lambda: Around(Patched()),
    "complex and tied": lambda: Around(Tied()),
    "scaled dot product attention": lambda: on_tokens(Heads()),
    "MultiheadAttention": lambda: on_tokens(SelfAttention(False)),
    "MultiheadAttention with weights": lambda: on_tokens(SelfAttention(True)),
    "TransformerEncoderLayer": lambda: on_tokens(encoder()),
    "TransformerEncoder": lambda: on_tokens(nn.TransformerEncoder(encoder(), 1)),
    "checkpoint": lambda: Around(Recomputed(False)),
    "checkpoint, re-entrant": lambda: Around(Recomputed(True)),
    "weight norm": lambda: Around(parametrizations.weight_norm(mixing())),
    "spectral norm": lambda: Around(parametrizations.spectral_norm(mixing())),
    "buffers and dropout": lambda: Around(normalised()),
    "lazy": lambda: Around(lazy()),
    "compiled": lambda: torch.compile(Around(mixing()), backend="eager"),
    "compiled inside": lambda: Around(inside_compiled()),
    "float64 inside": lambda: Around(Doubled()),
}
# Without forward mode in torch.
REVERSE_ONLY: dict[str, Callable[[], nn.Module]] = {"LSTM": lambda: on_tokens(Recurrent())}


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    network = (NETWORKS | REVERSE_ONLY)[name]()
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return network.eval()


def probe(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    states, targets = torch.randn(2, SAMPLES, FIELDS, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    return states.to(dtype), targets.to(dtype)


@pytest.fixture(scope="module", params=[*NETWORKS, *REVERSE_ONLY])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def dense(name: str) -> tuple[nn.Module, Tensor]:
    """The network in float64 and its Jacobian."""
    network, states = converted(build(name), None, torch.float64), probe()[0]
    found = jacobian(network, states)
    direction = torch.randn(found.shape[-1], generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert relative(moved(network, states, direction), found @ direction) < 1e-7
    return network, found


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_derivative_equals_the_dense_jacobian(
    name: str, dense: tuple[nn.Module, Tensor], dtype: torch.dtype
) -> None:
    network = dense[0] if dtype == torch.float64 else build(name)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    (states, targets), j = probe(dtype), dense[1]
    with torch.no_grad():
        predicted = network(states)
    linear = Linearization(network)
    assert linear.size == j.shape[-1]
    assert relative(linear.predict(linear.parameters, states), predicted) < tolerance
    method, reasons = calibrate.exact(linear, states, Method())
    if name in NETWORKS:
        assert (method, reasons) == (Method(), [])

    exact = dense[0](probe()[0]).detach().requires_grad_()
    cost = smse(exact, probe()[1], probe()[0])
    residual = torch.autograd.grad(cost.sum(), exact)[0].flatten(1)
    expected = torch.einsum("nop,no->np", j, residual)
    for gradients in dict.fromkeys([method.gradients, "loop"]):
        found = linear.gradients(smse, states, targets, Method(gradients=gradients, sample_chunk=2))
        assert found.dtype == dtype
        assert relative(found.double(), expected) < tolerance, gradients

    draw = torch.Generator().manual_seed(2)
    vectors = torch.randn(4, linear.size, generator=draw, dtype=torch.float64)
    cotangents = torch.randn(5, *states.shape[1:], generator=draw, dtype=torch.float64)
    pushed = torch.einsum("nop,kp->kno", j, vectors)
    metric = torch.einsum("nop,kno->kp", j, pushed) / states.numel()
    pulled = cotangents.flatten(1) @ j[1]
    for tangents in dict.fromkeys([method.tangents, "double_backward"]):
        chosen = Method(tangents=tangents, direction_chunk=3, tangent_samples=2, sample_chunk=3)
        tangent = linear.tangents(states, vectors.to(dtype), chosen)
        assert relative(tangent.double(), pushed) < tolerance, tangents
        assert relative(linear.metric(states, vectors.to(dtype), chosen).double(), metric) < tolerance, tangents
        blocks = [block for _, block in linear.pullbacks(states[1], cotangents.to(dtype), chosen)]
        assert relative(torch.cat(blocks).double(), pulled) < tolerance, tangents


def test_influence_equals_dense_algebra(dense: tuple[nn.Module, Tensor]) -> None:
    network, j = dense
    states, targets = probe()
    prediction = network(states).detach().requires_grad_()
    residual = torch.autograd.grad(smse(prediction, targets, states).sum(), prediction)[0]
    g = torch.einsum("nop,no->np", j, residual.flatten(1)).numpy()
    flat = j.flatten(0, 1).numpy()
    eta = flat.T @ flat / len(flat) + DAMPING * np.eye(j.shape[-1])
    expected = g @ np.linalg.solve(eta, g.T)
    found = influence_matrix(network, states, targets, solver="full", damping=DAMPING, tolerance=1e-8).values
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 1e-5


def test_torch_is_as_it_was_afterwards() -> None:
    linear, backend = Linearization(build("TransformerEncoderLayer")), torch.backends.cuda
    recomputing = torch.utils.checkpoint
    kept = recomputing.CheckpointFunction.apply, recomputing._checkpoint_without_reentrant_generator

    def state() -> list[bool]:
        return [
            torch.backends.mha.get_fastpath_enabled(),
            backend.flash_sdp_enabled(),
            backend.mem_efficient_sdp_enabled(),
            backend.math_sdp_enabled(),
        ]

    before = state()
    linear.gradients(smse, *probe(torch.float32))
    with pytest.raises(RuntimeError):
        linear.predict(linear.parameters, torch.zeros(1))
    assert state() == before == [True] * 4
    assert kept == (recomputing.CheckpointFunction.apply, recomputing._checkpoint_without_reentrant_generator)


def test_what_leaves_torch_is_refused_and_every_method_is_listed() -> None:
    class Outside(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.from_numpy(np.sin(3 * x.detach().numpy()))

    linear = Linearization(nn.Sequential(mixing(), Outside(), mixing()).double())
    words = r"no exact method for the gradients: gradients by 'vmap': .*Outside.*; gradients by 'loop': differs by \d+%"
    with pytest.raises(ValueError, match=words):
        calibrate.exact(linear, probe()[0], Method())
    with pytest.raises(ValueError, match=words):
        calibrate.calibrate(linear, smse, *probe(), seconds=0.1)


class Jitter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = mixing()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x + 0.01 * torch.randn_like(x))


class Spectrum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = mixing()

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft2(self.inner(x))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (lambda: Jitter(), r"two predictions from the same states differ by .*if self.training"),
        (lambda: Spectrum(), r"predicts complex numbers"),
        (lambda: mixing().requires_grad_(False), r"no trainable parameter; call requires_grad_"),
        (lambda: nn.Tanh(), r"no trainable parameter"),
        (
            lambda: nn.Sequential(mixing(), mixing().to(torch.bfloat16)),
            r"parameters of torch.bfloat16; give network.fl",
        ),
        (lambda: torch.jit.trace(mixing(), torch.zeros(1, FIELDS, SIZE, SIZE)), r"TorchScript cannot be linearized"),
    ],
)
def test_what_cannot_be_linearized_is_said_in_a_line(network: Callable[[], nn.Module], words: str) -> None:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = network().eval()

    def require() -> None:
        require_differentiable(found, "n")
        require_independent(found, probe(torch.float32)[0], "n")

    with pytest.raises(UserError, match=f"^n: .*{words}") as refusal:
        require()
    assert "\n" not in str(refusal.value)
