"""What the stages that linearize a checkpoint share: their settings, its network, its gradients."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from surroscope.config.checkpoint_jobs import Checkpoint, Linearized
from surroscope.cost_function import Observable, smse
from surroscope.data import transitions
from surroscope.errors import UserError
from surroscope.influence.calibrate import check, exact
from surroscope.influence.functional import converted
from surroscope.influence.linearize import FIXED, Linearization, Method
from surroscope.influence.responses import Responses
from surroscope.models import context, surrogate
from surroscope.observables import COST
from surroscope.observables.loading import check as check_observable
from surroscope.observables.loading import load
from surroscope.system import System


@contextmanager
def linearizing(model: str, system: str) -> Iterator[None]:
    """What cannot be differentiated or solved ends the stage in one line that names the model."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{model} on {system}: {error}") from None


def probe_batches(settings: Checkpoint, stores: list[Path], split: Path, numbers: list[int]) -> list[transitions.Probe]:
    """Probe batches of test trajectories of these numbers, as the network is given them."""
    batches = [("test", number) for number in numbers]
    return transitions.probes(stores, split, batches, settings.snapshots, **settings.given)


def linearization(
    settings: Linearized,
    weights: Path,
    probe: transitions.Probe,
    place: torch.device,
    dtype: torch.dtype = torch.float32,
    *,
    untrained: bool = False,
) -> Linearization:
    """The network of a checkpoint, linearized at its weights, or at those that it was initialised with.

    Raises UserError if its samples are not independent.
    """
    network = surrogate.build(**settings.network, shape=probe.states.shape[2:], seed=settings.seed)
    surrogate.load_weights(network, weights, settings.epoch, untrained=untrained)
    # The first and the last, of two classes: where samples are mixed, like ones would hardly show it.
    states = inputs(network, probe, place, dtype)[[0, -1]]
    network = network.to(place) if dtype == torch.float32 else converted(network, place, dtype)
    surrogate.require_independent(network.eval(), states, f"factory {settings.factory!r}")
    return Linearization(network)


def inputs(
    network: nn.Module, probe: transitions.Probe, place: torch.device, dtype: torch.dtype = torch.float32
) -> Tensor:
    """What a network is given at a probe batch."""
    snapshots = torch.from_numpy(probe.snapshots).to(place, dtype)
    return context.of(network, snapshots, torch.from_numpy(probe.labels), probe.lead)


def method_of(
    settings: Linearized, calibration: Path | None, linear: Linearization, probe: transitions.Probe
) -> Method:
    """How to differentiate: as the settings say, or as the stage `calibrate` has measured; checked at a few samples.

    Where "fixed" is not exact for the network, what is takes its place, which is said and kept with the results.
    Raises UserError if gradients or tangents are wrong, or the network has none by this method.
    """
    place = next(iter(linear.parameters.values())).device
    if settings.method == "fixed":
        method = FIXED[place.type]
    elif settings.method != "measured":
        method = Method(**dict(settings.method))
    elif calibration is None:
        raise UserError("method is measured, so --calibration must give the file that the stage 'calibrate' wrote")
    else:
        method = Method(**json.loads(calibration.read_text())["method"])
    with linearizing(settings.model, settings.system):
        states = inputs(linear.network, probe, place)
        if settings.method != "fixed":
            check(linear, states, method)
            return method
        method, reasons = exact(linear, states, method)
    for reason in reasons:
        print(f"{settings.model} on {settings.system}: {reason} and is taken", flush=True)
    return method


def functions_of(
    rows: Responses, defined: dict[str, dict[str, Any]], system: System, probe: transitions.Probe
) -> dict[str, Observable]:
    """The observables of the rows by name, checked on two transitions. Raises UserError."""
    functions: dict[str, Observable] = {}
    states, targets = (torch.from_numpy(part[:2]) for part in (probe.inputs, probe.targets))
    for name in rows.names:
        functions[name] = smse if name == COST else load(**defined[name], system=system)
        check_observable(functions[name], name, system, states, targets)
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
    states, targets = inputs(linear.network, probe, place, dtype), torch.from_numpy(probe.targets).to(place, dtype)
    for name in names:
        yield linear.gradients(functions[name], states, targets, method)


def cotangents(linear: Linearization, probe: transitions.Probe, place: torch.device) -> Tensor:
    """w_n = ∂SMSE/∂ŷ at each sample, so that g_n = J_nᵀ w_n: (N, F Y X)."""
    states, targets = inputs(linear.network, probe, place), torch.from_numpy(probe.targets).to(place)
    with torch.no_grad():
        predicted = torch.cat([linear.predict(linear.parameters, part) for part in states.split(16)])
    predicted.requires_grad_()
    (found,) = torch.autograd.grad(smse(predicted, targets, linear.fields(states)).sum(), predicted)
    return found.flatten(1)


def require_finite(
    values: Tensor, name: str, settings: Linearized, probe: transitions.Probe, where: str, *, zero: bool = True
) -> None:
    """Raise UserError if a row (samples, ...) is not finite, naming its sample, or all rows are zero.

    zero: whether all of them may be zero. Where some are, a line says how many: their influence is zero.
    """
    of = f"{settings.model} seed {settings.seed} epoch {settings.epoch}: {name} of {where}"
    bad = ~torch.isfinite(values).all(dim=1)
    if bad.any():
        label, time = divmod(int(torch.nonzero(bad)[0]), len(probe.times))
        raise UserError(
            f"{of} at class {probe.classes[label]}, time {probe.times[time]} are not finite; "
            "the network or its weights are broken there"
        )
    if zero:
        return
    count = len(values) - int(values.any(dim=1).sum())
    of += f" in the probe batch of trajectories {list(probe.trajectories)}"
    if count == len(values):
        raise UserError(
            f"{of} are all zero; nothing can be attributed to it: leave the observable out, or look at the network"
        )
    if count:
        print(f"{of}: {count} of {len(values)} are exactly zero, and so is their influence", flush=True)
