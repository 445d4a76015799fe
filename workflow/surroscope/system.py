"""The physical systems: their channels, the kind of each, and the classes of initial conditions."""

from dataclasses import dataclass


@dataclass(frozen=True)
class System:
    """One set of evolution equations on the periodic unit square.

    channels: names in the order of the channel axis of every state (F, Y, X)
    positive: channels that are positive in every physical state
    classes: names of the classes of initial conditions
    observables: what influence is measured on; "smse" is the cost, the others name a conservation error
    """

    name: str
    title: str
    channels: tuple[str, ...]
    positive: tuple[str, ...]
    classes: tuple[str, ...]
    observables: tuple[str, ...]
    units: str = "dimensionless"


COMPRESSIBLE_EULER = System(
    name="CE",
    title="compressible Euler",
    channels=("density", "momentum_x", "momentum_y", "energy"),
    positive=("density", "energy"),
    classes=("CE-RP", "CE-CRP", "CE-RPUI"),
    observables=("smse", "mass", "energy"),
)

NAVIER_STOKES = System(
    name="NS",
    title="incompressible Navier-Stokes",
    channels=("velocity_x", "velocity_y"),
    positive=(),
    classes=("NS-BB", "NS-Gauss", "NS-Sines"),
    observables=("smse",),
)

SYSTEMS = {system.name: system for system in (COMPRESSIBLE_EULER, NAVIER_STOKES)}
