"""Surroscope: did an autoregressive PDE surrogate learn the solution operator, or memorise?"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["influence_matrix", "metric", "open_study", "read_table"]


# By name, when they are called: what is imported here is part of the code of every stage, and would run them all again.
def open_study(path: "str | Path") -> "xr.DataTree":
    """What a finished study computed, as labelled arrays; see `surroscope.results.open_study`."""
    tree: xr.DataTree = import_module("surroscope.results").open_study(path)
    return tree


def read_table(path: "str | Path", system: str, name: str) -> "pd.DataFrame":
    """A table of a finished study; see `surroscope.results.read_table`."""
    table: pd.DataFrame = import_module("surroscope.results").read_table(path, system, name)
    return table


def influence_matrix(network: Any, states: Any, targets: Any, **options: Any) -> "xr.DataArray":
    """H[response, perturbation] of any network in memory; see `surroscope.influence.library.influence_matrix`."""
    library = import_module("surroscope.influence.library")
    matrix: xr.DataArray = library.influence_matrix(network, states, targets, **options)
    return matrix


def metric(network: Any, states: Any, **options: Any) -> Any:
    """η = JᵀJ / M of any network as a linear operator; see `surroscope.influence.library.metric`."""
    return import_module("surroscope.influence.library").metric(network, states, **options)
