"""Surroscope: did an autoregressive PDE surrogate learn the solution operator, or memorise?"""

from importlib import import_module
from typing import Any

WHERE = {
    "influence_matrix": "surroscope.influence.api",
    "metric": "surroscope.influence.api",
    "open_study": "surroscope.results",
    "read_table": "surroscope.results",
}
__all__ = list(WHERE)


def __getattr__(name: str) -> Any:
    """By name, when it is asked for: an import here would be part of the code of every stage."""
    if name not in WHERE:
        raise AttributeError(f"module 'surroscope' has no attribute {name!r}; it has {', '.join(WHERE)}")
    return getattr(import_module(WHERE[name]), name)


# Here what is new is added: no stage asks for it, so that a fingerprint leaves these lines out and no study runs again.
WHERE |= {
    "standardised": "surroscope.diagnostics.labelled",
    "by_lag": "surroscope.diagnostics.labelled",
    "class_matrix": "surroscope.diagnostics.labelled",
    "verdict": "surroscope.results",
    "plot": "surroscope.results",
    "__version__": "surroscope.version",
}
__all__ += [name for name in WHERE if name not in __all__]
