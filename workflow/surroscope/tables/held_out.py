"""What networks do where they were not trained: at classes and times that were held out, beside what measures say."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from surroscope.diagnostics import coherence
from surroscope.diagnostics.coupling import Coupled, pairs_of_classes
from surroscope.diagnostics.scalars import Measured, class_matrix
from surroscope.diagnostics.verdict import percent

# Class, first and last time.
Without = Sequence[tuple[str, int, int]]


def errors(m: Measured) -> np.ndarray:
    """Error of one step over that of no change, (n, C, T), of the transitions that networks are probed at."""
    starts = np.arange(m.standardised.shape[2])
    own, idle = (values[:, :, starts, starts + 1] for values in (m.error, m.persistence))
    return own / idle


def split(m: Measured, classes: Sequence[str], without: Without) -> dict[str, np.ndarray]:
    """What was trained on, and what was not, by name, as masks (C, T)."""
    times = m.first + np.arange(m.standardised.shape[2])
    held = {name: np.zeros((len(classes), len(times)), bool) for name, _, _ in without}
    for name, first, last in without:
        held[name][classes.index(name)] |= (times >= first) & (times <= last)
    named = {name if mask[classes.index(name)].all() else f"{name}, times": mask for name, mask in held.items()}
    return {"trained on": ~np.any(list(named.values()), axis=0)} | named


def of_model(m: Measured, c: Coupled, classes: Sequence[str], without: Without) -> pd.DataFrame:
    """One step's error relative to no change where the network was trained, and in each class where it was not.

    Beside a class that was held out whole, what measures say between it and those that were trained on: kernel transfer
    and matched transfer of white noise (mean of both directions), and the ratio of signed influence between to within
    classes, the median over those classes.
    """
    relative, rows = errors(m), []
    parts = split(m, classes, without)
    transfer = pairs_of_classes(c)
    signed, matched = (ratios(values) for values in (m.standardised, c.between_inputs("matched_white")))
    trained = [number for number, name in enumerate(classes) if parts["trained on"][number].any()]
    for name, mask in parts.items():
        row = {"what": name} | coherence.summary(relative[:, mask], m.seeds, positive=True)
        if name in classes:
            place = classes.index(name)
            row |= {
                measure: float(np.median([(values[place, t] + values[t, place]) / 2 for t in trained]))
                for measure, values in (
                    ("kernel_transfer", transfer),
                    ("matched_white", matched),
                    ("signed_transfer", signed),
                )
            }
        rows.append(row)
    measures = ["kernel_transfer", "matched_white", "signed_transfer"]
    return pd.DataFrame(rows).reindex(columns=[*rows[0], *measures])


def ratios(values: np.ndarray) -> np.ndarray:
    """Median at equal times between each two classes over the medians within them, (C, C), of (n, C, T, C, T)."""
    medians = class_matrix(values)
    return medians / np.diagonal(medians)[:, None]


def told(m: Measured, classes: Sequence[str], without: Without) -> list[str]:
    """The same errors as sentences of a verdict."""
    relative = errors(m)
    found = {name: float(np.median(relative[:, mask])) for name, mask in split(m, classes, without).items()}
    base = found["trained on"]
    return [
        f"Held out: {name} was not trained on; one step errs by {percent(error)} of no change there, by "
        f"{percent(base)} where it was trained."
        for name, error in found.items()
        if name != "trained on"
    ]
