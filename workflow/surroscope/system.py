"""The physical systems: their channels, the kind of each, and the classes of initial conditions."""

from dataclasses import dataclass

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


@dataclass(frozen=True)
class System:
    """One set of evolution equations on the periodic unit square.

    channels: names in the order of the channel axis of every state (F, Y, X)
    positive: channels that are positive in every physical state
    vectors: the channels (of the x, of the y component) of every vector field; the other channels are scalars
    classes: names of the classes of initial conditions
    observables: what influence is measured on unless a study says otherwise; "smse" is the cost
    """

    name: str
    title: str
    channels: tuple[str, ...]
    positive: tuple[str, ...]
    vectors: tuple[tuple[int, int], ...]
    classes: tuple[str, ...]
    observables: tuple[str, ...]
    units: str = "dimensionless"

    @property
    def known_observables(self) -> tuple[str, ...]:
        """Names of the built-in observables whose channels this system has."""
        return tuple(name for name in OBSERVABLES if not self._lacks(name))

    def reads(self, observable: str) -> tuple[int, ...]:
        """Channel indices that a built-in observable reads. Raises UserError if it is unknown or lacks a channel."""
        choose = f"choose from {', '.join(self.known_observables)}"
        if observable not in OBSERVABLES:
            raise UserError(f"observable {observable!r} is unknown; {choose}")
        if missing := self._lacks(observable):
            raise UserError(f"observable {observable!r} needs {', '.join(missing)}, which {self.title} lacks; {choose}")
        names = next(names for names in OBSERVABLES[observable] if set(names) <= set(self.channels))
        return tuple(self.channels.index(name) for name in names)

    def _lacks(self, observable: str) -> list[str]:
        """The missing channels of the set that this system comes nearest to having."""
        return min(([n for n in names if n not in self.channels] for names in OBSERVABLES[observable]), key=len)


COMPRESSIBLE_EULER = System(
    name="CE",
    title="compressible Euler",
    channels=("density", "momentum_x", "momentum_y", "energy"),
    positive=("density", "energy"),
    vectors=((1, 2),),
    classes=("CE-RP", "CE-CRP", "CE-RPUI"),
    observables=("smse", "mass", "energy"),
)

NAVIER_STOKES = System(
    name="NS",
    title="incompressible Navier-Stokes",
    channels=("velocity_x", "velocity_y"),
    positive=(),
    vectors=((0, 1),),
    classes=("NS-BB", "NS-Gauss", "NS-Sines"),
    observables=("smse",),
)

SYSTEMS = {system.name: system for system in (COMPRESSIBLE_EULER, NAVIER_STOKES)}
