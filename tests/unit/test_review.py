"""What a review found: each fails until it is mended."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from surroscope.data import splits
from surroscope.diagnostics import signature, verdict
from surroscope.diagnostics.scalars import half_life
from surroscope.models import context, surrogate
from surroscope.models.calling import Called
from surroscope.plots.style import Options
from surroscope.report.draw import draw
from surroscope.runtime import fingerprint
from surroscope.stages import validate


def test_scales_lie_where_the_network_lies():
    network = Called(nn.Conv2d(2, 2, 3), channels=2, normalize="data").to("meta")
    network.normalised_by(torch.rand(3, 4, 2, 8, 8))
    assert network.mean.device == next(network.parameters()).device


def test_a_network_that_asks_for_labels_and_errs_is_validated():
    class Labelled(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(2, 2, 1)

        def forward(self, states, labels):
            return self.layer(states) + labels.sum()

    network = Called(Labelled(), channels=2, labelled=True)
    given = SimpleNamespace(given={"history": 1, "constants": 0}, channels=("u", "v"))
    validate.why(network, torch.rand(6, 5, 2, 8, 8), given)


QUARTILES = {"q25": 0.1, "median": 0.5, "q75": 0.6, "low": 0.0, "high": 1.0, "n_seeds": 1, "n_probes": 1}


def test_lead_times_of_networks_of_different_pasts_are_drawn():
    rows = [
        {"model": model, "response_lead": a, "response_time": b, "perturbation_lead": c, "perturbation_time": d}
        for model, first in (("past", 2), ("now", 0))
        for a, b, c, d in itertools.product((1, 2), range(first, 5), (1, 2), range(first, 5))
    ]
    draw("leads", pd.DataFrame([row | QUARTILES for row in rows]), Options(models=["past", "now"]))


def test_windows_of_networks_of_different_pasts_are_drawn():
    rows = [
        {"response_class": a, "response_window": i, "perturbation_class": b, "perturbation_window": j, "model": model}
        for model, count in (("long", 3), ("short", 4))
        for a, i, b, j in itertools.product("AB", range(count), "AB", range(count))
    ]
    about = QUARTILES | {"measure": "kernel_transfer", "weights": "trained", "error": 0.1}
    draw("coupling_groups", pd.DataFrame([row | about for row in rows]), Options(models=["long", "short"]))


LAGS = np.abs(np.arange(-6, 7.0))


def test_no_factor_is_blamed_where_all_halve_at_lags_that_are_left_out():
    half, residuals, kernel = (half_life(curve, 2) for curve in (0.1**LAGS, 0.1**LAGS, 1 - 0.18 * LAGS))
    decay = verdict.Decay(signature.Estimate(half, half, half), residuals, kernel, 6)
    assert "the network keeps times apart" not in verdict.decayed(decay)


def test_influence_that_is_gone_at_the_first_lag_that_counts_is_not_called_coherent():
    half = half_life((LAGS == 0).astype(float), 2)
    transfer = signature.Estimate(0.5, 0.4, 0.6)
    assert signature.signature(signature.Estimate(half, half, half), transfer, 0.01, 0.1, 6)[0] != "coherent"


def test_no_lag_that_counts_is_not_told_as_zero_influence():
    none = signature.Estimate(*[half_life(np.ones(3), 2)] * 3)
    told = signature.signature(none, signature.Estimate(0.5, 0.4, 0.6), 0.01, 0.1, 1)[1]
    assert "is zero" not in told


def test_a_class_that_a_file_lists_twice_is_refused(tmp_path):
    path = tmp_path / "trained.json"
    path.write_text('{"A": "0-5", "A": [0]}')
    with pytest.raises(ValueError, match="A"):
        splits.read(path)


def test_another_loader_runs_adoption_again(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mynet.py").write_text("def build(): return 1\n")
    settings = json.loads('{"factory": "mynet:build", "loader": "myload:tensors"}')
    found = set()
    for number in (1, 2):
        (tmp_path / "myload.py").write_text(f"def tensors(path): return {number}\n")
        fingerprint.of_code.cache_clear()
        fingerprint._outline.cache_clear()
        found.add(fingerprint.of_stage("adopt", settings))
    assert len(found) == 2


class Told(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, states, labels):
        return states * self.scale + labels.float().sum(dim=-1)[:, None, None, None]


def test_labels_that_the_call_gives_are_those_the_network_gets():
    made = {"shape": (2, 8, 8), "seed": 0, "call": {"arguments": {"labels": [10.0, 20.0]}}}
    network = surrogate.build("test_review:Told", {}, **made)
    states, labels = torch.zeros(1, 1, 2, 8, 8), torch.tensor([[1, 3]])
    assert network(context.of(network, states, labels)).mean() == 30


def test_a_rollout_stands_beside_no_change_from_its_own_start():
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
