"""Networks of packages that people use: influence against a dense float64 Jacobian, and what a probe batch costs.

`make test-surrogates` installs them and prints a line for each network.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import Tensor

from surroscope.config.networks import Call
from surroscope.cost_function import smse
from surroscope.influence import calibrate
from surroscope.influence.functional import converted, copied
from surroscope.influence.linearize import Linearization, Method
from surroscope.models import context, surrogate
from tests.surrogates.cases import CASES, FIELDS, SHAPE, installed
from tests.unit.dense_jacobian import jacobian, moved, relative

SAMPLES = 10
DAMPING = 1e-6


@contextmanager
def doubled() -> Iterator[None]:
    """What a package makes in single precision by name is made in double, so that a reference is one."""
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("cfloat", "complex64"):
                patch.setattr(torch, name, torch.complex128)
            for name in ("float", "float32"):
                patch.setattr(torch, name, torch.float64)
            patch.setattr(torch.Tensor, "float", torch.Tensor.double)
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


@pytest.mark.parametrize("name", installed())
def test_influence_of_a_probe_batch(name: str) -> None:
    warnings.simplefilter("ignore")
    case = CASES[name]
    said = case.call | {"mean": [1.0] * FIELDS, "std": [0.3] * FIELDS}
    call = Call.model_validate(said, strict=False).model_dump(exclude_defaults=True)
    network = surrogate.build(case.factory, case.options, shape=SHAPE, seed=0, call=call)
    draw = torch.Generator().manual_seed(1)
    snapshots = 1 + 0.3 * torch.randn(SAMPLES, case.history + 1, *SHAPE, generator=draw)
    x, y = context.of(network, snapshots[:, :-1]), snapshots[:, -1]
    linear = Linearization(network)
    method, reasons = calibrate.exact(linear, x, Method())

    def batch(linear: Linearization, x: Tensor, y: Tensor) -> tuple[np.ndarray, np.ndarray]:
        g = linear.gradients(smse, x, y, method)
        t = linear.tangents(x, g, method).flatten(1).double()
        return (g.double() @ g.double().T).numpy(), (t @ t.T).numpy() / t.shape[1]

    single = batch(linear, x, y)
    cost = seconds(lambda: batch(linear, x, y)) / seconds(lambda: linear.predict(linear.parameters, x))

    twin = copied(network)
    with doubled():
        double, states = converted(twin, None, torch.float64), x.double()
        precise = batch(Linearization(double), states, y.double())
        j = jacobian(double, states)
        direction = torch.randn(j.shape[-1])
        assert relative(moved(double, states, direction, 1e-6), j @ direction) < 1e-6
        prediction = double(states).detach().requires_grad_()
        (residual,) = torch.autograd.grad(smse(prediction, y.double(), y).sum(), prediction)
    g = torch.einsum("nop,no->np", j, residual.flatten(1))
    t = torch.einsum("nop,kp->kno", j, g).flatten(1)
    exact = (g @ g.T).numpy(), (t @ t.T).numpy() / t.shape[1]
    values, vectors = np.linalg.eigh(exact[0])
    kept = values > 1e-6 * values[-1]
    c = vectors[:, kept] / np.sqrt(values[kept])
    expected = response(*exact, c)
    errors = [np.linalg.norm(response(*found, c) - expected) / np.linalg.norm(expected) for found in (precise, single)]
    how = f"{method.gradients}, {method.tangents}"
    print(
        f"{name} of {case.package}: P {linear.size}, {how}, {cost:.0f} forward passes, "
        f"error of H {errors[0]:.0e}, in single precision {errors[1]:.0e}"
    )
    print("\n".join(reasons))
    assert linear.size == j.shape[-1]
    assert errors[0] < 1e-7
    assert errors[1] < 1e-3
