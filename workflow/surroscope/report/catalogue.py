"""Every figure of a study by its name, and the tables behind them."""

import re
from collections.abc import Collection
from dataclasses import replace
from inspect import cleandoc

from surroscope.report import (
    coupling_figures,
    dial_figures,
    fidelity_figures,
    influence_figures,
    network_figures,
    remedy_figures,
    response_figures,
    retraining_figures,
)
from surroscope.report.influence_figures import OF_OBSERVABLES
from surroscope.report.spec import FigureSpec, Question

FIGURES = {
    name: spec
    for question in Question
    for figures in (
        network_figures,
        remedy_figures,
        coupling_figures,
        dial_figures,
        influence_figures,
        response_figures,
        fidelity_figures,
        retraining_figures,
    )
    for name, spec in figures.FIGURES.items()
    if spec.question == question
}
OF_PAPER = {"mass": "T: mass", "energy": "T: energy"}
# The modules that draw them, which whoever counts the code of a figure has to name: nothing imports them by name.
MODULES = sorted({spec.draw.partition(":")[0] for spec in FIGURES.values()})
# What of a configuration asks for tables: sections, the shares of models, which ask for those of a dial, and several
# classes; and what is for readers and drawn nowhere.
SECTIONS = {
    *("classes", "sensitivity", "cross", "maps", "symmetry", "dial", "fidelity", "leads", "remedies", "held_out"),
    "retraining",
}
FOR_READERS: dict[str, tuple[str, ...]] = {
    "scalars": (),
    "attribution": ("cross",),
    "dial": ("dial",),
    "fidelity_lag": ("fidelity",),
    "leads_error": ("leads",),
    "held_out": ("held_out",),
    "retraining_locking": ("retraining",),
}


def figure(name: str) -> FigureSpec:
    """A figure by its name. Raises KeyError if there is none."""
    for table, spec in OF_OBSERVABLES.items():
        if name not in FIGURES and name.startswith(f"{table}_"):
            observable = name.removeprefix(f"{table}_")
            title = spec.title.format(observable=observable.replace("_", " "))
            return replace(spec, title=title, observable=observable, shows=OF_PAPER.get(observable, ""))
    return FIGURES[name]


def caption(name: str, system: str, n: str, unit: str) -> str:
    """The caption of a figure in reStructuredText; n: the sample size of the study, unit: of influence in it."""
    spec = figure(name)
    # A name that ends in _ would be a link.
    system, observable = (re.sub(r"_(?![A-Za-z0-9])", r"\\_", text or "") for text in (system, spec.observable))
    return cleandoc(spec.caption).format(system=system, n=n, unit=unit, observable=observable)


def figures_for(observables: Collection[str], parts: Collection[str] = ()) -> tuple[str, ...]:
    """Names of the figures of a system with these observables, in a study that has these optional parts."""
    own = [name for name, spec in FIGURES.items() if set(spec.needs) <= set(parts)]
    return *own, *(f"{table}_{name}" for name in observables if name != "smse" for table in OF_OBSERVABLES)


def tables_for(parts: Collection[str] = ()) -> tuple[str, ...]:
    """Names of the tables of a study that has these optional parts; of other parts than sections all, if empty."""
    needs = [*((spec.table, spec.needs) for spec in FIGURES.values()), *FOR_READERS.items()]
    return tuple(dict.fromkeys(table for table, needed in needs if SECTIONS.intersection(needed) <= set(parts)))
