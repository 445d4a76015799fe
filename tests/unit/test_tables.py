"""From Gram matrices to the tables: labels, orientation and pooling, on data whose answer is known."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from torch import nn

from surroscope.diagnostics.rollout import errors
from surroscope.errors import UserError
from surroscope.plots.draw import draw
from surroscope.response.labelled import MATRIX, Grams, Rules, baseline, label
from surroscope.response.normalize import standard
from surroscope.response.rows import Response, Rows
from surroscope.stages import tables

CLASSES, TIMES, PARAMETERS, OUTPUTS = ["a", "b"], np.arange(3), 40, 30
SAMPLES = len(CLASSES) * len(TIMES)
RESPONSES = [Response("smse"), Response("mass"), Response("smse", action="r"), Response("smse", "mass")]
RULES = Rules("joint", discarded_share=0.0, damping=1e-6, damping_scale="absolute")


def grams(probe: int) -> tuple[Grams, np.ndarray, np.ndarray]:
    """Random gradients of three kinds and a random Jacobian: the Grams, the gradients and J."""
    draw = np.random.default_rng(probe)
    g = draw.normal(size=(3 * SAMPLES, PARAMETERS))
    j = draw.normal(size=(OUTPUTS, PARAMETERS))
    t = g @ j.T
    return Grams(g @ g.T, t @ t.T / OUTPUTS), g, j


def labelled(*numbers: int, rules: Rules = RULES) -> xr.Dataset:
    made = [grams(number)[0] for number in numbers]
    dataset = label(
        made, responses=RESPONSES, solvers=["subspace", "cosine"], shape=(len(CLASSES), len(TIMES)), rules=rules
    )
    names = {"solver": ["subspace", "cosine"], "probe": list(numbers)}
    names |= {f"{kind}_class": CLASSES for kind in ("response", "perturbation")}
    names |= {f"{kind}_time": TIMES for kind in ("response", "perturbation")}
    distance = np.random.default_rng(0).uniform(size=(len(numbers), SAMPLES, SAMPLES))
    dataset["distance"] = (("probe", *MATRIX), distance.reshape(-1, *(len(CLASSES), len(TIMES)) * 2))
    responses = json.dumps([vars(response) for response in RESPONSES])
    return dataset.assign_coords(names).assign_attrs(model="net", epoch=1, responses=responses)


def test_rows_hold_every_gradient_once_those_of_steps_first() -> None:
    rows = Rows([Response("mass"), Response("smse", "energy"), Response("smse", action="r"), Response("mass", "smse")])
    assert rows.names == [("smse", "e"), ("energy", "e"), ("mass", "e"), ("smse", "r")]
    assert rows.kets == 2
    assert rows.place("smse", "r", 5).tolist() == [15, 16, 17, 18, 19]


@pytest.mark.parametrize("span", ["ket", "joint"])
@pytest.mark.parametrize(("response", "bra", "ket"), [(1, 1, 0), (2, 2, 0), (3, 0, 1)])
def test_the_response_is_in_the_rows_and_the_step_in_the_columns(span: str, response: int, bra: int, ket: int) -> None:
    _, g, j = grams(4)
    part = {number: g[number * SAMPLES : (number + 1) * SAMPLES] for number in range(3)}
    basis = part[ket] if span == "ket" else np.concatenate([part[ket], part[bra]])
    q = np.linalg.qr(basis.T)[0]
    metric = q.T @ (j.T @ j / OUTPUTS) @ q + RULES.damping * np.eye(q.shape[1])
    expected = (part[bra] @ q) @ np.linalg.solve(metric, (part[ket] @ q).T)
    rules = Rules(span, 0.0, RULES.damping, "absolute")
    found = labelled(4, rules=rules)["influence"].isel(response=response).sel(solver="subspace", probe=4)
    for row, column in np.ndindex(SAMPLES, SAMPLES):
        (a, tau), (b, t) = divmod(row, 3), divmod(column, 3)
        entry = found.sel(
            response_class=CLASSES[a], perturbation_class=CLASSES[b], response_time=tau, perturbation_time=t
        )
        assert entry.item() == pytest.approx(expected[row, column], rel=1e-6)
    assert not np.allclose(expected, expected.T)


def test_relative_damping_is_a_multiple_of_the_largest_eigenvalue_in_the_cost_s_span() -> None:
    made, g, j = grams(1)
    q = np.linalg.qr(g[:SAMPLES].T)[0]
    largest = np.linalg.eigvalsh(q.T @ (j.T @ j / OUTPUTS) @ q)[-1]
    relative = Rules("ket", 1e-4, 1e-3, "relative")
    assert relative.absolute(made, SAMPLES) == pytest.approx(1e-3 * largest)


def test_baselines_are_products_of_gradients() -> None:
    made, g, _ = grams(2)
    bra, ket = np.arange(SAMPLES), np.arange(SAMPLES, 2 * SAMPLES)
    assert np.allclose(baseline("euclidean", made, bra, ket), g[bra] @ g[ket].T)
    units = g / np.linalg.norm(g, axis=1, keepdims=True)
    assert np.allclose(baseline("cosine", made, bra, ket), units[bra] @ units[ket].T)
    scale = np.random.default_rng(3).uniform(1, 2, PARAMETERS)
    adam = Grams(made.k, made.b, (g / scale) @ g.T)
    assert np.allclose(baseline("adam", adam, bra, ket), (g[bra] / scale) @ g[ket].T)
    with pytest.raises(ValueError, match="no second moments"):
        baseline("adam", made, bra, ket)


def table_of(matrices: list[xr.Dataset], name: str, normalization: str = "standard") -> pd.DataFrame:
    chosen = [matrix.isel(solver=0) for matrix in matrices]
    return tables.influence_tables(chosen, "CE", normalization)[name]


def test_the_two_time_table_holds_the_medians_of_the_standardised_matrices() -> None:
    matrices = [labelled(4, 7), labelled(1)]
    table = table_of(matrices, "two_time")
    assert set(table["quantity"]) == {"span"}
    table = table.set_index(["observable", "step", "perturbation_time", "response_time"])["median"]
    for observable, step, number in (("mass", "smse", 1), ("smse", "mass", 3)):
        raw = np.concatenate([m["influence"].isel(response=number, solver=0).values for m in matrices])
        h = standard(raw.reshape(3, SAMPLES, SAMPLES)).reshape(raw.shape)
        expected = np.median([h[n, c, 2, c, 1] for n in range(3) for c in range(2)])
        assert table[observable, step, 1, 2] == pytest.approx(expected)


def test_a_sample_s_influence_on_its_image_is_the_diagonal_of_that_response() -> None:
    matrices = [labelled(4), labelled(1)]
    table = table_of(matrices, "symmetry").set_index("action")
    raw = np.concatenate([m["influence"].isel(response=2, solver=0).values for m in matrices])
    h = standard(raw.reshape(2, SAMPLES, SAMPLES))
    assert table.loc["r", "median"] == pytest.approx(np.median([np.diag(matrix) for matrix in h]))
    assert set(table.index) == {"e", "r"}


def test_another_normalisation_is_of_the_cost_on_itself_alone() -> None:
    matrices = [labelled(4)]
    plain, cosine = (table_of(matrices, "two_time", name).set_index("observable") for name in ("standard", "cosine"))
    assert not np.allclose(plain.loc["smse", "median"], cosine.loc["smse", "median"])
    assert np.allclose(plain.loc["mass", "median"], cosine.loc["mass", "median"])


def test_an_observable_without_gradient_is_named() -> None:
    dataset = labelled(4)
    dataset["influence"][{"response": 1}] = 0.0
    with pytest.raises(UserError, match=r"net, observable mass: .*systems\.CE\.observables"):
        table_of([dataset], "two_time")


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
