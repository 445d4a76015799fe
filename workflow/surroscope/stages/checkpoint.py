"""What the stages that linearize a checkpoint share: their settings, its network, its gradients."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from surroscope import observables
from surroscope.cost_function import Observable
from surroscope.data import transitions
from surroscope.errors import UserError
from surroscope.influence.linearize import Linearization, Method
from surroscope.influence.responses import Response, Responses
from surroscope.models import surrogate
from surroscope.runtime import cli
from surroscope.system import System


@dataclass(frozen=True)
class Linearized(cli.Network):
    """Settings of every stage that linearizes a checkpoint."""

    equations: System
    seed: int
    epoch: int
    observables: dict[str, dict[str, Any]]
    snapshots: int
    responses: list[Response]
    method: Method | None


@contextmanager
def linearizing(model: str, system: str) -> Iterator[None]:
    """What cannot be differentiated or solved ends the stage in one line that names the model."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{model} on {system}: {error}") from None


def linearization(
    settings: Linearized,
    weights: Path,
    probe: transitions.Probe,
    place: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Linearization:
    """The network of a checkpoint, linearized at its weights."""
    shape, boundary = probe.inputs.shape[1:], settings.boundary
    network = surrogate.build(settings.factory, settings.options, shape=shape, boundary=boundary, seed=settings.seed)
    surrogate.load_weights(network, weights, settings.epoch)
    return Linearization(network.to(place, dtype))


def measured(calibration: Path | None) -> Method:
    if calibration is None:
        raise UserError("method is null, so --calibration must give the file that the stage 'calibrate' wrote")
    return Method(**json.loads(calibration.read_text())["method"])


def modules(settings: Linearized) -> list[str]:
    """Modules outside the package that a linearization runs: the network's and the observables'."""
    return [
        surrogate.module_of(entry["factory"])
        for entry in ({"factory": settings.factory}, *settings.observables.values())
    ]


def functions_of(
    rows: Responses, defined: dict[str, dict[str, Any]], system: System, probe: transitions.Probe
) -> dict[str, Observable]:
    """The observables of the rows by name, checked on two transitions. Raises UserError."""
    functions = {}
    states, targets = (torch.from_numpy(part[:2]) for part in (probe.inputs, probe.targets))
    for name in rows.names:
        if name in defined:
            functions[name] = observables.load(defined[name]["factory"], defined[name]["options"], system)
            observables.check(functions[name], name, system, states, targets)
        else:
            functions[name] = observables.observable(name, system)
    return functions


def gradients(
    linear: Linearization,
    probe: transitions.Probe,
    names: list[str],
    functions: dict[str, Observable],
    place: torch.device,
    method: Method,
    dtype: torch.dtype = torch.float32,
) -> Iterator[Tensor]:
    """Gradients (N, P) of each observable."""
    states, targets = (torch.from_numpy(part).to(place, dtype) for part in (probe.inputs, probe.targets))
    for name in names:
        yield linear.gradients(functions[name], states, targets, method)


def require_finite(
    values: Tensor, name: str, settings: Linearized, probe: transitions.Probe, where: str, *, zero: bool = True
) -> None:
    """Raise UserError naming sample and observable if a row is not finite, or zero where `zero` is not allowed."""
    bad = ~torch.isfinite(values).all(dim=1)
    problem, remedy = "not finite", "the network or its weights are broken there"
    if not bad.any() and not zero:
        bad = ~values.any(dim=1)
        problem, remedy = (
            "all zero",
            "nothing can be attributed to it; leave the observable out, or look at the network",
        )
    if bad.any():
        label, time = divmod(int(torch.nonzero(bad)[0]), len(probe.times))
        raise UserError(
            f"{settings.model} seed {settings.seed} epoch {settings.epoch}: {name} of {where} at class "
            f"{probe.classes[label]}, time {probe.times[time]} are {problem}; {remedy}"
        )
