"""From Gram matrices to the tables: labels, orientation and pooling, on data whose answer is known."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from torch import nn

from surroscope.diagnostics.rollout import errors
from surroscope.errors import UserError
from surroscope.plots.draw import draw
from surroscope.response.labelled import ProbeGrams, label
from surroscope.response.standardize import standardize
from surroscope.stages import tables

CLASSES, TIMES, PARAMETERS, OUTPUTS = ["a", "b"], np.arange(3), 40, 30
SAMPLES = len(CLASSES) * len(TIMES)
RULES = {"discarded_share": 0.0, "damping": 1e-6}


def grams(probe: int) -> tuple[ProbeGrams, np.ndarray, np.ndarray]:
    """Random gradients of two observables and a random Jacobian: the Grams, the gradients and J."""
    draw = np.random.default_rng(probe)
    g = draw.normal(size=(2 * SAMPLES, PARAMETERS))
    j = draw.normal(size=(OUTPUTS, PARAMETERS))
    t = g @ j.T
    return ProbeGrams(probe, g @ g.T, t @ t.T, draw.uniform(size=(SAMPLES, SAMPLES))), g, j


def labelled(*numbers: int) -> xr.Dataset:
    made = [grams(number)[0] for number in numbers]
    dataset = label(made, observables=["smse", "mass"], classes=CLASSES, times=TIMES, outputs=OUTPUTS, **RULES)
    names = {"observable": ["smse", "mass"], "response_class": CLASSES, "perturbation_class": CLASSES}
    return dataset.assign_coords(names).assign_attrs(model="net", epoch=1)


def test_the_mass_block_has_the_response_in_its_rows() -> None:
    _, g, j = grams(4)
    cost, mass = g[:SAMPLES], g[SAMPLES:]
    q = np.linalg.qr(g.T)[0]
    metric = q.T @ (j.T @ j / OUTPUTS) @ q + RULES["damping"] * np.eye(q.shape[1])
    expected = (mass @ q) @ np.linalg.solve(metric, (cost @ q).T)
    found = labelled(4)["influence"].sel(observable="mass", probe=4)
    for row, column in np.ndindex(SAMPLES, SAMPLES):
        (a, tau), (b, t) = divmod(row, 3), divmod(column, 3)
        entry = found.sel(
            response_class=CLASSES[a], perturbation_class=CLASSES[b], response_time=tau, perturbation_time=t
        )
        assert entry.item() == pytest.approx(expected[row, column], rel=1e-6)
    assert not np.allclose(expected, expected.T)


def test_probes_are_labelled_whatever_their_order() -> None:
    xr.testing.assert_identical(labelled(4, 7), labelled(7, 4))


def test_the_two_time_table_holds_the_medians_of_the_standardised_matrices() -> None:
    matrices = [labelled(4, 7), labelled(1)]
    table = pd.concat(tables.influence_tables(matrices, "CE")["two_time"])
    table = table.set_index(["observable", "perturbation_time", "response_time"])["median"]
    raw = np.concatenate([m["influence"].sel(observable="mass").values for m in matrices])
    h = standardize(raw.reshape(3, SAMPLES, SAMPLES)).reshape(raw.shape)
    expected = np.median([h[n, c, 2, c, 1] for n in range(3) for c in range(2)])
    assert table["mass", 1, 2] == pytest.approx(expected)


def test_an_observable_without_gradient_is_named() -> None:
    dataset = labelled(4)
    dataset["influence"].loc[{"observable": "mass"}] = 0.0
    with pytest.raises(UserError, match=r"net, observable mass: .*systems\.CE\.observables"):
        tables.influence_tables([dataset], "CE")


class Unstable(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 1e25


def flight(network: nn.Module) -> xr.Dataset:
    states = torch.rand(2, 21, 1, 4, 4, generator=torch.Generator().manual_seed(0)) + 1
    surrogate, persistence = (part.reshape(2, 1, 20, 21).numpy() for part in errors(network, states))
    lead = ("class", "probe", "start", "snapshot")
    return xr.Dataset({"error": (lead, surrogate), "persistence": (lead, persistence)})


def test_a_rollout_that_blows_up_is_tabled_as_infinite_and_drawn() -> None:
    flights = [flight(nn.Identity()), flight(Unstable())]
    table = tables.rollout(flights, "error")
    late = table[(table.start == 0) & (table.snapshot == 20)].iloc[0]
    assert np.isfinite(late.q25)
    assert np.isinf(late.q75)
    frames = [tables.labelled(table, "net", {"n_seeds": 2, "n_probes": 1})]
    frames.append(
        tables.labelled(tables.rollout(flights[:1], "persistence"), "persistence", {"n_seeds": 1, "n_probes": 1})
    )
    assert draw("rollout", pd.concat(frames, ignore_index=True)).axes


def test_cumulative_error_is_the_sum_over_the_steps_so_far() -> None:
    made = flight(nn.Identity())
    table = tables.rollout([made], "error").set_index(["start", "snapshot"])["median"]
    expected = np.median(made["error"].values[:, 0, 3, 4:7].sum(-1))
    assert table[3, 6] == pytest.approx(expected)
