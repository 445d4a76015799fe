"""Networks by import path, and their weights on disk."""

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from surroscope import seeding
from surroscope.errors import UserError
from surroscope.importing import imported
from surroscope.models import context
from surroscope.models.calling import Called
from surroscope.models.weights import tensors_of
from surroscope.runtime import store


def build(
    factory: str,
    options: dict[str, Any],
    *,
    shape: tuple[int, ...],
    boundary: str = "periodic",
    seed: int,
    call: dict[str, Any] | None = None,
) -> nn.Module:
    """Call ``factory(**options)``, a function or a class, with the global generator seeded for this purpose.

    Of what the data say, it is given what it has parameters for and the options do not: channels, size and boundary.

    shape: of a snapshot of the data, (F, Y, X), constant channels too; size is X on a square grid, else (Y, X), with
        Y = 1 for fields on a line
    boundary: "periodic" or "open"
    call: how the network is called, see `calling.Called`; None for (B, F, Y, X) to the same

    Gives a network from contexts, see `context`, to the next states (B, F, Y, X): the factory's own, or a `Called` if
    it is called otherwise or has a parameter `labels`. Raises UserError if the factory cannot be imported, refuses the
    options, or the network gives another shape or fails `require_independent`.
    """
    call = dict(call or {})
    channels, *grid = shape[0] - call.get("constants", 0), *shape[1:]
    size = grid[1] if grid[0] == grid[1] else tuple(grid)
    make = with_options(imported(factory, "factory"))
    try:
        signature = inspect.signature(make)
        known = {"channels": channels, "size": size, "boundary": boundary}
        options = {name: value for name, value in known.items() if name in signature.parameters} | options
        signature.bind(**options)
    except TypeError as error:
        raise UserError(f"factory {factory!r}: options {options} do not fit its signature: {error}") from None
    history = call.get("history", 1)
    snapshots = 0.5 + torch.rand(2, history, *shape, generator=torch.Generator().manual_seed(0))
    expected = (2, channels, *grid)
    told = f"states {tuple(snapshots[:, 0].shape)}" if history == 1 else f"snapshots {tuple(snapshots.shape)}"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeding.integer(seed, "initialisation", factory))
        network = nn.Module()
        try:
            network = make(**options)
            require_differentiable(network, f"factory {factory!r}")
            if asks_for_labels(network) and "labels" not in call.get("arguments", {}):
                call["labelled"] = True
            network = Called(network, channels=channels, **call) if call else network
            given = context.of(network, snapshots, torch.zeros(2, context.LABELS))
            with torch.no_grad():
                found = tuple(network.eval()(given.clone()).shape)
        except UserError:
            raise
        except Exception as error:  # a user's network may fail in any way
            precise = any(p.dtype == torch.float64 for p in network.parameters())
            raise UserError(
                f"factory {factory!r} with options {options}{f' and call {call}' if call else ''} fails on a batch of "
                f"{told}: {error}"
                + "; it has parameters of float64, and states are float32: give network.float()"
                * precise
            ) from None
    if found != expected:
        raise UserError(
            f"factory {factory!r}: the network maps {told} to {found}; expected {expected}, "
            "since a surrogate predicts the next state"
        )
    require_independent(network, given, f"factory {factory!r}")
    return network


def with_options(make: Any) -> Any:
    """What is called with options by name; the models of transformers are called with a configuration of them."""
    configuration = getattr(make, "config_class", None)
    return make if configuration is None else lambda **options: make(configuration(**options))


def asks_for_labels(network: nn.Module) -> bool:
    """Whether it cannot be called without; those of others with a parameter of this name take targets by it."""
    asked = inspect.signature(network.forward).parameters.get("labels")
    return asked is not None and asked.default is inspect.Parameter.empty


def inner(network: nn.Module) -> nn.Module:
    """The network of the factory, of one that was built."""
    return network.network if isinstance(network, Called) else network


def normalise(network: nn.Module, trajectories: Tensor) -> None:
    """Have a network that normalises by the data do so by trajectories (n, S, C, Y, X); any other stays as it is."""
    if isinstance(network, Called) and network.normalize:
        network.normalised_by(trajectories)


def scales(network: nn.Module) -> list[str]:
    """Names of what a network keeps of the data, if it was normalised by them."""
    names = {name for name, _ in network.named_buffers(recurse=False)} if isinstance(network, Called) else set()
    return sorted(names & set(network.state_dict()))


def size(network: nn.Module) -> int:
    """How many real numbers its parameters are."""
    return sum(p.numel() * (2 if p.is_complex() else 1) for p in network.parameters())


def require_differentiable(network: nn.Module, name: str) -> None:
    """Raise UserError for a network that has no derivative in its parameters, or one of few digits."""
    if any(isinstance(module, torch.jit.ScriptModule) for module in network.modules()):
        raise UserError(f"{name}: a network of TorchScript cannot be linearized; give the module that it was made from")
    trained = [p for p in network.parameters() if p.requires_grad]
    if not trained:
        raise UserError(f"{name}: the network has no trainable parameter; call requires_grad_() on those that count")
    if short := {p.dtype for p in trained} & {torch.bfloat16, torch.float16, torch.complex32}:
        raise UserError(
            f"{name}: the network has parameters of {short.pop()}; give network.float(), which keeps their values, "
            "since influence would be round-off"
        )


def require_independent(network: nn.Module, states: Tensor, name: str) -> None:
    """Raise UserError unless a network in eval mode predicts a state (B, F, Y, X) the same alone, in a batch, again.

    What it predicts may differ by ε^(2/3) of it, ε the round-off of float32, in which a network of float64 may have
    layers too. It must leave its input as it is.
    """
    given = states.clone()
    with torch.no_grad():
        together = network(given)
        again = network(states.clone())
        alone = torch.cat([network(state.clone()) for state in states.split(1)])
    if not torch.equal(given, states):
        raise UserError(
            f"{name}: the network changes the states that it is given; expected a network that leaves "
            "them as they are. Write x = x - mean instead of x -= mean, or let it work on x.clone()"
        )
    if together.is_complex():
        raise UserError(f"{name}: the network predicts complex numbers; expected real ones, such as .real of them")
    scale = together.norm().clamp_min(torch.finfo(together.dtype).tiny)
    tolerance = torch.finfo(torch.float32).eps ** (2 / 3)
    if (defect := float((together - again).norm() / scale)) > tolerance:
        raise UserError(
            f"{name}: two predictions from the same states differ by {defect:.1e} of them, in eval mode; expected the "
            "same. Draw random numbers in training alone (if self.training), or from a generator that forward seeds"
        )
    if (defect := float((together - alone).norm() / scale)) > tolerance:
        raise UserError(
            f"{name}: what the network predicts for a state changes by {defect:.1e} of it with the other "
            "states of the batch; expected each state to be predicted by itself. Take means and norms over channels "
            "and cells, not over the batch (BatchNorm: track_running_stats)"
        )


def save_weights(network: nn.Module, path: Path) -> None:
    """Write the state dict, on the CPU, atomically. Equal weights give equal bytes, whatever the file is called."""
    with store.atomic(path) as temporary, temporary.open("wb") as stream:
        torch.save({name: tensor.cpu() for name, tensor in tensors_of(network).items()}, stream)


def save_moments(network: nn.Module, optimizer: dict[str, Any], path: Path) -> None:
    """Write the state of Adam's optimiser of all the network's parameters, on the CPU, with their names."""
    names = [name for name, _ in network.named_parameters()]
    state = {
        number: {key: value.cpu() if isinstance(value, torch.Tensor) else value for key, value in moments.items()}
        for number, moments in optimizer["state"].items()
    }
    with store.atomic(path) as temporary, temporary.open("wb") as stream:
        torch.save({"names": names, "optimizer": optimizer | {"state": state}}, stream)


def load_moments(folder: Path, epoch: int) -> dict[str, Tensor]:
    """Adam's preconditioner sqrt(v̂) + ε at an epoch, by the name of the parameter, of those that were trained.

    v̂ = v / (1 - β₂ᵗ) is the bias-corrected second moment of the gradients (Kingma & Ba 2015).
    """
    saved = torch.load(moments_of(folder, epoch), map_location="cpu", weights_only=True)
    if "optimizer" not in saved:
        return saved  # of the release before this one, which kept the preconditioner alone
    group, moments = saved["optimizer"]["param_groups"][0], {}
    for number, name in enumerate(saved["names"]):
        if state := saved["optimizer"]["state"].get(number):
            squares = state["exp_avg_sq"]
            # Of a complex parameter Adam keeps the moments of its real and imaginary part.
            squares = torch.view_as_real(squares) if squares.is_complex() else squares
            corrected = squares.double() / (1 - group["betas"][1] ** float(state["step"]))
            moments[name] = (corrected.sqrt() + group["eps"]).float()
    return moments


def load_optimizer(folder: Path, epoch: int) -> dict[str, Any]:
    """The state of Adam's optimiser at an epoch. Raises UserError where training kept its preconditioner alone."""
    path = moments_of(folder, epoch)
    saved = torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else {}
    if "optimizer" not in saved:
        raise UserError(
            f"{path}: no first moments of the optimiser, which training keeps since this release and a step of AdamW "
            f"needs; delete {folder} to train again, or take adamw out of fidelity.kinds"
        )
    return saved["optimizer"]


def moments_of(folder: Path, epoch: int) -> Path:
    return folder / f"epoch{epoch}.moments.pt"


def weights_of(folder: Path, epoch: int) -> Path:
    return folder / f"epoch{epoch}.pt"


def load_weights(network: nn.Module, folder: Path, epoch: int, *, untrained: bool = False) -> None:
    """Load the weights of one epoch from a verified folder. Raises UserError if names or shapes differ.

    untrained: only what the network has of the data, the scales by which it normalises them
    """
    store.verify(folder)
    path = weights_of(folder, epoch)
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if untrained:
            saved = tensors_of(network) | {name: saved[name] for name in scales(network)}
        network.load_state_dict(saved)
    except (RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: not weights of this network ({reason}); delete the folder and run again") from None
