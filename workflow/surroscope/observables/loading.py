"""Observables by import path, and what an observable has to be."""

from typing import Any

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from surroscope.cost_function import Observable
from surroscope.errors import UserError
from surroscope.importing import imported
from surroscope.observables.moments import rms
from surroscope.system import System


def load(factory: str, options: dict[str, Any], system: System) -> Observable:
    """Call a user's ``factory(system, **options)``, given by import path ``package.module:function``.

    Raises UserError if it cannot be imported, refuses the options, fails, or gives nothing that can be called.
    """
    make = imported(factory, "observable")
    try:
        made = make(system, **options)
    except UserError:
        raise
    except Exception as error:  # a user's factory may fail in any way
        raise UserError(f"observable {factory!r}: function(system, **{options}) fails: {error}") from None
    if not callable(made):
        raise UserError(f"observable {factory!r}: gives {made!r}; expected a function of (prediction, target, state)")
    return made


def check(observable: Observable, name: str, system: System, states: Tensor, targets: Tensor) -> None:
    """Call an observable on a few states and targets (B, F, Y, X), B >= 2, the way that influence will.

    Raises UserError, naming it, unless it gives one finite real number a sample, of shape (B,), that depends on that
    sample alone and has a finite gradient with respect to the prediction.
    """

    def failure(problem: str) -> UserError:
        return UserError(f"observable {name!r} of {system.title}: {problem}")

    # A multiple of the RMS state, another one in every cell: it has waves of all lengths, and keeps a state physical
    # (by the Cauchy-Schwarz inequality the RMS state is, and sums of physical states are).
    noise = torch.rand(targets.shape[-2:], generator=torch.Generator().manual_seed(0)).to(targets)
    predictions = (targets + 0.1 * rms(targets)[..., None, None] * noise).requires_grad_()

    def alone(prediction: Tensor, target: Tensor, state: Tensor) -> Tensor:
        return observable(prediction[None], target[None], state[None])[0]

    try:
        values = torch.as_tensor(observable(predictions, targets, states))
    except UserError:
        raise
    except Exception as error:  # a user's observable may fail in any way
        raise failure(f"fails on states {tuple(states.shape)}: {error}") from None
    if values.shape != (len(states),) or not values.is_floating_point():
        found = f"{values.dtype} of shape {tuple(values.shape)}"
        raise failure(f"gives {found}; expected one real number a sample, shape ({len(states)},)")
    if not torch.isfinite(values).all():
        raise failure(f"gives {values.tolist()} on physical states; expected finite numbers")
    if not values.requires_grad:
        raise failure("has no gradient with respect to the prediction; compute it in torch, without detach() or item()")
    try:
        gradients, single = vmap(grad_and_value(alone))(predictions.detach(), targets, states)
    except Exception as error:
        raise failure(f"cannot be differentiated by torch.func, one sample at a time: {error}") from None
    values = values.detach()
    if not torch.allclose(values, single, rtol=1e-3, atol=1e-6 * float(values.abs().max())):
        found = f"{values.tolist()} together, {single.tolist()} alone"
        raise failure(f"depends on the other samples of a batch ({found}); reduce over channel and space only")
    if not torch.isfinite(gradients).all() or (values.any() and not gradients.any()):
        raise failure("has a gradient with respect to the prediction that is zero or not finite on physical states")
