"""What the explorer reads is what was measured, within what its few bits can hold."""

import json
from base64 import b64decode
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from surroscope.tables import explorer

CLASSES, TIMES, CELLS = ("a", "b"), 4, 6


def unpacked(text: str, low: float, high: float, bits: int) -> np.ndarray:
    codes = np.frombuffer(b64decode(text), f"<u{bits // 8}").astype(float)
    top = 2**bits - 1
    return np.where(codes == top, np.nan, low + codes / (top - 1) * (high - low))


@pytest.mark.parametrize("bits", [8, 16])
def test_numbers_come_back_within_half_of_a_step(bits: int) -> None:
    values = np.array([-2.0, 3.0, 0.1, np.inf, np.nan, 1.7])
    found = unpacked(explorer.packed(values, -2.0, 3.0, bits), -2.0, 3.0, bits)
    assert np.isnan(found).tolist() == [False, False, False, True, True, False]
    whole = np.isfinite(values)
    assert np.abs(found[whole] - values[whole]).max() <= 5 / (2**bits - 2) / 2 * 1.0001
    assert unpacked(explorer.packed(np.full(3, 7.0), 7.0, 7.0, 8), 7.0, 7.0, 8).tolist() == [7.0] * 3


def measured(times: int = TIMES, seed: int = 0, units: int = 4) -> Any:
    draw = np.random.default_rng(seed)
    h = draw.normal(size=(units, len(CLASSES), times, len(CLASSES), times))
    seeds = np.repeat([10, 35], units // 2)
    return SimpleNamespace(standardised=h, seeds=seeds, classes=len(CLASSES), first=TIMES - times)


def kernel(m: Any, units: int = 2) -> Any:
    values = np.abs(m.standardised[:units])
    return SimpleNamespace(seeds=np.array([10, 35]), between_inputs=lambda name: values * (1 + len(name)))


def flight(seed: int) -> xr.Dataset:
    draw = np.random.default_rng(seed)
    shape = {"class": 2, "snapshot": TIMES + 2, "channel": 2, "y": CELLS, "x": CELLS}
    truth = draw.uniform(1, 2, size=tuple(shape.values()))
    prediction = truth + 0.1
    prediction[1, 3, 0, 0, 0] = np.inf
    error = np.full((3, 2, TIMES + 1, TIMES + 2), np.nan)
    for start in range(TIMES + 1):
        error[:, :, start, start + 1 :] = 0.1 * np.arange(1, TIMES + 2 - start)
    dims = ("probe", "class", "start", "snapshot")
    return xr.Dataset(
        {
            "truth": (tuple(shape), truth),
            "prediction": (tuple(shape), prediction),
            "error": (dims, error),
            "persistence": (dims, 2 * error),
        },
        coords={"channel": ["density", "energy"], "seconds": ("snapshot", np.arange(TIMES + 2) / 10)},
        attrs={"seed": seed, "epoch": 5},
    )


def explored(**models: Any) -> dict[str, Any]:
    flights = {name: [flight(10), flight(35)] for name in models}
    found = explorer.explored(models, flights, CLASSES)
    return json.loads(json.dumps(found, allow_nan=False))


def test_every_unit_of_every_measure_is_there() -> None:
    m = measured()
    found = explored(net={5: (m, kernel(m))})
    assert list(found["measures"]) == list(explorer.MEASURES)
    assert (found["classes"], found["first"], found["times"]) == (list(CLASSES), 0, TIMES)
    signed = found["models"]["net"]["5"]["influence"]
    assert signed["units"] == [[10, 0], [10, 1], [35, 0], [35, 1]]
    assert found["models"]["net"]["5"]["coupling"]["units"] == [[10, 0], [35, 0]]
    about = found["measures"]["influence"]
    values = unpacked(signed["data"], about["low"], about["high"], 16)
    assert values == pytest.approx(m.standardised.ravel(), abs=(about["high"] - about["low"]) / 65534 * 0.51)
    assert about["signed"]
    assert np.quantile(np.abs(values), 0.995) == pytest.approx(about["limit"], rel=1e-3)


def test_without_a_kernel_there_is_influence_alone() -> None:
    found = explored(net={0: (measured(), None)})
    assert list(found["measures"]) == list(found["models"]["net"]["0"]) == ["influence"]


def test_networks_of_different_pasts_are_shown_at_the_times_that_both_have() -> None:
    long, short = measured(), measured(TIMES - 2)
    found = explored(now={5: (long, None)}, past={5: (short, None)})
    assert (found["first"], found["times"]) == (2, TIMES - 2)
    about = found["measures"]["influence"]
    values = unpacked(found["models"]["now"]["5"]["influence"]["data"], about["low"], about["high"], 16)
    assert values == pytest.approx(long.standardised[:, :, 2:, :, 2:].ravel(), abs=1e-3)


def test_of_earlier_epochs_medians_are_kept_where_all_would_be_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    first, last = measured(seed=1), measured(seed=2)
    monkeypatch.setattr(explorer, "LARGEST", 100)
    found = explored(net={1: (first, None), 5: (last, None)})
    about, epochs = found["measures"]["influence"], found["models"]["net"]
    assert (epochs["1"]["influence"]["units"], len(epochs["5"]["influence"]["units"])) == ([], 4)
    assert (epochs["1"]["influence"]["pooled"], epochs["5"]["influence"]["pooled"]) == (4, 0)
    kept = unpacked(epochs["1"]["influence"]["data"], about["low"], about["high"], 16)
    assert kept == pytest.approx(np.median(first.standardised, axis=0).ravel(), abs=1e-3)


def test_fields_and_errors_of_rollouts() -> None:
    found = explored(net={5: (measured(), None)})
    fields, own = found["fields"], flight(10)
    assert fields["shape"] == [2, TIMES + 2, CELLS, CELLS]
    truth = unpacked(fields["truth"], fields["low"], fields["high"], 8)
    assert truth == pytest.approx(own["truth"].values[:, :, 0].ravel(), abs=1 / 254)
    apart = unpacked(fields["differences"]["net"], -fields["apart"], fields["apart"], 8)
    assert np.isnan(apart).sum() == 1
    assert apart[~np.isnan(apart)] == pytest.approx(0.1, abs=fields["apart"] / 127)
    errors = found["rollouts"]["net"]
    assert errors["error"][0][0] is None
    assert errors["error"][0][1:] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert errors["persistence"][1][1] == pytest.approx(0.2)


def test_responses_between_transitions_of_a_grid() -> None:
    moved = np.random.default_rng(3).normal(size=(4, 4, CELLS, CELLS))
    moved[0, 1] = 0
    grid = xr.Dataset(
        {"between": (("responds", "steps", "y", "x"), moved), "grid_time": ("responds", [0, 2, 0, 3])},
        coords={"grid_class": ("responds", ["a", "a", "b", "b"])},
        attrs={"model": "net", "seed": 10, "epoch": 5},
    )
    m = measured(TIMES - 1)
    found = explorer.explored({"net": {5: (m, None)}}, {"net": [flight(10)]}, CLASSES, [grid])["responses"]["net"]
    # Times before the first that the explorer has are left out.
    assert (m.first, found["transitions"]) == (1, [1, TIMES - 1 + 2])
    kept = moved[np.ix_([1, 3], [1, 3])]
    assert found["limits"] == pytest.approx(np.abs(kept).max(axis=(2, 3)), rel=6e-3)
    relative = unpacked(found["data"], -1, 1, 8).reshape(kept.shape)
    assert relative == pytest.approx(kept / np.abs(kept).max(axis=(2, 3), keepdims=True), abs=1 / 250)
