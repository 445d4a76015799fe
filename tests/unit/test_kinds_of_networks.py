"""Networks as people write them: derivatives and influence against a dense Jacobian in float64 of the module itself.

The Jacobian is from backward passes of the module as it is, parameter by parameter, and it is compared with
differences of its predictions; neither knows of torch.func or of how the package calls a network.
"""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.utils.checkpoint
from dense_jacobian import jacobian, moved, relative
from kinds_of_networks import FIELDS, NETWORKS, REVERSE_ONLY, SIZE, build, mixing
from torch import Tensor, nn

from surroscope import influence_matrix
from surroscope.cost_function import smse
from surroscope.errors import UserError
from surroscope.influence import calibrate
from surroscope.influence.functional import converted
from surroscope.influence.linearize import Linearization, Method
from surroscope.models.surrogate import require_differentiable, require_independent

SAMPLES, DAMPING = 3, 1e-3
# Whose forward pass torch.func takes only as it is adapted; all others run as they are.
ADAPTED = ("written into slices", "written into copies", "complex and tied", "group norm", "channels last in memory")


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
        assert linear.adapted == (name in ADAPTED)

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
