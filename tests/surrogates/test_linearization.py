"""Networks of packages that people use: influence against a dense float64 Jacobian, and what a probe batch costs.

`make test-surrogates` installs them and prints a line for each network.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from surroscope.cost_function import smse
from surroscope.influence import calibrate
from surroscope.influence.functional import converted
from surroscope.influence.linearize import Linearization, Method
from surroscope.models.surrogate import require_differentiable, require_independent
from tests.unit.dense_jacobian import jacobian, moved, relative

SAMPLES, FIELDS, SIZE = 10, 2, 8
DAMPING = 1e-6
SPECTRAL = {"n_modes": (4, 4), "in_channels": FIELDS, "out_channels": FIELDS, "hidden_channels": 8, "n_layers": 2}


class Wrapped(nn.Module):
    """A network with a call of its own, given as a function of the network and the states."""

    def __init__(self, network: nn.Module, call: Callable[[Any, Tensor], Tensor], *more: nn.Module) -> None:
        super().__init__()
        self.network, self.call, self.more = network, call, nn.ModuleList(more)

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self, x)


def operator(name: str, **options: Any) -> nn.Module:
    return getattr(pytest.importorskip("neuralop.models"), name)(**SPECTRAL | options)


def uno(scales: tuple[float, ...]) -> nn.Module:
    return pytest.importorskip("neuralop.models").UNO(
        FIELDS,
        FIELDS,
        hidden_channels=8,
        lifting_channels=8,
        projection_channels=8,
        n_layers=3,
        uno_out_channels=[8] * 3,
        uno_n_modes=[[4, 4]] * 3,
        uno_scalings=[[scale, scale] for scale in scales],
        channel_mlp_skip="linear",
    )


def codano() -> nn.Module:
    return pytest.importorskip("neuralop.models").CODANO(
        output_variable_codimension=1,
        lifting_channels=8,
        hidden_variable_codimension=4,
        projection_channels=8,
        use_positional_encoding=False,
        enable_cls_token=False,
        n_layers=2,
        n_heads=[2, 2],
        n_modes=[[4, 4]] * 2,
        attention_scaling_factors=[1] * 2,
        per_layer_scaling_factors=[[1, 1]] * 2,
    )


def timm_vit() -> nn.Module:
    made = pytest.importorskip("timm.models.vision_transformer").VisionTransformer(
        img_size=SIZE, patch_size=4, in_chans=FIELDS, embed_dim=16, depth=2, num_heads=2, num_classes=0, global_pool=""
    )

    def call(self: Any, x: Tensor) -> Tensor:
        tokens = self.more[0](self.network.forward_features(x)[:, 1:])
        return nn.functional.fold(tokens.mT, (SIZE, SIZE), 4, stride=4)

    return Wrapped(made, call, nn.Linear(16, 16 * FIELDS))


def diffusers_unet() -> nn.Module:
    made = pytest.importorskip("diffusers").UNet2DModel(
        sample_size=SIZE,
        in_channels=FIELDS,
        out_channels=FIELDS,
        layers_per_block=1,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
    )
    return Wrapped(made, lambda self, x: self.network(x, torch.zeros(len(x)), return_dict=False)[0])


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "neuraloperator FNO": lambda: operator("FNO"),
    "neuraloperator TFNO": lambda: operator("TFNO", rank=0.3),
    "neuraloperator UNO": lambda: uno((1.0, 1.0, 1.0)),
    "neuraloperator UNO, scaled": lambda: uno((0.5, 1.0, 2.0)),
    "neuraloperator CODANO": codano,
    "timm ViT": timm_vit,
    "diffusers UNet2D": diffusers_unet,
}


@contextmanager
def doubled() -> Iterator[None]:
    """What a package makes in single precision by name is made in double, so that a reference is one."""
    with pytest.MonkeyPatch.context() as patch:
        for name, wide in {"cfloat": torch.cdouble, "complex64": torch.complex128}.items():
            patch.setattr(torch, name, wide)
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)


def seconds(call: Callable[[], object]) -> float:
    def one() -> float:
        start = time.process_time()
        call()
        return time.process_time() - start

    return min(one() for _ in range(3))


def response(k: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """H in the span with coordinates c, from the Gram matrices of gradients and of tangents."""
    return k @ c @ np.linalg.solve(c.T @ b @ c + DAMPING * np.eye(c.shape[1]), c.T @ k)


@pytest.mark.parametrize("name", NETWORKS)
def test_influence_of_a_probe_batch(name: str) -> None:
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    draw = torch.Generator().manual_seed(1)
    x, y = 1 + 0.3 * torch.randn(2, SAMPLES, FIELDS, SIZE, SIZE, generator=draw)
    require_differentiable(network, name)
    require_independent(network, x[:2], name)
    linear = Linearization(network)
    method, reasons = calibrate.exact(linear, x, Method())

    def batch() -> tuple[np.ndarray, np.ndarray]:
        g = linear.gradients(smse, x, y, method)
        t = linear.tangents(x, g, method).flatten(1).double()
        return (g.double() @ g.double().T).numpy(), (t @ t.T).numpy() / t.shape[1]

    k, b = batch()
    cost = seconds(batch) / seconds(lambda: linear.predict(linear.parameters, x))

    single = deepcopy(network)
    with doubled():
        double, states = converted(single, None, torch.float64), x.double()
        j = jacobian(double, states)
        direction = torch.randn(j.shape[-1])
        assert relative(moved(double, states, direction, 1e-6), j @ direction) < 1e-6
        prediction = double(states).detach().requires_grad_()
        (residual,) = torch.autograd.grad(smse(prediction, y.double(), states).sum(), prediction)
    g = torch.einsum("nop,no->np", j, residual.flatten(1))
    t = torch.einsum("nop,kp->kno", j, g).flatten(1)
    exact = (g @ g.T).numpy(), (t @ t.T).numpy() / t.shape[1]
    values, vectors = np.linalg.eigh(exact[0])
    kept = values > 1e-6 * values[-1]
    c = vectors[:, kept] / np.sqrt(values[kept])
    found, expected = response(k, b, c), response(*exact, c)
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    how = f"{method.gradients}, {method.tangents}"
    print(f"{name}: P {linear.size}, {how}, {cost:.0f} forward passes, error of H {error:.0e}")
    print("\n".join(reasons))
    assert linear.size == j.shape[-1]
    assert error < 1e-5
