"""Weights of a network that was trained elsewhere: which tensors of a file they are, whatever they are called there."""

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from surroscope.errors import UserError
from surroscope.importing import imported
from surroscope.models.saved import require_whole

TRUST = "save the network's state_dict() alone, or say weights.pickled: true if you trust whoever wrote the file"
SHOWN = 5
State = dict[str, Tensor]


def read(path: Path, entry: str = "", *, pickled: bool = False, loader: str | None = None) -> State:
    """The tensors of a checkpoint by their names there: of a torch file, a safetensors file, or a folder with one.

    entry: of a file with several dictionaries of tensors the one that is meant, nested ones divided by dots
    pickled: whether the file may run code when it is read, as whole modules do; else what is no tensor is left out
    loader: import path of a function of the path instead, that gives tensors by name, or a module that has them

    Raises UserError, in one line, for what is not such a file, or if it is not clear which tensors are meant.
    """
    if loader:
        return chosen(imported(loader, "weights.loader")(path), entry, path)
    if path.is_dir():
        path = file_in(path)
    require_whole(path)
    if path.suffix == ".safetensors":
        try:
            return chosen(load_file(path), entry, path)
        except SafetensorError as error:
            raise UserError(f"{path}: not a whole safetensors file ({error}); fetch it again") from None
    try:
        with torch.serialization.safe_globals([] if pickled else inert(path)):
            found = torch.load(path, map_location="cpu", weights_only=not pickled)
    except pickle.UnpicklingError:
        raise UserError(f"{path}: damaged, or holds what only code can read; {TRUST}") from None
    except Exception as error:  # a damaged archive fails in any way
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{path}: torch cannot read it ({reason}); fetch or save it again") from None
    return chosen(found, entry, path)


def file_in(folder: Path) -> Path:
    """The one file of weights of a folder that `save_pretrained` wrote."""
    for pattern in ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.ckpt"):
        if len(found := sorted(folder.glob(pattern))) == 1:
            return found[0]
        if found:
            raise UserError(f"{folder}: holds {listed([f.name for f in found])}; name the one file in weights.files")
    raise UserError(f"{folder}: holds no file of weights (.safetensors, .bin, .pt, .pth, .ckpt); name the file")


class Inert:
    """What stands for an object of code that is not run: a file's metadata, arguments, loggers."""

    name: str

    def __new__(cls, *_: Any, **__: Any) -> "Inert":
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None:
        """Nothing is kept."""


def inert(path: Path) -> list[Any]:
    """For each name in a file that torch does not know, what stands for it."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except ValueError:  # of torch before 1.6, which has no list of them
        return []
    return [(type("Inert", (Inert,), {"name": name}), name) for name in names]


def chosen(found: Any, entry: str, path: Path) -> State:
    """The dictionary of tensors that is meant, of a file's content."""
    for key in filter(None, entry.split(".")):
        if not isinstance(found, Mapping) or key not in found:
            known = listed(list(found)) if isinstance(found, Mapping) else type(found).__name__
            raise UserError(f"{path}: weights.entry is {entry!r}, but it holds {known}")
        found = found[key]
    found = found.state_dict() if isinstance(found, nn.Module) else found
    if isinstance(found, Inert):
        raise UserError(f"{path}: holds an object of {found.name}, and reading that runs code; {TRUST}")
    if not isinstance(found, Mapping):
        raise UserError(f"{path}: holds {type(found).__name__}, expected tensors by name; save a state_dict()")
    tensors = {str(name): part for name, part in found.items() if isinstance(part, Tensor)}
    inner = {str(name): part for name, part in found.items() if isinstance(part, Mapping | nn.Module)}
    inner = {name: part for name, part in inner.items() if holds_tensors(part)}
    if not inner or (tensors and len(tensors) >= len(inner)):
        if not tensors:
            raise UserError(f"{path}: holds no tensors but {listed(list(found))}; save the network's state_dict()")
        return tensors
    if len(inner) > 1:
        raise UserError(f"{path}: holds weights as {listed(list(inner))}; say which in weights.entry")
    return chosen(next(iter(inner.values())), "", path)


def holds_tensors(part: Any) -> bool:
    """Whether it is, or holds, a dictionary of tensors; the state of an optimiser, by number, is none, nor scores."""
    if isinstance(part, nn.Module):
        return True
    values = [value for name, value in part.items() if isinstance(name, str)]
    return any(isinstance(value, Tensor) and value.dim() for value in values) or (
        "param_groups" not in part and any(isinstance(value, Mapping) and holds_tensors(value) for value in values)
    )


def fit(network: nn.Module, found: State, path: Path, prefix: str | None = None) -> str:
    """Give a network the tensors of a file; returns the prefix that their names have there.

    prefix: what precedes the network's own names (module., _orig_mod., model., ...); found by itself unless said

    Raises UserError with all names that are missing, too many or of another shape, if any is.
    """
    own = tensors_of(network)
    if prefix is None and own:
        prefix = likeliest(list(own), list(found), path)
    prefix = prefix or ""
    named = {name.removeprefix(prefix): part for name, part in found.items() if name.startswith(prefix)}
    wrong = {
        "missing": [name for name in own if name not in named],
        "not the network's": [name for name in named if name not in own],
        "of another shape": [
            f"{name} {tuple(named[name].shape)}, expected {tuple(own[name].shape)}"
            for name in own
            if name in named and named[name].shape != own[name].shape
        ],
        "not finite": [name for name, part in named.items() if not torch.isfinite(part).all()],
    }
    if problems := "; ".join(f"{what}: {listed(names)}" for what, names in wrong.items() if names):
        behind = f" behind {prefix!r}" if prefix else ""
        raise UserError(
            f"{path}: not weights of this network: of its {len(own)} tensors{behind}, {problems}. Compare factory and "
            "options with those that it was trained with"
        )
    network.load_state_dict(OrderedDict(named))
    return prefix


def tensors_of(network: nn.Module) -> State:
    """What of a network's state dict is tensors; some have metadata in it."""
    return {name: part for name, part in network.state_dict().items() if isinstance(part, Tensor)}


def likeliest(own: list[str], found: list[str], path: Path) -> str:
    """The prefix behind which most of a network's names are. Raises UserError if there are several, as of averages."""
    names = set(found)
    prefixes = {name.removesuffix(last) for last in {own[0], own[-1]} for name in found if name.endswith(last)} | {""}
    known = {prefix: sum(prefix + name in names for name in own) for prefix in sorted(prefixes)}
    best = [prefix for prefix, count in known.items() if count == max(known.values())]
    if len(best) > 1 and max(known.values()):
        raise UserError(f"{path}: holds weights behind {listed([repr(p) for p in best])}; say which in weights.prefix")
    return best[0]


def listed(names: list[Any]) -> str:
    """Some names, and how many more there are."""
    shown = ", ".join(str(name) for name in names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
