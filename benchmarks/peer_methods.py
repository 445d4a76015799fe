"""Influence matrices of one network and probe batch by several libraries: each takes a `Case` and gives H (N, N).

H[j, i] = g_j · (η + λ)⁻¹ g_i with g_i the gradient of the cost C (SMSE) of sample i and η = Σ_n J_nᵀ J_n / M over all
M = N D outputs. Libraries that know only a squared error compute the same matrix from pseudo-targets:
- curvature of ½ mean (ŷ - t)² at t = ŷ: the residual is zero, so that the Hessian is η;
- gradient of ½ mean (ŷ - t)² over one sample at t = ŷ - D ∂C/∂ŷ: it equals the cost's.
"""

import copy
import importlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.blas import dsymm, dsyrk
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, vmap
from torch.utils.data import DataLoader, TensorDataset

from surroscope.cost_function import smse
from surroscope.models import vit
from surroscope.models.layers import Conv, Linear, pad

DISCARDED_SHARE, CERTIFIED = 1e-4, 2e-3
# What calibration picks for these networks; the workflow measures it once for all checkpoints of one.
MEASURED = {"tangent_samples": 16}


@dataclass(frozen=True)
class Case:
    """A trained network with one probe batch; states and targets (N, F, Y, X).

    tolerance: relative residual at which a solver may stop; iterations: for those that take no tolerance
    """

    network: nn.Module
    states: Tensor
    targets: Tensor
    damping: float = 0.0
    tolerance: float = 0.0
    iterations: int = 0

    @property
    def outputs(self) -> int:
        """D, the outputs of one sample."""
        return self.states[0].numel()


def load(path: str, **solver: float) -> Case:
    # Not by models.loading: it needs packages that the peers' environment does not have.
    stored = torch.load(path, weights_only=True)
    module, _, factory = stored["factory"].partition(":")
    network = getattr(importlib.import_module(module), factory)(*stored["states"].shape[1:3], **stored["options"])
    network.load_state_dict(stored["weights"])
    return Case(network.eval(), stored["states"], stored["targets"], **solver)


def small(solver: dict[str, float]) -> Case:
    """A case that every method is called with once before it is timed."""
    torch.manual_seed(0)
    states = torch.rand(3, 4, 8, 8)
    network = vit.build(4, 8, patch=4, width=8, depth=1, heads=2).eval()
    return Case(network, states, states.roll(1, -1), **solver | {"damping": 1.0, "tolerance": 0.1, "iterations": 2})


def cost(prediction: Tensor, target: Tensor) -> Tensor:
    return smse(prediction, target, target)


def half_mean(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction - target).square().mean() / 2


def pseudo_targets(case: Case) -> tuple[Tensor, Tensor]:
    """Targets whose squared error has the curvature η, and whose squared error has the cost's gradients."""
    with torch.no_grad():
        prediction = case.network(case.states)
    slope = grad(lambda y: cost(y, case.targets).sum())(prediction)
    return prediction, prediction - case.outputs * slope


def batch(*tensors: Tensor) -> DataLoader:
    return DataLoader(TensorDataset(*tensors), batch_size=len(tensors[0]))


def gradients(network: nn.Module, states: Tensor, targets: Tensor, names: list[str] | None = None) -> Tensor:
    """The cost's gradient of each sample by the named parameters, all by default: (N, P). For libraries that solve."""

    def value(parameters: dict[str, Tensor], state: Tensor, target: Tensor) -> Tensor:
        return cost(functional_call(network, parameters, (state[None],)), target[None])[0]

    parameters = {name: p.detach() for name, p in network.named_parameters()}
    each = vmap(grad(value), in_dims=(None, 0, 0))(parameters, states, targets)
    return torch.cat([each[name].flatten(1) for name in names or each], dim=1)


def reference(case: Case) -> dict[str, np.ndarray]:
    """Dense float64, η from the whole Jacobian: what the methods claim, by name."""
    network = case.network.double()
    g = gradients(network, case.states.double(), case.targets.double()).numpy()
    parameters = {name: p.detach() for name, p in network.named_parameters()}
    eta = np.zeros((g.shape[1], g.shape[1]), order="F")
    for x in case.states.double():
        each = jacrev(lambda p, x=x: functional_call(network, p, (x[None],)).flatten(), chunk_size=64)(parameters)
        j = torch.cat([part.flatten(1) for part in each.values()], dim=1).numpy()
        eta = dsyrk(1 / case.states.numel(), j.T, beta=1, c=eta, overwrite_c=True, lower=True)
    k, b = g @ g.T, g @ dsymm(1, eta, g.T, lower=True)
    squares, vectors = np.linalg.eigh(k)
    kept = np.cumsum(squares) > DISCARDED_SHARE * squares.sum()
    c = vectors[:, kept] / np.sqrt(squares[kept])
    span = k @ c @ np.linalg.solve(c.T @ b @ c + case.damping * np.eye(c.shape[1]), c.T @ k)
    eta[np.diag_indices_from(eta)] += case.damping
    factor = cho_factor(eta, lower=True, overwrite_a=True, check_finite=False)
    return {"identity": k, "span": span, "full": g @ cho_solve(factor, g.T, check_finite=False)}


def ours_subspace(case: Case) -> np.ndarray:
    """Exact within the span of the gradients, cut at DISCARDED_SHARE; passes in float32, contractions in float64."""
    from surroscope.influence.linearize import Linearization, Method
    from surroscope.influence.span import solve_span

    linear, method = Linearization(case.network), Method(**MEASURED)
    g = linear.gradients(smse, case.states, case.targets, method)
    t = linear.tangents(case.states, g, method).flatten(1)
    k, b = ((a.double() @ a.double().T).numpy() for a in (g, t))
    return solve_span(k, b / t.shape[1], discarded_share=DISCARDED_SHARE).influence(k, k, case.damping)


def full(case: Case) -> np.ndarray:
    """Exact in the full parameter space: entries certified within CERTIFIED of the geometric mean of the diagonals."""
    from surroscope.influence import krylov
    from surroscope.influence.linearize import Linearization, Method

    method = Method(**MEASURED)
    single, double = Linearization(case.network), Linearization(copy.deepcopy(case.network).double())
    rows = double.gradients(smse, case.states.double(), case.targets.double(), method)
    (found,) = krylov.solve(
        lambda v: single.metric(case.states, v, method),
        rows,
        len(rows),
        dampings=[case.damping],
        tolerance=CERTIFIED,
        max_iterations=200,
        dtype=torch.float32,
        exact=lambda v: double.metric(case.states.double(), v, method),
    )
    if not found.converged:
        raise RuntimeError(f"certified to {found.relative:.1e} only, after {found.iterations} iterations")
    return found.influence


def curvlinops_cg(case: Case) -> np.ndarray:
    """Generalised Gauss-Newton operator and conjugate gradients for all right-hand sides at once.

    Its loss is mean (ŷ - t)², twice ours: GGN = 2 η, hence damped by 2 λ and the result doubled.
    """
    from curvlinops import CGInverseLinearOperator, GGNLinearOperator
    from curvlinops.examples import IdentityLinearOperator

    parameters, data = list(case.network.parameters()), [(case.states, case.targets)]
    ggn = GGNLinearOperator(case.network, nn.MSELoss(), parameters, data, check_deterministic=False)
    identity = IdentityLinearOperator([p.shape for p in parameters], torch.device("cpu"), torch.float32)
    g = gradients(case.network, case.states, case.targets)
    solve = CGInverseLinearOperator(ggn + 2 * case.damping * identity, tolerance=case.tolerance)
    return (2 * g @ (solve @ g.T)).numpy()


def curvlinops_ekfac(case: Case, **fisher: object) -> np.ndarray:
    """EK-FAC of the Gauss-Newton matrix, exact (D backward passes) or sampled. Factors as `curvlinops_cg`.

    Bias and weight of a layer are taken together: apart, it would not be exact even for one linear layer.
    """
    from curvlinops import EKFACLinearOperator, KFACInverseLinearOperator

    network, names = standard_layers(case)
    model, parameters = nn.Sequential(network, nn.Flatten()), [dict(network.named_parameters())[name] for name in names]
    data = [(case.states, case.targets.flatten(1))]
    options = {"check_deterministic": False, "separate_weight_and_bias": False} | fisher
    operator = EKFACLinearOperator(model, nn.MSELoss(), parameters, data, **options)
    g = gradients(network, case.states, case.targets, names)
    solve = KFACInverseLinearOperator(operator, damping=2 * case.damping, use_exact_damping=True)
    return (2 * g @ (solve @ g.T)).numpy()


def pydvl_cg(case: Case, dask_chunk: int = 0, **options: bool) -> np.ndarray:
    """Conjugate gradients, one right-hand side after another or in a block. Half the mean square as loss: no factors.

    Its Gauss-Newton mode is the empirical Fisher information, so that the Hessian at zero residual is used. It squares
    its tolerances; one by one, the relative one is taken of a norm over the wrong axis, so that the smallest gradient
    sets the absolute one; a block of N ends at 10 N iterations, converged or not, unless told otherwise.
    dask_chunk: samples a chunk of its Dask calculator, on the synchronous scheduler.
    """
    from pydvl.influence.torch import CgInfluence

    curvature, targets = pseudo_targets(case)
    options |= {"regularization": case.damping, "maxiter": 10_000, "rtol": case.tolerance**0.5, "atol": 0.0}
    if "solve_simultaneously" not in options:
        smallest = gradients(case.network, case.states, case.targets).norm(dim=1).min().item()
        options |= {"rtol": 0.0, "atol": (case.tolerance * smallest) ** 0.5}
    model = CgInfluence(case.network, half_mean, **options).fit(batch(case.states, curvature))
    if not dask_chunk:
        return model.influences(case.states, targets).numpy()

    import dask
    from pydvl.influence import DaskInfluenceCalculator
    from pydvl.influence.influence_calculator import DisableClientSingleThreadCheck
    from pydvl.influence.torch.util import TorchNumpyConverter

    data = [dask.array.from_array(x.numpy(), chunks=(dask_chunk, -1, -1, -1)) for x in (case.states, targets)]
    calculator = DaskInfluenceCalculator(model, TorchNumpyConverter(), DisableClientSingleThreadCheck)
    with dask.config.set(scheduler="synchronous"):
        # Without persist the factors would be solved for anew in every pair of chunks.
        return calculator.influences_from_factors(calculator.influence_factors(*data).persist(), *data).compute()


def dattri(case: Case, attributor: str, **options: float) -> np.ndarray:
    """Conjugate gradients, right-hand sides vmapped; or Arnoldi. Half the mean square as loss: no factors.

    Its conjugate gradients ignore their tolerance, so that they are told how many iterations to make. Its Arnoldi
    drops what is outside the rank; keeping all of the Krylov space, the default, gives NaN, since round-off makes the
    last eigenvalues negative and it takes their root.
    """
    from dattri.algorithm import influence_function
    from dattri.task import AttributionTask

    def loss(parameters: dict[str, Tensor], data: tuple[Tensor, Tensor]) -> Tensor:
        return half_mean(functional_call(case.network, parameters, (data[0],)), data[1])

    curvature, targets = pseudo_targets(case)
    options = options or {"max_iter": case.iterations}
    task = AttributionTask(loss, case.network, case.network.state_dict())
    solver = getattr(influence_function, attributor)(task, regularization=case.damping, **options)
    solver.cache(batch(case.states, curvature))
    # Without no_grad the autograd graph of every iteration is kept: gigabytes for hundreds of them.
    with torch.no_grad():
        return solver.attribute(batch(case.states, targets), batch(case.states, targets)).numpy()


def kronfluence_ekfac(case: Case, draws: int) -> np.ndarray:
    """EK-FAC of the Fisher information with sampled targets, weight and bias of a layer together.

    The loss of a sample is half the sum over its D outputs, and the Fisher information the mean over samples: D η,
    hence damped by D λ and the result multiplied by D. Any function serves for the gradients: they are the cost's own.
    """
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments
    from kronfluence.task import Task

    class Influence(Task):
        def compute_train_loss(self, batch: tuple, model: nn.Module, sample: bool = False) -> Tensor:
            prediction = model(batch[0])
            if not sample:
                return cost(prediction, batch[1]).sum()
            return (prediction - prediction.detach() - torch.randn_like(prediction)).square().sum() / 2

        def compute_measurement(self, batch: tuple, model: nn.Module) -> Tensor:
            return self.compute_train_loss(batch, model)

    task, size, data = Influence(), len(case.states), TensorDataset(case.states, case.targets)
    model = prepare_model(standard_layers(case)[0], task)
    arguments = ScoreArguments(damping_factor=case.outputs * case.damping)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        analyzer = Analyzer("peers", model, task, cpu=True, disable_tqdm=True, output_dir=folder)
        many = TensorDataset(*(x.repeat(draws, 1, 1, 1) for x in data.tensors))
        analyzer.fit_all_factors("ekfac", many, size, factor_args=FactorArguments(strategy="ekfac"))
        analyzer.compute_pairwise_scores("scores", "ekfac", data, data, size, size, score_args=arguments)
        return case.outputs * analyzer.load_pairwise_scores("scores")["all_modules"].numpy()


def captum_tracin(case: Case) -> np.ndarray:
    """Products of the cost's gradients, learning rate 1: the metric is the identity. No factors."""
    from captum.influence import TracInCP

    data = TensorDataset(case.states, case.targets)
    tracer = TracInCP(case.network, data, [""], lambda model, path: 1.0, loss_fn=cost, batch_size=len(data))
    return tracer.influence(data.tensors).detach().numpy()


def captum_arnoldi(case: Case, **options: float) -> np.ndarray:
    """The leading eigenvectors in a Krylov space, defaults of both sizes; the rest of the space is dropped.

    The loss of a sample is half the mean over its outputs, and the Hessian the sum over N samples: N η, hence damped
    by N λ and the result multiplied by N. The class is not exported. Its thresholds are made small beside N λ.
    """
    from captum.influence._core.arnoldi_influence_function import ArnoldiInfluenceFunction

    def half_mean_each(prediction: Tensor, target: Tensor) -> Tensor:
        return (prediction - target).square().flatten(1).mean(1) / 2

    curvature, targets = pseudo_targets(case)
    size, data = len(case.states), TensorDataset(case.states, targets)
    options |= {"hessian_dataset": TensorDataset(case.states, curvature), "hessian_reg": size * case.damping}
    options |= {"loss_fn": half_mean_each, "batch_size": size, "arnoldi_tol": 1e-7, "hessian_inverse_tol": 0.0}
    function = ArnoldiInfluenceFunction(case.network, data, "", lambda model, path: 1.0, **options)
    return size * function.influence(data.tensors).detach().numpy()


class CircularPad(nn.Module):
    def __init__(self, padding: tuple[int, int]) -> None:
        super().__init__()
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        return pad(x, *self.padding)


def standard(own: nn.Module) -> nn.Module:
    """The same map by nn.Conv2d or nn.Linear, which is what libraries with hooks look for, with the same parameters."""
    with_bias = own.bias is not None
    if isinstance(own, Linear):
        layer: nn.Module = nn.Linear(*reversed(own.weight.shape), bias=with_bias)
    else:
        outputs, inputs, kernel, _ = own.weight.shape
        layer = nn.Conv2d(inputs, outputs, kernel, own.stride, bias=with_bias)
    layer.weight, layer.bias = own.weight, own.bias
    return layer if isinstance(own, Linear) else nn.Sequential(CircularPad(own.padding), layer)


def standard_layers(case: Case) -> tuple[nn.Module, list[str]]:
    """The network with torch's own layers in place of ours, and the names of their parameters."""
    with torch.no_grad():
        before = case.network(case.states)
        for parent in list(case.network.modules()):
            for name, child in parent.named_children():
                if isinstance(child, Conv | Linear):
                    setattr(parent, name, standard(child))
        torch.testing.assert_close(case.network(case.states), before)
    layers = [(path, m) for path, m in case.network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return case.network, [f"{path}.{name}" for path, m in layers for name, _ in m.named_parameters()]


def nothing(case: Case) -> np.ndarray:
    """What a process takes that only has torch and the case."""
    return np.zeros(0)


def main() -> None:
    """One job of peers.py: the matrix, time and memory to its file."""
    job = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    case = load(job["case"], **job["solver"])
    if job["function"] == "reference":
        np.savez(job["matrix"], **reference(case))
        return
    importlib.import_module(job["module"])
    solve: Callable[..., np.ndarray] = globals()[job["function"]]
    with torch.no_grad():
        case.network(case.states)
    # What libraries load at first use is not the method's.
    solve(small(job["solver"]), **job["options"])
    start = time.process_time()
    # The kernel ends the process: a solver may sit in compiled code, where Python sees no signal.
    resource.setrlimit(resource.RLIMIT_CPU, (int(start) + job["limit"], resource.RLIM_INFINITY))
    influence = solve(case, **job["options"])
    seconds = time.process_time() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    network, names = standard_layers(load(job["case"]))
    sizes = {name: p.numel() for name, p in network.named_parameters()}
    covered = sum(sizes[name] for name in (names if "ekfac" in job["function"] else sizes))
    facts = {"seconds": seconds, "memory_mb": memory, "covered": covered, "parameters": sum(sizes.values())}
    np.savez(job["matrix"], influence=influence, **facts)


if __name__ == "__main__":
    main()
