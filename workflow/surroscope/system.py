"""Systems as data: channels, the kind of each, and what happens at the boundary. The two of the paper are entries."""

from dataclasses import dataclass
from typing import Literal

from surroscope.errors import UserError

# The channels that each built-in observable reads, in the order that its function in observables.py takes them; of two
# sets the first that a system has whole. It stands here because a configuration is checked where torch is not imported.
OBSERVABLES: dict[str, tuple[tuple[str, ...], ...]] = {
    "smse": ((),),
    "mass": (("density",),),
    "energy": (("energy",),),
    "momentum_x": (("momentum_x",), ("velocity_x",)),
    "momentum_y": (("momentum_y",), ("velocity_y",)),
    "kinetic_energy": (("velocity_x", "velocity_y"), ("momentum_x", "momentum_y", "density")),
    "enstrophy": (("velocity_x", "velocity_y"),),
}
# These are defined by Fourier series.
SPECTRAL = ("enstrophy",)


@dataclass(frozen=True)
class System:
    """One set of evolution equations on a regular grid.

    channels: names in the order of the channel axis of every state (F, Y, X)
    positive: channels that are positive in every physical state
    conserved: channels whose integral over the domain the equations keep; each gets its conservation observable
    vectors: the channels (of the x, of the y component) of every vector field, on a line of the x component alone; the
        other channels are scalars
    symmetries: what the equations commute with, of "turns" (quarter turns and mirror images) and "shifts"
    boundary: "periodic", or "open" for anything else: networks then see the nearest cell beyond the edge
    """

    name: str
    title: str
    channels: tuple[str, ...]
    positive: tuple[str, ...] = ()
    conserved: tuple[str, ...] = ()
    vectors: tuple[tuple[str, ...], ...] = ()
    symmetries: tuple[str, ...] = ()
    boundary: Literal["periodic", "open"] = "periodic"
    units: str = "dimensionless"

    @property
    def observables(self) -> tuple[str, ...]:
        """What influence is measured on unless a study says otherwise: the cost, and conservation of what is positive.

        The mean of a channel that changes sign may be zero, which leaves its residual without a natural scale.
        """
        return "smse", *(name for name in self.known_observables if self._conserves(name) in self.positive)

    @property
    def known_observables(self) -> tuple[str, ...]:
        """Names of the observables whose channels this system has: built in, or the conservation of a channel."""
        built_in = tuple(name for name in OBSERVABLES if not self._lacks(name))
        covered = {channel for name in built_in for channel in self._only(name)}
        return *built_in, *(channel for channel in self.conserved if channel not in covered)

    def reads(self, observable: str) -> tuple[int, ...]:
        """Channel indices that an observable reads. Raises UserError if it is unknown or lacks a channel."""
        choose = f"choose from {', '.join(self.known_observables)}"
        if (observable not in OBSERVABLES or self._lacks(observable)) and observable in self.known_observables:
            return (self.channels.index(observable),)
        if observable not in OBSERVABLES:
            raise UserError(f"observable {observable!r} is unknown; {choose}")
        if missing := self._lacks(observable):
            raise UserError(f"observable {observable!r} needs {', '.join(missing)}, which {self.title} lacks; {choose}")
        names = next(names for names in OBSERVABLES[observable] if set(names) <= set(self.channels))
        return tuple(self.channels.index(name) for name in names)

    def _conserves(self, observable: str) -> str | None:
        """The channel whose conservation this observable of the system measures; None if it measures another thing."""
        only = self._only(observable) if observable in OBSERVABLES else (observable,)
        return next((channel for channel in only if channel in self.conserved), None)

    def _only(self, observable: str) -> tuple[str, ...]:
        """The channel that a built-in observable reads, if it is one alone."""
        return next((n for n in OBSERVABLES[observable] if len(n) == 1 and n[0] in self.channels), ())

    def _lacks(self, observable: str) -> list[str]:
        """The missing channels of the set that this system comes nearest to having."""
        needed = min(([n for n in names if n not in self.channels] for names in OBSERVABLES[observable]), key=len)
        if observable in SPECTRAL and self.boundary != "periodic":
            return [*needed, "a periodic boundary"]
        return needed


COMPRESSIBLE_EULER = System(
    name="CE",
    title="compressible Euler",
    channels=("density", "momentum_x", "momentum_y", "energy"),
    positive=("density", "energy"),
    conserved=("density", "momentum_x", "momentum_y", "energy"),
    vectors=(("momentum_x", "momentum_y"),),
    symmetries=("turns", "shifts"),
)

NAVIER_STOKES = System(
    name="NS",
    title="incompressible Navier-Stokes",
    channels=("velocity_x", "velocity_y"),
    conserved=("velocity_x", "velocity_y"),
    vectors=(("velocity_x", "velocity_y"),),
    symmetries=("turns", "shifts"),
)

SYSTEMS = {system.name: system for system in (COMPRESSIBLE_EULER, NAVIER_STOKES)}

# The classes of initial conditions that the embedded solvers draw and that PDEGym holds.
CLASSES: dict[str, tuple[str, ...]] = {
    "CE": ("CE-RP", "CE-CRP", "CE-RPUI"),
    "NS": ("NS-BB", "NS-Gauss", "NS-Sines"),
}
