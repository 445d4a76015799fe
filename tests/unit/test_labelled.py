"""Labelled statistics against plain NumPy on the same numbers, and against the tables; what does not fit is said."""

import numpy as np
import pytest
import xarray as xr
from test_tables import CLASSES, labelled

import surroscope
from surroscope.errors import UserError
from surroscope.influence.matrices import responses_of
from surroscope.influence.responses import MATRIX
from surroscope.tables import influence

T = 3
SEEDS = (labelled(4, 7), labelled(1, 2), labelled(3, 5))


def h_of(solver: str = "subspace") -> xr.DataArray:
    """H of the error on itself, as `open_study` gives it: (seed, probe, *MATRIX)."""
    parts = [
        m["influence"].isel(response=0).sel(solver=solver).assign_coords(probe=[0, 1], seed=n)
        for n, m in enumerate(SEEDS)
    ]
    return xr.concat(parts, "seed")


def test_standardised_divides_every_row_by_its_own_standard_deviation_in_any_order_of_dimensions() -> None:
    h = h_of()
    found = surroscope.standardised(h.transpose(*MATRIX[2:], "seed", *MATRIX[:2], "probe"))
    assert found.dims == (*MATRIX[2:], "seed", *MATRIX[:2], "probe")
    for index in np.ndindex(3, 2, 2, T):
        row = h.values[index]
        expected = row / (np.sqrt(np.sum((row - row.mean()) ** 2) / (row.size - 1)) + 1e-6)
        labels = dict(zip(("seed", "probe", *MATRIX[:2]), index, strict=True))
        np.testing.assert_allclose(found.isel(labels).transpose(*MATRIX[2:]), expected, rtol=1e-12)
    assert found.attrs == {"long_name": "standardised influence", "units": "1"}
    missing = h.where(h["seed"] != 1)
    assert surroscope.standardised(missing).sel(seed=1).isnull().all()
    xr.testing.assert_equal(surroscope.standardised(missing).sel(seed=2), surroscope.standardised(h).sel(seed=2))


def test_lags_and_classes_are_medians_over_what_numpy_picks_one_by_one() -> None:
    h = surroscope.standardised(h_of())
    v = h.values
    lags = surroscope.by_lag(h)
    assert dict(lags.sizes) == {"relation": 2, "lag": 2 * T - 1}
    for lag in range(1 - T, T):
        for relation, same in (("intra-class", True), ("inter-class", False)):
            picked = [
                v[..., a, tau, b, tau - lag]
                for a, b in np.ndindex(2, 2)
                for tau in range(T)
                if (a == b) is same and 0 <= tau - lag < T
            ]
            at = lags.sel(relation=relation, lag=lag)
            expected = np.quantile(picked, (0.25, 0.5, 0.75))
            np.testing.assert_allclose([at["q25"], at["median"], at["q75"]], expected, rtol=1e-12)
            assert at["low"] <= at["median"] <= at["high"]
    matrix = surroscope.class_matrix(h)["median"]
    assert list(matrix["response_class"].values) == CLASSES
    for a, b in np.ndindex(2, 2):
        expected = np.median([v[..., a, t, b, t] for t in range(T)])
        assert matrix.sel(response_class=CLASSES[a], perturbation_class=CLASSES[b]) == pytest.approx(expected)
    assert matrix.attrs["long_name"] == "standardised influence"
    # Of one seed alone: its units are its own.
    alone = surroscope.class_matrix(h.sel(seed=1))["median"]
    assert alone[0, 1] == pytest.approx(np.median([v[1, :, 0, t, 1, t] for t in range(T)]))


def test_classes_and_times_are_matched_by_their_labels_on_either_side() -> None:
    h = surroscope.standardised(h_of())
    turned = h.isel(response_class=[1, 0], perturbation_time=[2, 0, 1])
    xr.testing.assert_allclose(surroscope.by_lag(turned), surroscope.by_lag(h))
    found = surroscope.class_matrix(turned)["median"]
    xr.testing.assert_allclose(
        found.sel(response_class=CLASSES, perturbation_class=CLASSES), surroscope.class_matrix(h)["median"]
    )
    with pytest.raises(UserError, match="h has response_time 0, 1 and perturbation_time 0, 1, 2; expected the same"):
        surroscope.by_lag(h.isel(response_time=[0, 1]))
    with pytest.raises(UserError, match=f"response_class {CLASSES[0]} and perturbation_class"):
        surroscope.class_matrix(h.isel(response_class=[0]))


def test_the_numbers_are_those_of_the_tables_bit_for_bit() -> None:
    chosen = [m.isel(solver=0).assign_attrs(seed=number) for number, m in enumerate(SEEDS)]
    tables = influence.of_model(chosen, "CE", "standard")
    assert responses_of(chosen[0])[0].observable == "smse"
    h = surroscope.standardised(h_of())
    for name, found in (("time_lag", surroscope.by_lag(h)), ("class_transfer", surroscope.class_matrix(h))):
        table = tables[name].query("observable == 'smse' and step == 'smse'").set_index(list(found.dims))
        for column in found:
            expected = table[column].reindex(found[column].to_series().index)
            np.testing.assert_array_equal(found[column].to_series(), expected)


def test_a_matrix_in_memory_has_its_classes_and_times_from_its_labels() -> None:
    h = h_of().isel(seed=0, probe=0)
    flat = xr.DataArray(
        h.values.reshape(6, 6),
        {f"{side}_{kind}": (side, values) for side in ("response", "perturbation") for kind, values in LABELS.items()},
        ("response", "perturbation"),
    )
    shuffled = flat.isel(response=[0, 5, 2, 3, 4, 1], perturbation=[0, 3, 1, 2, 5, 4])
    for statistic in (surroscope.by_lag, surroscope.class_matrix):
        xr.testing.assert_allclose(
            statistic(surroscope.standardised(shuffled)), statistic(surroscope.standardised(h.drop_vars("seed")))
        )
    several = xr.concat([flat, 2 * flat], "probe")
    expected = np.median([k * h.values[0, t, 1, t] for k in (1, 2) for t in range(T)])
    found = surroscope.class_matrix(several)["median"].sel(response_class="a", perturbation_class="b")
    assert found == pytest.approx(expected)
    with pytest.raises(UserError, match=r"two samples are of one class at one time.*xarray\.concat"):
        surroscope.by_lag(xr.concat([flat, flat], "response"))
    with pytest.raises(UserError, match="no response_time, perturbation_time; give influence_matrix labels="):
        surroscope.by_lag(flat.drop_vars(["response_time", "perturbation_time"]))
    with pytest.raises(UserError, match="expected a number for every class at every time"):
        surroscope.by_lag(flat.isel(response=[0, 1, 2, 3]))


LABELS = {"class": list("aaabbb"), "time": [0, 1, 2] * 2}


def test_what_cannot_be_pooled_or_scaled_is_said() -> None:
    h = h_of()
    with pytest.raises(UserError, match=r"h has 2 of solver; .*h\.sel\(solver=\.\.\.\)"):
        surroscope.by_lag(xr.concat([h, h_of("cosine")], "solver"))
    with pytest.raises(UserError, match="without response_time, perturbation_class, perturbation_time; expected those"):
        surroscope.standardised(h.isel(response_time=0, perturbation_class=0, perturbation_time=0))
    with pytest.raises(UserError, match="NaN throughout"):
        surroscope.class_matrix(h.where(False))
    with pytest.raises(UserError, match="not finite"):
        surroscope.standardised(h.where(h["response_time"] != 1))
    with pytest.raises(UserError, match="row 0 has no variance"):
        surroscope.standardised(xr.ones_like(h))
