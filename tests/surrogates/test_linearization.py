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

from surroscope.config.networks import Call
from surroscope.cost_function import smse
from surroscope.influence import calibrate
from surroscope.influence.functional import converted, copied
from surroscope.influence.linearize import Linearization, Method
from surroscope.models import surrogate
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
    call = Call(**case.call, mean=[1.0] * FIELDS, std=[0.3] * FIELDS).model_dump()
    network = surrogate.build(case.factory, case.options, shape=SHAPE, seed=0, call=call)
    draw = torch.Generator().manual_seed(1)
    x, y = 1 + 0.3 * torch.randn(2, SAMPLES, *SHAPE, generator=draw)
    linear = Linearization(network)
    method, reasons = calibrate.exact(linear, x, Method())

    def batch() -> tuple[np.ndarray, np.ndarray]:
        g = linear.gradients(smse, x, y, method)
        t = linear.tangents(x, g, method).flatten(1).double()
        return (g.double() @ g.double().T).numpy(), (t @ t.T).numpy() / t.shape[1]

    k, b = batch()
    cost = seconds(batch) / seconds(lambda: linear.predict(linear.parameters, x))

    single = copied(network)
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
    print(f"{name} of {case.package}: P {linear.size}, {how}, {cost:.0f} forward passes, error of H {error:.0e}")
    print("\n".join(reasons))
    assert linear.size == j.shape[-1]
    assert error < 1e-5
