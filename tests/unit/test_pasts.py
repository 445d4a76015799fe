"""Networks that are given several snapshots: beside others in figures, and in what is said of them."""

import itertools

import numpy as np
import pandas as pd

from surroscope.diagnostics import signature, verdict
from surroscope.diagnostics.scalars import half_life
from surroscope.plots.style import Options
from surroscope.report.draw import draw

QUARTILES = {"q25": 0.1, "median": 0.5, "q75": 0.6, "low": 0.0, "high": 1.0, "n_seeds": 1, "n_probes": 1}


def test_lead_times_of_networks_of_different_pasts_are_drawn() -> None:
    rows = [
        {"model": model, "response_lead": a, "response_time": b, "perturbation_lead": c, "perturbation_time": d}
        for model, first in (("past", 2), ("now", 0))
        for a, b, c, d in itertools.product((1, 2), range(first, 5), (1, 2), range(first, 5))
    ]
    draw("leads", pd.DataFrame([row | QUARTILES for row in rows]), Options(models=["past", "now"]))


def test_windows_of_networks_of_different_pasts_are_drawn() -> None:
    rows = [
        {"response_class": a, "response_window": i, "perturbation_class": b, "perturbation_window": j, "model": model}
        for model, count in (("long", 3), ("short", 4))
        for a, i, b, j in itertools.product("AB", range(count), "AB", range(count))
    ]
    about = QUARTILES | {"measure": "kernel_transfer", "weights": "trained", "error": 0.1}
    draw("coupling_groups", pd.DataFrame([row | about for row in rows]), Options(models=["long", "short"]))


LAGS = np.abs(np.arange(-6, 7.0))


def test_no_factor_is_blamed_where_all_halve_at_lags_that_are_left_out() -> None:
    half, residuals, kernel = (half_life(curve, 2) for curve in (0.1**LAGS, 0.1**LAGS, 1 - 0.18 * LAGS))
    decay = verdict.Decay(signature.Estimate(half, half, half), residuals, kernel, 6, 2)
    assert "the network keeps times apart" not in verdict.decayed(decay)


def test_influence_that_is_gone_at_the_first_lag_that_counts_is_not_called_coherent() -> None:
    half = half_life((LAGS == 0).astype(float), 2)
    transfer = signature.Estimate(0.5, 0.4, 0.6)
    assert signature.signature(signature.Estimate(half, half, half), transfer, 0.01, 0.1, 6, 2)[0] == "undecided"


def test_no_lag_that_counts_is_not_told_as_zero_influence() -> None:
    none = signature.Estimate(*[half_life(np.ones(3), 2)] * 3)
    told = signature.signature(none, signature.Estimate(0.5, 0.4, 0.6), 0.01, 0.1, 1, 2)[1]
    assert "is zero" not in told


def test_a_rollout_stands_beside_no_change_from_its_own_start() -> None:
    rows = [
        {"model": model, "start": start, "snapshot": at, **QUARTILES}
        | {of: size * (at - start) for of in ("q25", "median", "q75")}
        for model, first, size in (("past", 2, 0.1), ("now", 0, 0.2), ("persistence", 0, 1.0))
        for start in range(first, 5)
        for at in range(start + 1, 6)
    ]
    figure = draw("rollout", pd.DataFrame(rows), Options(models=["past", "now"], last_training_snapshot=5))
    (dotted,) = [line for line in figure.axes[0].lines if line.get_linestyle() == ":"]
    assert dict(zip(dotted.get_xdata(), dotted.get_ydata(), strict=True))[3] == 1.0
