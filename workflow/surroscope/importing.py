"""What a configuration names by an import path: networks and observables, of the package or of a user's own."""

import importlib
from typing import Any

from surroscope.errors import UserError


def module_of(path: str) -> str:
    """The module of an import path ``package.module:function``."""
    return path.partition(":")[0]


def imported(path: str, what: str) -> Any:
    """What an import path names. Raises UserError, beginning with `what`, if it cannot be imported."""
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # a user's module may fail in any way
        raise UserError(f"{what} {path!r}: cannot be imported ({error}); expected package.module:function") from None
