"""Which measure orders networks of known sharing: areas and curves beside counting, and tables of made-up networks."""

import json
from itertools import product

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from test_project import ROOT

from surroscope.config.jobs import settings
from surroscope.config.study import check
from surroscope.diagnostics import dial
from surroscope.errors import UserError
from surroscope.influence.responses import MATRIX
from surroscope.tables.dial import tables

INF = np.inf
CASES = [
    ([1.0, 2.0, 3.0, 4.0], [False, False, True, True]),
    ([1.0, 1.0, 1.0], [False, True, True]),
    ([3.0, INF, INF, 0.5, 0.5, -INF], [True, False, True, False, True, False]),
    (np.random.default_rng(0).integers(0, 5, 40).astype(float), np.random.default_rng(1).uniform(size=40) > 0.4),
]


@pytest.mark.parametrize(("scores", "positive"), CASES)
def test_the_area_is_the_chance_of_the_right_order(scores: list[float], positive: list[bool]) -> None:
    pairs = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for (a, is_a), (b, is_b) in product(zip(scores, positive, strict=True), repeat=2)
        if is_a and not is_b
    ]
    assert dial.auc(np.array(scores), np.array(positive)) == pytest.approx(np.mean(pairs), abs=1e-15)


@pytest.mark.parametrize(("scores", "positive"), CASES)
def test_the_curve_counts_and_has_that_area(scores: list[float], positive: list[bool]) -> None:
    values, chosen = np.array(scores), np.array(positive)
    thresholds, false, true = dial.roc(values, chosen)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true, false) == pytest.approx(dial.auc(values, chosen), abs=1e-15)
    for at, x, y in zip(thresholds[1:], false[1:], true[1:], strict=True):
        assert x == sum(s >= at for s, p in zip(values, chosen, strict=True) if not p) / (~chosen).sum()
        assert y == sum(s >= at for s, p in zip(values, chosen, strict=True) if p) / chosen.sum()


def test_order_leaves_out_networks_without_a_score_and_has_none_without_both_kinds() -> None:
    shares = np.array([0.0, 0.25, 0.5, 1.0])
    found = dial.ordering(np.array([1.0, np.nan, 3.0, 2.0]), shares)
    assert found == {"auc": 1.0, "auc_extremes": 1.0, "spearman": pytest.approx(0.5), "n": 3}
    assert np.isnan(dial.ordering(np.ones(4), shares)["spearman"])
    assert np.isnan(dial.ordering(np.arange(2.0), np.array([0.5, 1.0]))["auc"])


def test_centred_influence_adds_up_to_nothing_in_each_row() -> None:
    h = np.random.default_rng(0).normal(size=(2, 5, 5))
    assert np.abs(dial.centred(h).sum(axis=-1)).max() < 1e-14
    # What all perturbations do alike to a response is what is taken off.
    assert np.allclose(dial.centred(h + np.arange(5.0)[:, None]), dial.centred(h))


CLASSES, TIMES = 2, 10


def checkpoint(model: str, epoch: int, share: float, scale: float) -> xr.Dataset:
    """Influence that is 1 at a sample itself, and `share` between any two."""
    n = CLASSES * TIMES
    random = np.random.default_rng(epoch)
    noise = 1e-3 * random.normal(size=(2, 1, 2, n, n))
    h = scale * (share + (1 - share) * np.eye(n) + noise + noise.swapaxes(-1, -2))
    shape = (2, 1, 2, CLASSES, TIMES, CLASSES, TIMES)
    return xr.Dataset(
        {"influence": (("solver", "response", "probe", *MATRIX), h.reshape(shape))},
        coords={"solver": ["subspace", "euclidean"]},
        attrs={"model": model, "seed": 10, "epoch": epoch}
        | {"responses": json.dumps([{"observable": "smse", "step": "smse"}])},
    )


SHARES = {"none": 0.0, "some": 0.25, "most": 0.75, "all": 1.0}


def made() -> dict[str, pd.DataFrame]:
    matrices = [checkpoint(m, e, s, 1 / e) for m, s in (SHARES | {"unknown": 0.5}).items() for e in (1, 3)]
    rows = [
        {"model": m.attrs["model"], "quantity": "span", "seed": 10, "epoch": m.attrs["epoch"], "n_probes": 2}
        | {"rank": 9 - 8 * SHARES.get(m.attrs["model"], 0.5), "missing": np.nan}
        for m in matrices
    ]
    return tables(matrices, pd.DataFrame(rows), {name: {"class": share} for name, share in SHARES.items()})


def test_every_measure_of_every_matrix_is_set_beside_what_is_known() -> None:
    found = made()
    measures, orders = found["dial_measures"], found["dial"]
    assert set(measures["model"]) == set(SHARES)
    assert set(measures["kind"]) == {"class"}
    assert not measures.duplicated(["model", "kind", "metric", "normalization", "measure", "seed", "epoch"]).any()
    assert set(measures["normalization"]) == {*dial.TREATMENTS, "checkpoint"}
    of = measures[(measures["metric"] == "euclidean") & (measures["normalization"] == "none")]
    transfer = of[of["measure"] == "class_transfer_ratio"].set_index(["model", "epoch"])["value"]
    assert all(transfer[m, e] == pytest.approx(s, abs=0.01) for m, s in SHARES.items() for e in (1, 3))
    best = orders[(orders["measure"] == "class_transfer_ratio") & (orders["normalization"] == "none")]
    assert set(best["epoch"]) == {"1", "3", "all"}
    assert (best[["auc", "auc_extremes"]] == 1).all(axis=None)
    assert (best["spearman"] > 0.97).all()
    assert set(best.set_index("epoch")["n"].items()) == {("1", 4), ("3", 4), ("all", 8)}
    # Fewer directions where more is shared: the direction says so, and the order is right.
    rank = orders[orders["measure"] == "rank"]
    assert (rank["direction"] == -1).all()
    assert (rank["auc"] == 1).all()
    assert (orders[orders["measure"] == "missing"]["n"] == 0).all()


def test_the_curves_are_of_all_epochs_in_the_measure_s_own_unit() -> None:
    curves = made()["dial_roc"]
    rank = curves[curves["measure"] == "rank"]
    assert rank["threshold"].tolist() == [-INF, 1, 3, 7, 9]
    assert rank["true_positive"].tolist() == [0, 0.5, 1, 1, 1]
    assert rank["false_positive"].tolist() == [0, 0, 0, 0.5, 1]


def config() -> dict:
    return yaml.safe_load((ROOT / "workflow/presets/dial.yaml").read_text())


def test_what_a_network_is_known_to_share_is_read_by_tables_alone() -> None:
    other = config()
    del other["systems"]["AD"]["models"]["one"]["shares"]
    first, second = (check(values, "dial.yaml") for values in (config(), other))
    where = {"system": "AD", "model": "one", "seed": "10"}
    assert settings(first, "train", **where) == settings(second, "train", **where)
    at = where | {"epoch": "80"}
    assert settings(first, "evaluate", **at) == settings(second, "evaluate", **at)
    known, less = (json.loads(settings(study, "tables", system="AD"))["shares"] for study in (first, second))
    assert known.pop("one") == {"class": 1.0, "time": 1.0}
    assert known == less
    for model in other["systems"]["AD"]["models"].values():
        model.pop("shares", None)
    assert "dial" in first.parts("AD")
    assert "dial" not in check(other, "dial.yaml").parts("AD")


def test_what_cannot_be_ordered_has_no_tables() -> None:
    """One network that shares little, as it is planted among ways of training, is no dial."""
    values = config()
    for name, model in values["systems"]["AD"]["models"].items():
        model["shares"] = {"class": 1, "time": 0} if name == "by_time" else None
    assert "dial" not in check(values, "dial.yaml").parts("AD")
    values["systems"]["AD"]["models"]["one"]["shares"] = {"time": 1}
    assert "dial" in check(values, "dial.yaml").parts("AD")


@pytest.mark.parametrize(("shares", "found"), [({"class": 1.5}, "1.5"), ({"place": 1}, "'class' or 'time'")])
def test_shares_that_cannot_be_are_refused(shares: dict[str, float], found: str) -> None:
    values = config()
    values["systems"]["AD"]["models"]["one"]["shares"] = shares
    with pytest.raises(UserError, match=r"models\.one\.shares") as error:
        check(values, "dial.yaml")
    assert found in str(error.value)


def test_the_published_data_have_no_linear_system() -> None:
    values = config()
    values["data"] = {"dataset": "published", "source": "pdegym", "size": 16}
    with pytest.raises(UserError, match="is pdegym, but systems holds 'AD'; choose from CE, NS"):
        check(values, "dial.yaml")
