"""What there is to say about a figure, in one place, and what its table must hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

QUARTILES, ENDS, COUNTS = ("q25", "median", "q75"), ("low", "high"), ("n_seeds", "n_probes")
SPREAD = (*QUARTILES, *ENDS, *COUNTS)


class Question(StrEnum):
    """What a figure answers, in the order of the report and of the gallery."""

    VERDICT = "What is the verdict?"
    ACCURATE = "Is it accurate?"
    REMEDIES = "Which way of training helps, and what foretells it?"
    SHARED = "What does it share between times and classes?"
    TIMES = "Does a step in time help other times?"
    CLASSES = "Does a step in one class help other classes?"
    CONSERVED = "What does it conserve?"
    SYMMETRIES = "Which symmetries does it know?"
    TRAINING = "How did it get there in training?"
    CHOICE = "How much do the conclusions depend on the choice of influence?"
    RESPONSE = "What responds, and where?"
    SAMPLES = "Which training samples does it lean on?"
    DATA = "The data"


@dataclass(frozen=True)
class Columns:
    """What a table must hold. Keys identify a row; every other column is a finite number unless listed otherwise.

    Of `low` and `high`, the ends of intervals, any may be missing or infinite.

    ascending: columns whose values may not decrease from left to right in a row
    positive: columns drawn on a logarithmic axis
    infinite: columns in which +inf is a finding (a rollout that blew up), drawn as such
    missing: columns in which NaN says that the number has no meaning there (the damping of a method without one)
    single: columns that hold one value throughout: two would be pooled, or drawn over each other
    """

    text: tuple[str, ...]
    keys: tuple[str, ...]
    values: tuple[str, ...] = ()
    ascending: tuple[tuple[str, ...], ...] = ()
    positive: tuple[str, ...] = ()
    infinite: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    single: tuple[str, ...] = ()


def quartiles(text: tuple[str, ...], keys: tuple[str, ...], more: tuple[str, ...] = (), **named: Any) -> Columns:
    """A table of medians with quartiles, interval and counts; named: of Columns, without `values` and `ascending`."""
    return Columns(text, keys, (*SPREAD, *more), ascending=(QUARTILES,), **named)


@dataclass(frozen=True, kw_only=True)
class FigureSpec:
    """A figure: its heading, the question that it answers, its table and what that must hold, and what draws it.

    draw: function of (table, options) in plots/, as "module:function", so that planning a study imports no matplotlib
    caption: reStructuredText with {system}, {n} (the sample size), {unit} (of influence) and {observable} to fill in
    shows: what of the papers it is, T for arXiv 2509.00024, S for arXiv 2601.20172; empty: it is in neither
    needs: the parts of a study without which there is no such figure; `Study.parts` has their names
    observable: the one that responds to a step on the cost; None: all of the table is drawn
    moving: whether it is an animation
    """

    title: str
    question: Question
    table: str
    columns: Columns
    draw: str
    caption: str
    shows: str = ""
    needs: tuple[str, ...] = ()
    observable: str | None = None
    moving: bool = False

    @property
    def suffixes(self) -> tuple[str, ...]:
        return self.written(("pdf", "png"))

    def written(self, formats: Sequence[str]) -> tuple[str, ...]:
        """Suffixes of the figure's files in a study of such formats; what the report shows is the last."""
        return ("gif",) if self.moving else (*sorted(set(formats) - {"png"}), "png")
