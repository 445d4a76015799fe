"""From Gram matrices to the tables: labels, orientation and pooling, on data whose answer is known."""

import json
import warnings
from dataclasses import replace
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from test_scalar_tables import history, measured
from torch import nn

from surroscope.diagnostics import correlation, scalars
from surroscope.diagnostics.rollout import errors
from surroscope.errors import UserError
from surroscope.influence.compute import Rules
from surroscope.influence.matrices import label
from surroscope.influence.normalize import standard
from surroscope.influence.responses import MATRIX, Grams, Response, Responses
from surroscope.influence.solvers import SOLVERS
from surroscope.report.draw import draw
from surroscope.tables import influence, rollouts

CLASSES, TIMES, PARAMETERS, OUTPUTS = ["a", "b"], np.arange(3), 40, 30
SAMPLES = len(CLASSES) * len(TIMES)
RESPONSES = [Response("smse"), Response("mass"), Response("energy"), Response("smse", "mass")]
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
    rows = Responses([Response("mass"), Response("smse", "energy"), Response("enstrophy"), Response("mass", "smse")])
    assert rows.names == ["smse", "energy", "mass", "enstrophy"]
    assert rows.perturbations == 2
    assert rows.place("enstrophy", 5).tolist() == [15, 16, 17, 18, 19]


@pytest.mark.parametrize("span", ["perturbation", "joint"])
@pytest.mark.parametrize(("response", "of", "on"), [(1, 1, 0), (2, 2, 0), (3, 0, 1)])
def test_the_response_is_in_the_rows_and_the_step_in_the_columns(span: str, response: int, of: int, on: int) -> None:
    _, g, j = grams(4)
    part = {number: g[number * SAMPLES : (number + 1) * SAMPLES] for number in range(3)}
    basis = part[on] if span == "perturbation" else np.concatenate([part[on], part[of]])
    q = np.linalg.qr(basis.T)[0]
    metric = q.T @ (j.T @ j / OUTPUTS) @ q + RULES.damping * np.eye(q.shape[1])
    expected = (part[of] @ q) @ np.linalg.solve(metric, (part[on] @ q).T)
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
    relative = Rules("perturbation", 1e-4, 1e-3, "relative")
    assert relative.absolute(made, SAMPLES) == pytest.approx(1e-3 * largest)


def test_baselines_are_products_of_gradients() -> None:
    made, g, _ = grams(2)
    j, i = np.arange(SAMPLES), np.arange(SAMPLES, 2 * SAMPLES)
    assert np.allclose(SOLVERS["euclidean"].solve(made, j, i), g[j] @ g[i].T)
    units = g / np.linalg.norm(g, axis=1, keepdims=True)
    assert np.allclose(SOLVERS["cosine"].solve(made, j, i), units[j] @ units[i].T)
    scale = np.random.default_rng(3).uniform(1, 2, PARAMETERS)
    adam = Grams(made.k, made.b, (g / scale) @ g.T)
    assert np.allclose(SOLVERS["adam"].solve(adam, j, i), (g[j] / scale) @ g[i].T)
    with pytest.raises(ValueError, match="no second moments"):
        SOLVERS["adam"].solve(made, j, i)


def table_of(matrices: list[xr.Dataset], name: str, normalization: str = "standard") -> pd.DataFrame:
    chosen = [matrix.isel(solver=0).assign_attrs(seed=number) for number, matrix in enumerate(matrices)]
    return influence.of_model(chosen, "CE", normalization)[name]


def test_the_two_time_table_holds_the_medians_of_the_standardised_matrices() -> None:
    matrices = [labelled(4, 7), labelled(1, 2)]
    table = table_of(matrices, "two_time")
    assert set(table["quantity"]) == {"span"}
    table = table.set_index(["observable", "step", "perturbation_time", "response_time"])["median"]
    for observable, step, number in (("mass", "smse", 1), ("smse", "mass", 3)):
        raw = np.concatenate([m["influence"].isel(response=number, solver=0).values for m in matrices])
        h = standard(raw.reshape(4, SAMPLES, SAMPLES)).reshape(raw.shape)
        expected = np.median([h[n, c, 2, c, 1] for n in range(4) for c in range(2)])
        assert table[observable, step, 1, 2] == pytest.approx(expected)


def test_another_normalisation_is_of_the_cost_on_itself_alone() -> None:
    matrices = [labelled(4)]
    plain, cosine = (table_of(matrices, "two_time", name).set_index("observable") for name in ("standard", "cosine"))
    assert not np.allclose(plain.loc["smse", "median"], cosine.loc["smse", "median"])
    assert np.allclose(plain.loc["mass", "median"], cosine.loc["mass", "median"])


@pytest.mark.parametrize("normalization", ["standard", "cosine", "row", "column"])
def test_a_transition_without_gradient_leaves_tables_of_finite_numbers(normalization: str) -> None:
    matrices = [labelled(4), labelled(1)]
    for at in ({"response_class": 1, "response_time": 2}, {"perturbation_class": 1, "perturbation_time": 2}):
        matrices[0]["influence"][at] = 0.0
    for name in ("two_time", "class_transfer", "time_lag", "interpolation"):
        table = table_of(matrices, name, normalization)
        assert np.isfinite(table["median"]).all(), name


def test_an_observable_without_gradient_is_named() -> None:
    dataset = labelled(4)
    dataset["influence"][{"response": 1}] = 0.0
    with pytest.raises(UserError, match=r"net, observable mass: .*systems\.CE\.observables"):
        table_of([dataset], "two_time")


class Unstable(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 1e25


def flight(network: nn.Module) -> np.ndarray:
    """Errors of rollouts of one unit (1, classes, starts, snapshots)."""
    states = torch.rand(2, 21, 1, 4, 4, generator=torch.Generator().manual_seed(0)) + 1
    return errors(network, states)[0].numpy()[None]


def test_a_rollout_that_blows_up_is_tabled_as_infinite_and_drawn() -> None:
    both = np.concatenate([flight(nn.Identity()), flight(Unstable())])
    table = rollouts.rollout(both, np.array([1, 2]), 0)
    late = table[(table.start == 0) & (table.snapshot == 20)].iloc[0]
    assert np.isfinite(late.q25)
    assert np.isinf(late.q75)
    counts = {"n_seeds": 2, "n_probes": 1}
    frames = [table.assign(model=model, **counts) for model in ("net", "persistence")]
    assert draw("rollout", pd.concat(frames, ignore_index=True)).axes


def test_a_class_at_rest_is_tabled_as_zero_and_drawn() -> None:
    """Predicting no change is then without error, which no logarithmic axis shows."""
    errors = flight(nn.Identity())
    counts = {"n_seeds": 1, "n_probes": 1}
    tables = [
        rollouts.rollout(e, np.array([1]), 0).assign(**counts)
        for e in (errors, errors * np.array([0, 1])[:, None, None])
    ]
    at_rest = pd.concat([tables[0].assign(model="net"), tables[1].assign(model="persistence")], ignore_index=True)
    assert (at_rest.loc[at_rest["model"] == "persistence", "q25"] < at_rest["median"].max()).all()
    both = replace(measured(), error=np.zeros((6, 3, 6, 7)), persistence=np.zeros((6, 3, 6, 7)))
    still = rollouts.rollout(both.persistence, both.seeds, 0).assign(model="net", **counts)
    assert (still[["q25", "median", "q75", "low", "high"]] == 0).all(axis=None)
    rows = rollouts.training(history().assign(persistence=0.0)).assign(model="net")
    eigenvalues = influence.spectrum({5: replace(both, eigenvalue=np.array([[2.0, 1.0, 0.0, 0.0]] * 6))}).assign(
        model="net"
    )
    for name, table in (("rollout", at_rest), ("rollout", still), ("training", rows), ("spectrum", eigenvalues)):
        drawn = draw(name, table.assign(n_seeds=3, n_probes=2))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            drawn.savefig(BytesIO(), format="png")
            assert drawn.axes[0].get_ylim()[0] > 0


def test_cumulative_error_is_the_sum_over_the_steps_so_far() -> None:
    made = flight(nn.Identity())
    table = rollouts.rollout(made, np.array([1]), 0).set_index(["start", "snapshot"])["median"]
    assert table[3, 6] == pytest.approx(np.median(made[0, :, 3, 4:7].sum(-1)))


def test_the_histogram_holds_all_pairs_in_its_range_and_none_of_a_transition_on_itself() -> None:
    m = measured()
    table = influence.histogram(m)
    for relation, part in table.groupby("relation"):
        share = (part["density"] * (part["to"] - part["from"])).sum()
        assert 0.95 < share <= 1, relation
    size = m.standardised.shape[1] * m.standardised.shape[2]
    own = np.broadcast_to(np.eye(size).reshape(m.standardised.shape[1:]), m.standardised.shape)
    alone = influence.histogram(replace(m, standardised=own))
    assert np.isfinite(alone["density"]).all()
    assert (alone.loc[alone["density"] > 0, "from"] <= 0).all()


def test_zero_gradients_are_of_every_observable_once_and_none_in_stores_without_them() -> None:
    matrices = [labelled(4, 7).assign_attrs(seed=1), labelled(1, 2).assign_attrs(seed=2)]
    counts = np.arange(len(RESPONSES) * 2).reshape(-1, 2)
    counted = [matrix.assign(zero_gradients=(("response", "probe"), counts)) for matrix in matrices]
    assert influence.zero_gradients(counted, RESPONSES).tolist() == 2 * counts[:3].T.tolist()
    bare = [matrix.drop_vars("zero_gradients", errors="ignore") for matrix in matrices]
    assert influence.zero_gradients(bare, RESPONSES).tolist() == [[0, 0, 0]] * 4


@pytest.mark.parametrize("sign", [-1, 1])
def test_correlation_with_the_rollout_error_is_found_at_every_horizon(sign: int) -> None:
    m = measured(probes=8)
    ratio = scalars.off_diagonal_ratio(m.influence)
    error = 10 + sign * np.broadcast_to(ratio[:, :, None, None], m.error.shape)
    table = rollouts.rollout_correlation(replace(m, error=error), "CE", "vit")
    assert table["horizon"].tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(table["value"], sign, atol=1e-6)
    noise = rollouts.rollout_correlation(m, "CE", "vit")
    assert (noise["low"] < noise["value"]).all()
    assert (noise["value"] < noise["high"]).all()
    assert (noise["low"] < 0).any()
    assert noise["published"].tolist()[0] == -0.65
    assert noise["n_points"].unique().tolist() == [24 * 3]


def test_classes_that_differ_are_told_from_a_correlation_within_classes() -> None:
    """R and the rollout error differ between classes, the other way round than within each of them."""
    m = measured(probes=8)
    apart = 10 * np.einsum("a,ab,ts->atbs", np.arange(3), np.eye(3), 1 - np.eye(4))
    m = replace(m, influence=m.influence + apart)
    ratio = scalars.off_diagonal_ratio(m.influence)
    error = ratio - 5 * ratio.mean(axis=0) + m.error[:, :, 0, 1]
    error = np.broadcast_to(error[:, :, None, None], m.error.shape)
    table = rollouts.rollout_correlation(replace(m, error=error), "CE", "vit")
    assert (table["value"] < -0.9).all()
    assert (table["within"] > 0.5).all()
    assert (table["within_low"] < table["within"]).all()
    assert (table["within"] < table["within_high"]).all()


def test_copies_of_one_point_have_no_correlation_within_classes() -> None:
    x, y = np.array([[0.1, 0.7]] * 3), np.array([[0.3, 1e30]] * 3)
    assert np.isnan(correlation.within(x, y))
    assert np.isnan(correlation.within(np.full((3, 2), np.inf), y))
    assert correlation.within(np.array([[1.0, 5], [2, np.inf], [3, 6]]), np.array([[2.0, 9], [4, 1], [6, 9.5]])) > 0.9


def test_a_rollout_that_blew_up_is_left_out_of_the_correlation_and_counted_so() -> None:
    m = measured(probes=8)
    error = m.error.copy()
    error[0, 0] = np.inf
    table = rollouts.rollout_correlation(replace(m, error=error), "NS", "none")
    assert table["n_points"].unique().tolist() == [24 * 3 - 1]
    assert table[["value", "low", "high", "within", "within_low", "within_high"]].notna().all(axis=None)
    assert table["published"].isna().all()


def test_a_small_study_shows_large_fields_by_some_of_their_cells() -> None:
    shape = (2, 3, 1, 130, 70)
    flight = xr.Dataset(
        {name: (("class", "snapshot", "channel", "y", "x"), np.zeros(shape)) for name in ("truth", "prediction")},
        coords={"class": ["a", "b"], "channel": ["u"], "seconds": ("snapshot", np.arange(3.0))},
    )
    table = rollouts.rollout_fields(flight, 0)
    assert len(table) == 3 * 44 * 24  # every third
    assert (table["y"].max(), table["x"].max()) == (129, 69)
    assert set(table["class"]) == {"a"}
