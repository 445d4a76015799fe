"""Observables by name, for whoever has a system and no study."""

from surroscope.cost_function import Observable, smse
from surroscope.observables import COST
from surroscope.observables.catalogue import factory_of
from surroscope.observables.loading import load
from surroscope.system import System


def observable(name: str, system: System) -> Observable:
    """The observable that a system knows by this name. Raises UserError if it is unknown or lacks a channel."""
    return smse if name == COST else load(**factory_of(name, system), system=system)
