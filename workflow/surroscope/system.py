"""Systems as data: channels, the kind of each, and what happens at the boundary. The two of the paper are entries.

So is a linear one, whose solution is exact: on it, controls are trained of which it is known what they share.
"""

from dataclasses import dataclass
from typing import Literal


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
    constants: scalar fields that no network predicts, as coefficients of the equations; stores have them behind the
        channels
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
    constants: tuple[str, ...] = ()

    @property
    def stored(self) -> tuple[str, ...]:
        """Channels of a snapshot in a store: those of states, then the constants."""
        return self.channels + self.constants


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

ADVECTION_DIFFUSION = System(
    name="AD",
    title="advection-diffusion",
    channels=("concentration",),
    conserved=("concentration",),
    symmetries=("shifts",),
)

SYSTEMS = {system.name: system for system in (COMPRESSIBLE_EULER, NAVIER_STOKES, ADVECTION_DIFFUSION)}

# The classes of initial conditions that the embedded solvers draw; PDEGym holds those of CE and NS.
CLASSES: dict[str, tuple[str, ...]] = {
    "CE": ("CE-RP", "CE-CRP", "CE-RPUI"),
    "NS": ("NS-BB", "NS-Gauss", "NS-Sines"),
    "AD": ("AD-Smooth", "AD-Rough"),
}
