"""Influence and the metric of any network in memory, without a study: for notebooks and other programs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dask
import dask.array as da
import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike
from scipy.sparse.linalg import LinearOperator
from torch import Tensor, nn

from surroscope.cost_function import Observable, smse
from surroscope.errors import UserError
from surroscope.influence import compute, dense, krylov
from surroscope.influence.calibrate import calibrate
from surroscope.influence.functional import COLUMNS, converted, copied
from surroscope.influence.gram import gram
from surroscope.influence.linearize import Linearization, Method
from surroscope.influence.responses import Grams
from surroscope.influence.solvers import SOLVERS
from surroscope.models.surrogate import require_differentiable, require_independent

Labels = Sequence[Any] | Mapping[str, Sequence[Any]]


def influence_matrix(
    network: nn.Module,
    states: ArrayLike | Tensor,
    targets: ArrayLike | Tensor,
    *,
    response_states: ArrayLike | Tensor | None = None,
    response_targets: ArrayLike | Tensor | None = None,
    cost: str | Observable = "smse",
    observable: str | Observable | None = None,
    labels: Labels | None = None,
    response_labels: Labels | None = None,
    solver: str = "span",
    damping: float = 1e-6,
    discarded_share: float = 1e-4,
    tolerance: float = 1e-2,
    max_iterations: int = 40,
    method: Method | None = None,
) -> xr.DataArray:
    """H[j, i] = ∇A_j · (η + ε)⁻¹ ∇C_i: how much A of sample j falls per unit of a natural gradient step on C of i.

    η = JᵀJ / M is the metric of the network at `states`, J the Jacobian of its M outputs in all trainable parameters.

    states, targets: of the perturbations, (N, F, Y, X) each: what the network is given, and what it should predict
    response_states, response_targets: of the responses, (K, F, Y, X) each; unless given, those of the perturbations
    cost: C, "smse", or a function of (prediction, target, state) that gives one number a sample, shape (N,)
    observable: A, likewise; the cost, unless given
    labels: N of them for the perturbations, or {name: N of them}. Also used for the responses, unless response_states
        is given; then use response_labels
    solver: "span", within the span of the perturbations' gradients; "full", in the space of all parameters, in float64
        and with a certified relative error; "dense", the same for small networks; "euclidean" or "cosine", without η
    damping: ε; discarded_share: of "span", see `influence.span.solve_span`
    tolerance, max_iterations: of "full", see `influence.krylov.solve`
    method: how derivatives are taken; unless given, the first that is found to be exact for this network

    Gives H with dimensions (response, perturbation). The network itself stays as it is: a copy of it is put in
    eval mode, without dropout, and with the running statistics of batch normalisation. Raises UserError where arrays do
    not fit, numbers are not finite, samples of a batch interact, no exact derivative is found, or iterations do not
    converge.
    """
    solver = next((name for name, one in SOLVERS.items() if solver in (name, one.metric)), solver)
    if solver not in SOLVERS or SOLVERS[solver].needs in ("moments", "modes"):
        known = dict.fromkeys(one.metric for one in SOLVERS.values() if one.needs not in ("moments", "modes"))
        raise UserError(f"solver is {solver!r}; choose from {', '.join(known)}")
    if not damping > 0:
        raise UserError(f"damping is {damping}; expected a positive number")
    if not 0 <= discarded_share < 1:
        raise UserError(f"discarded_share is {discarded_share}; expected a number from 0 to below 1")
    linear = _copy(network, torch.float64 if SOLVERS[solver].needs == "network" else None)
    x, y = _transitions(linear, states, targets)
    step = _function(cost, "cost")
    response = step if observable is None else _function(observable, "observable")
    at, elsewhere = (x, y), response_states is not None or response_targets is not None
    if elsewhere:
        at = _transitions(linear, response_states, response_targets, "response_")
    coords = _coordinates("response", response_labels if elsewhere else labels, len(at[0]))
    coords |= _coordinates("perturbation", labels, len(x))
    with _carefully():
        _check(linear, x, y, step, "cost")
        method = method or calibrate(linear, step, x, y, seconds=0).method
        gradients = [linear.gradients(step, x, y, method)]
        i = j = np.arange(len(x))
        if elsewhere or response is not step:
            _check(linear, *at, response, "observable")
            gradients.append(linear.gradients(response, *at, method))
            j = len(x) + np.arange(len(at[0]))
        rows = torch.cat(gradients)
        about: dict[str, Any] = {"solver": solver}

        def metric(vectors: Tensor) -> Tensor:
            return linear.metric(x, vectors, method)

        if solver == "dense":
            h = dense.solve(metric, rows, len(x), dampings=[damping])[0][j]
        elif solver == "full":
            (solution,) = krylov.solve(
                metric, rows, len(x), dampings=[damping], tolerance=tolerance, max_iterations=max_iterations
            )
            if not solution.converged:
                raise UserError(
                    f"'full' did not converge within {max_iterations} iterations; the largest certified relative "
                    f"error is {solution.relative:.2g}. Raise max_iterations, damping or tolerance"
                )
            h, about["relative_error"] = solution.influence[j], solution.relative
        elif solve := SOLVERS[solver].solve:
            h = solve(Grams(gram(_chunked(rows)).compute(), np.empty((0, 0))), j, i)
        else:
            tangents = linear.tangents(x, rows[: len(x)], method).flatten(1)
            grams = compute.grams(_chunked(rows), [_chunked(tangents)])
            rules = compute.Rules("perturbation", discarded_share, damping, "absolute")
            h, span = compute.influence(grams, j, i, rules, damping)
            about |= {"rank": len(span.eigenvalues), "discarded_share": span.discarded_share}
    if SOLVERS[solver].solve is None:
        about["damping"] = damping
    return xr.DataArray(h, coords, ("response", "perturbation"), "influence", about)


class Metric:
    """η = JᵀJ / M of a network at some states as a linear operator on vectors of its P trainable parameters.

    The parameters are in the order of `network.named_parameters()`. Made by `metric`.
    """

    def __init__(self, linear: Linearization, states: Tensor, method: Method) -> None:
        self.linear, self.states, self.method = linear, states, method
        self.shape = linear.size, linear.size

    def __matmul__(self, vectors: Tensor) -> Tensor:
        """η v: (P,) to (P,), or (P, K) to (P, K). Raises UserError for another shape."""
        if vectors.dim() not in (1, 2) or len(vectors) != self.linear.size:
            raise UserError(
                f"a vector of shape {tuple(vectors.shape)}; expected {self.shape[:1]}, or ({self.shape[0]}, K)"
            )
        rows = vectors.to(self.states).reshape(len(vectors), -1).T.contiguous()
        with _carefully():
            return self.linear.metric(self.states, rows, self.method).T.reshape(vectors.shape)

    def to_scipy(self) -> LinearOperator:
        """The same on NumPy arrays, for `scipy.sparse.linalg`: eigsh, cg, ..."""

        def product(vectors: np.ndarray) -> np.ndarray:
            return (self @ torch.from_numpy(np.ascontiguousarray(vectors))).cpu().numpy()

        dtype = torch.empty(0, dtype=self.states.dtype).numpy().dtype
        return LinearOperator(self.shape, product, product, product, dtype=dtype, rmatmat=product)


def metric(network: nn.Module, states: ArrayLike | Tensor, *, method: Method | None = None) -> Metric:
    """η = JᵀJ / M of a network at states (N, F, Y, X), J the Jacobian of the M outputs in all trainable parameters.

    method: as of `influence_matrix`. It is of a copy of the network: later training does not change it.
    Raises UserError as `influence_matrix`.
    """
    linear = _copy(network)
    x, _ = _transitions(linear, states, states)
    with _carefully():
        _check(linear, x, x, smse, "cost")
        return Metric(linear, x, method or calibrate(linear, smse, x, x, seconds=0).method)


def _copy(network: nn.Module, dtype: torch.dtype | None = None) -> Linearization:
    require_differentiable(network, "the network")
    try:
        return Linearization(converted(copied(network), None, dtype) if dtype else copied(network))
    except (RuntimeError, ValueError) as error:  # torch says why, as of lazy modules
        raise UserError(f"the network cannot be copied or has no parameters yet: {error}") from None


def _transitions(linear: Linearization, states: Any, targets: Any, prefix: str = "") -> tuple[Tensor, Tensor]:
    """States and targets as finite tensors of one shape, of the precision of the parameters and where they are."""
    like = next(iter(linear.parameters.values()))

    def tensor(name: str, values: Any) -> Tensor:
        if values is None:
            raise UserError(f"{prefix}{name} is missing; states and targets go together")
        found = torch.as_tensor(values).detach().to(like.device, linear.dtype)
        if found.dim() != 4 or not len(found):
            raise UserError(
                f"{prefix}{name} has shape {tuple(found.shape)}; expected (samples, fields, rows, columns), one sample "
                "or more"
            )
        if not torch.isfinite(found).all():
            sample = int(torch.nonzero(~torch.isfinite(found))[0, 0])
            raise UserError(f"{prefix}{name} is not finite in sample {sample}; leave it out or mend the data")
        return found

    x, y = tensor("states", states), tensor("targets", targets)
    if x.shape != y.shape:
        raise UserError(f"{prefix}targets has shape {tuple(y.shape)}; expected {tuple(x.shape)}, that of the states")
    return x, y


def _function(chosen: str | Observable, name: str) -> Observable:
    if chosen == "smse":
        return smse
    if not callable(chosen):
        raise UserError(
            f"{name} is {chosen!r}; expected 'smse' or a function of (prediction, target, state), such as those of "
            "surroscope.observables.conservation"
        )
    return chosen


def _check(linear: Linearization, states: Tensor, targets: Tensor, function: Observable, name: str) -> None:
    """Raise UserError unless predictions look like targets, each depends on its own state, and so does the function."""
    with torch.no_grad():
        try:
            predicted = linear.predict(linear.parameters, states.clone())
        except Exception as error:  # a user's network may fail in any way
            raise UserError(f"the network fails on states of shape {tuple(states.shape)}: {error}") from None
        if predicted.shape != targets.shape:
            raise UserError(
                f"the network maps {tuple(states.shape)} to {tuple(predicted.shape)}; expected {tuple(targets.shape)}, "
                "the shape of the targets"
            )
        if not torch.isfinite(predicted).all():
            raise UserError("a prediction of the network is not finite; look at its weights")
        # The two that differ most: where samples are mixed, equal ones would not show it.
        other = int((states - states[0]).flatten(1).norm(dim=1).argmax())
        require_independent(linear.network, states[[0, other]], "the network")
        values = torch.as_tensor(function(predicted, targets, states))
    if values.shape != (len(states),) or not torch.isfinite(values).all():
        raise UserError(f"{name} gives {values}; expected a finite number for each of the {len(states)} samples")


def _chunked(rows: Tensor) -> da.Array:
    return da.from_array(rows.cpu().numpy(), chunks=(-1, COLUMNS))


def _coordinates(dimension: str, labels: Labels | None, count: int) -> dict[str, Any]:
    if labels is None:
        return {}
    named = labels if isinstance(labels, Mapping) else {"": labels}
    for values in named.values():
        if len(values) != count:
            raise UserError(f"labels: found {len(values)}, expected {count}, one a {dimension}")
    return {f"{dimension}_{name}".rstrip("_"): (dimension, list(values)) for name, values in named.items()}


@contextmanager
def _carefully() -> Iterator[None]:
    """Without TensorFloat-32, which changes gradients far beyond round-off; a ValueError becomes a UserError."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        with dask.config.set(scheduler="threads"):
            yield
    except ValueError as error:
        raise UserError(str(error)) from None
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
