"""The observables that a study can name. No torch is imported here, since configurations are checked without it.

To add one, write its factory(system, *, channels) in a module of its own and give it an entry in BUILTIN.
"""

from typing import Any, NamedTuple

from surroscope.errors import UserError
from surroscope.observables import COST
from surroscope.system import System

CONSERVATION = "surroscope.observables.conservation:of_channel"
KINETIC_ENERGY = "surroscope.observables.flow:kinetic_energy_misfit"
ENSTROPHY = "surroscope.observables.flow:enstrophy_misfit"


class Builtin(NamedTuple):
    """channels: sets of them, in the order that the factory takes, of which the first that a system has whole is taken
    periodic: whether it is defined by Fourier series
    """

    factory: str
    channels: tuple[tuple[str, ...], ...]
    periodic: bool = False


BUILTIN = {
    COST: Builtin("", ((),)),
    "mass": Builtin(CONSERVATION, (("density",),)),
    "energy": Builtin(CONSERVATION, (("energy",),)),
    "momentum_x": Builtin(CONSERVATION, (("momentum_x",), ("velocity_x",))),
    "momentum_y": Builtin(CONSERVATION, (("momentum_y",), ("velocity_y",))),
    "kinetic_energy": Builtin(KINETIC_ENERGY, (("velocity_x", "velocity_y"), ("momentum_x", "momentum_y", "density"))),
    "enstrophy": Builtin(ENSTROPHY, (("velocity_x", "velocity_y"),), periodic=True),
}
# Observables that are more than the conservation of one channel.
COMPUTED = tuple(name for name, entry in BUILTIN.items() if entry.factory != CONSERVATION)


def known(system: System) -> tuple[str, ...]:
    """Names of the observables whose channels a system has: built in, or the conservation of a channel."""
    built_in = tuple(name for name in BUILTIN if not _lacks(name, system))
    covered = {channel for name in built_in for channel in _only(name, system)}
    return *built_in, *(channel for channel in system.conserved if channel not in covered)


def default(system: System) -> tuple[str, ...]:
    """What influence is measured on unless a study says otherwise: the cost, and conservation of what is positive.

    The mean of a channel that changes sign may be zero, which leaves its residual without a natural scale.
    """
    return COST, *(name for name in known(system) if _conserves(name, system) in system.positive)


def factory_of(name: str, system: System) -> dict[str, Any]:
    """Import path and options of an observable but the cost. Raises UserError if it is unknown or lacks a channel."""
    choose = f"choose from {', '.join(known(system))}"
    if (name not in BUILTIN or _lacks(name, system)) and name in known(system):
        return {"factory": CONSERVATION, "options": {"channels": [name]}}
    if name not in BUILTIN:
        raise UserError(f"observable {name!r} is unknown; {choose}")
    if missing := _lacks(name, system):
        raise UserError(f"observable {name!r} needs {', '.join(missing)}, which {system.title} lacks; {choose}")
    channels = next(names for names in BUILTIN[name].channels if set(names) <= set(system.channels))
    return {"factory": BUILTIN[name].factory, "options": {"channels": list(channels)}}


def _conserves(name: str, system: System) -> str | None:
    """The channel whose conservation this observable of the system measures; None if it measures another thing."""
    only = _only(name, system) if name in BUILTIN else (name,)
    return next((channel for channel in only if channel in system.conserved), None)


def _only(name: str, system: System) -> tuple[str, ...]:
    """The channel that a built-in observable reads, if it is one alone."""
    return next((n for n in BUILTIN[name].channels if len(n) == 1 and n[0] in system.channels), ())


def _lacks(name: str, system: System) -> list[str]:
    """The missing channels of the set that a system comes nearest to having."""
    needed = min(([n for n in names if n not in system.channels] for names in BUILTIN[name].channels), key=len)
    if BUILTIN[name].periodic and system.boundary != "periodic":
        return [*needed, "a periodic boundary"]
    return needed
