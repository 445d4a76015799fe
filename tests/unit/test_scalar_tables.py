"""Numbers that sum a network up: of its seeds alone and of all, their differences, and where the verdict stands."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from surroscope.diagnostics import scalars
from surroscope.diagnostics.coupling import Coupled
from surroscope.diagnostics.scalars import Measured
from surroscope.influence.normalize import standard
from surroscope.tables import scalars as scalar_tables


def measured(seeds: int = 3, probes: int = 2, classes: int = 3, times: int = 4) -> Measured:
    """Random numbers in every place, of a network that has a history as `history` gives it."""
    draw = np.random.default_rng(0)
    n, snapshots, samples = seeds * probes, times + 3, classes * times
    h, shape = draw.normal(size=(n, samples, samples)) + 3 * np.eye(samples), (n, classes, times, classes, times)
    return Measured(
        seeds=np.repeat(np.arange(seeds), probes),
        influence=h.reshape(shape),
        standardised=standard(h).reshape(shape),
        centres=(0.1, 0.2, 0.4, 0.8),
        binned=draw.normal(size=(n, 4)),
        eigenvalue=draw.uniform(1, 2, size=(n, 5)),
        outputs=10,
        error=draw.uniform(1, 2, size=(n, classes, snapshots - 1, snapshots)),
        persistence=draw.uniform(1, 2, size=(n, classes, snapshots - 1, snapshots)),
        image_error=draw.uniform(1, 2, size=(n, 2, classes, times)),
        actions=("e", "r"),
        drift=draw.uniform(size=(n, classes, snapshots - 1, 2)),
        zero_gradients=draw.integers(5, size=(n, 2)),
        observables=("smse", "mass"),
    )


def kernel(m: Measured) -> dict[str, list[Coupled]]:
    """Random shares of a trained network in the same units, and two replicates; no untrained network."""
    n, classes, times = m.influence.shape[:3]
    draw, between = np.random.default_rng(1), (classes, times, classes, times)

    def of_draws() -> Coupled:
        groups = {"class": classes, "window": times, "group": classes * times}
        shares = {f"explained_{name}": draw.uniform(0.1, 1, size=(n, 2, g, g)) for name, g in groups.items()}
        kappas = {name: draw.uniform(size=(n, 3, *between)) for name in ("coupling", "matched_white")}
        kappas["matched_residual"] = draw.normal(size=(n, 3, *between))
        shares["explained"] = draw.uniform(0.1, 1, size=(n, 2, *between))
        rest = {name: draw.uniform(size=(n, *between)) for name in ("alignment", "distance")}
        return Coupled(seeds=m.seeds, noises=(0.01, 0.1), **shares, **kappas, **rest)

    return {"trained": [of_draws() for _ in range(3)], "untrained": []}


def history(seeds: int = 3) -> pd.DataFrame:
    rows = [{"seed": seed, "epoch": 5, "train": 1.0 + seed, "validation": 2.0 + seed} for seed in range(seeds)]
    return pd.DataFrame(rows).assign(persistence=9.0)


def test_a_row_of_checkpoints_is_that_of_its_seed_alone_and_the_main_numbers_are_of_all() -> None:
    m = measured()
    rows = scalar_tables.checkpoints({5: m}, {5: kernel(m)}, history()).set_index("seed")
    sampled = {"net": scalar_tables.sampled(m, history(), 5, kernel(m))}
    numbers = scalar_tables.main_numbers(sampled, "CE", {"net": "vit"}).set_index("name")
    assert rows["validation"].tolist() == [2.0, 3.0, 4.0]
    for name, scalar in scalars.SCALARS.items():
        for seed in range(3):
            own = m.take(np.array([2 * seed, 2 * seed + 1]))
            np.testing.assert_equal(rows.loc[seed, name], scalar.value(own))
        np.testing.assert_equal(numbers["value"].get(name, np.nan), scalar.value(m))
    assert numbers.loc["validation", "value"] == 3.0
    found = numbers.loc["two_time_diagonal"]
    assert found["low"] < found["value"] < found["high"]
    assert (found["published_low"], found["published_high"]) == (6.4, 6.4)
    assert np.isnan(numbers.loc["half_life", "published_low"])


def test_the_plane_has_the_bars_of_the_verdict_and_every_other_noise() -> None:
    m = measured()
    names, of = [f"IC{number}" for number in range(m.classes)], kernel(m)
    of_model = scalar_tables.sampled(m, history(), 5, of)
    table = scalar_tables.plane(of_model, of, names)
    told = scalar_tables.conclusion(of_model, m, of, names, "CE")
    times, *pairs = told["bars"]
    own = table[table["noise"] == 0.01].set_index("classes")
    # The verdict shows those of the pairs that share least and most.
    least, most = (own.loc[bar["what"].partition(",")[0]] for bar in pairs)
    assert (least.name, most.name) == (own["between_classes"].idxmin(), own["between_classes"].idxmax())
    for row, shown in ((least, pairs[0]), (most, pairs[1])):
        for name, bar in (("between_times", times), ("between_classes", shown)):
            assert [row[f"{name}{end}"] for end in ("", "_low", "_high")] == [bar[k] for k in ("value", "low", "high")]
    other = table[table["noise"] == 0.1]
    assert len(other) == len(own)
    assert other[["between_times", "between_classes"]].notna().all(axis=None)
    assert other.filter(regex="_(low|high)$").isna().all(axis=None)
    assert set(table["weights"]) == {"trained"}
    both = scalar_tables.plane(of_model, of | {"untrained": of["trained"]}, names)
    assert both["weights"].tolist() == ["trained"] * len(table) + ["untrained"] * len(table)


def test_a_difference_between_two_networks_has_the_interval_of_paired_draws() -> None:
    """Of two networks, one's eigenvalues are twice the other's at every seed and probe batch."""
    m = measured()
    twice = replace(m, eigenvalue=2 * m.eigenvalue)
    both = {name: scalar_tables.sampled(each, history(), 5, kernel(m)) for name, each in (("a", m), ("b", twice))}
    table = scalar_tables.main_numbers(both, "CE", {}).set_index(["model", "name"])
    eigenvalue = table.xs("largest_metric_eigenvalue", level="name")
    difference = eigenvalue.loc["a - b"]
    assert difference["value"] == eigenvalue.loc["a", "value"] - eigenvalue.loc["b", "value"]
    widths = eigenvalue["high"] - eigenvalue["low"]
    assert widths["a - b"] == pytest.approx(widths["a"], rel=0.1)  # if the draws were not paired: 2.2 times that
    same = table.loc["a - b"].loc[["validation", "half_life", "class_off_diagonal"]]
    assert (same[["value", "low", "high"]] == 0).all(axis=None)
    assert (same["n_seeds"] == 3).all()
    assert same[["published_low", "published_high"]].isna().all(axis=None)


def test_networks_of_which_one_was_probed_untrained_differ_in_what_both_have() -> None:
    m = measured()
    both = [scalar_tables.sampled(m, history(), 5, kernel(m), before) for before in (None, m)]
    names = (both[1] - both[0]).names
    assert names == (both[0] - both[1]).names == both[0].names
    assert set(both[1].names) - set(names) == {"untrained_correlation_time", "untrained_correlation_class"}
    table = both[1].table().set_index("name")
    assert table.loc["untrained_correlation_time", "value"] == pytest.approx(1)


def test_checks_are_columns_of_checkpoints_and_rows_of_the_main_numbers() -> None:
    """A matrix whose rows deviate by 1e-6 is divided by twice that; zero gradients are counted by observable."""
    m = measured()
    size = m.influence.shape[1] * m.influence.shape[2]
    rows = m.influence.reshape(-1, size, size)
    small = 1e-6 * (rows / rows.std(axis=-1, ddof=1, keepdims=True)).reshape(m.influence.shape)
    m = replace(m, influence=small)
    main = scalar_tables.main_numbers({"net": scalar_tables.sampled(m, history(), 5, kernel(m))}, "CE", {}).set_index(
        "name"
    )
    by_seed = scalar_tables.checkpoints({5: m}, {5: kernel(m)}, history())
    assert main.loc["epsilon_share", "value"] == pytest.approx(0.5)
    assert by_seed["epsilon_share"].tolist() == pytest.approx([0.5] * 3)
    for number, name in enumerate(m.observables):
        assert main.loc[f"zero_gradients_{name}", "value"] == m.zero_gradients[:, number].sum()
        expected = m.zero_gradients[:, number].reshape(3, 2).sum(axis=1)
        assert by_seed[f"zero_gradients_{name}"].tolist() == expected.tolist()
    assert "50 % of the scale" in str(scalar_tables.notice("net", 0.5))
    assert scalar_tables.notice("net", 0.05) is None


def test_a_number_that_a_study_cannot_have_has_no_row() -> None:
    m = measured(times=4)
    names = set(scalar_tables.sampled(m, history(), 5, kernel(m)).table()["name"])
    assert "intra_class_lag_2" in names
    assert "intra_class_lag_8" not in names
    assert {"kernel_transfer_class", "kernel_transfer_class_error", "coupling_class"} <= names
    assert not {"coupling_lag_8", "kernel_transfer_class_untrained"} & names
