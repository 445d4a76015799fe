"""Models that differ in how they are trained: ratios with a closed form, and how often an interval holds the truth."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from default_study import changed
from test_scalar_tables import history, kernel, measured

from surroscope.config.jobs import settings
from surroscope.config.study import check
from surroscope.diagnostics import arms as diagnosed
from surroscope.diagnostics.arms import Flown
from surroscope.diagnostics.scalars import Measured
from surroscope.errors import UserError
from surroscope.influence.responses import MATRIX
from surroscope.tables import foresight, remedies, scalars

INF = np.inf
NAMES, STEPS, EARLY, LAST = ["a", "b", "c"], 4, 1, 5
FACTORS = {"base": 1.0, "better": 0.7, "worse": 1.5, "bad": 4.0}


def scaled(m: Measured, factor: float) -> Measured:
    return replace(m, error=factor * m.error, drift=factor * m.drift)


def flying(m: Measured) -> Flown:
    return Flown(m.seeds, m.error, m.drift, m.first, m.influence.shape[2])


def made(
    arms: dict[str, Measured], unseen: tuple[str, ...] = ("c",), solvers: tuple[str, ...] = ("subspace", "cosine")
) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """Tables of networks of which both epochs are alike but for their errors at the last."""
    early = next(iter(arms.values()))
    of = {name: {EARLY: early, LAST: m} for name, m in arms.items()}
    rollouts = {name: {epoch: flying(m) for epoch, m in arm.items()} for name, arm in of.items()}
    rows, errors = [], pd.concat([history().assign(epoch=epoch) for epoch in (EARLY, LAST)])
    errors = errors.assign(forwards=100.0 * errors["epoch"], seconds=errors["epoch"] + errors["seed"])
    for number, (name, arm) in enumerate(of.items()):
        table = scalars.checkpoints(arm, {epoch: kernel(m) for epoch, m in arm.items()}, errors)
        rows.append(table.assign(model=name, half_life=-float(number), validation=table["validation"] + number**2))
    matrices = [
        xr.Dataset(
            {"influence": (("solver", "response", "probe", *MATRIX), np.stack([[early.influence]] * len(solvers)))},
            coords={"solver": list(solvers)},
            attrs={"model": name, "seed": seed, "epoch": epoch}
            | {"responses": json.dumps([{"observable": "smse", "step": "smse"}])},
        )
        for name in arms
        for seed in range(3)
        for epoch in (EARLY, LAST)
    ]
    asked = {"baseline": "base", "steps": STEPS, "early": EARLY}
    past = pd.concat([errors.assign(model=name) for name in arms])
    return remedies.tables(
        rollouts, matrices, pd.concat(rows), past, asked, names=NAMES, unseen=unseen, planted=["bad"]
    )


def test_a_network_that_errs_so_many_times_as_much_has_that_ratio_without_an_interval() -> None:
    found, sentences = made({name: scaled(measured(), factor) for name, factor in FACTORS.items()})
    table = found["remedies"].set_index(["outcome", "classes", "model"])
    assert set(table.index.get_level_values("outcome")) == {"rollout", "one_step", "beyond", "drift"}
    for (_, _, model), row in table.iterrows():
        assert row[["ratio", "low", "high", "geometric"]].tolist() == pytest.approx([FACTORS[model]] * 4)
        assert row["rank"] == {"base": 2, "better": 1, "worse": 3, "bad": 4}[model]
        assert row["better"] == {"base": 0.5, "better": 1.0}.get(model, 0.0)
        assert (row["planted"], row["baseline"]) == (model == "bad", model == "base")
    assert (table["blown_up"] == 0).all()
    # Seeds err differently, and so has the error itself an interval.
    assert (table["error_low"] < table["error_high"]).all()
    base = sentences["base"]
    assert "On classes trained on the best of 3 others is better, 0.70 times (0.70 to 0.70); better with an " in base
    assert "below 1: better, by 20% or more: better; worse with one above 1: worse, bad; planted to be bad: bad" in base
    small = made({"base": measured(), "x": scaled(measured(), 0.9), "bad": scaled(measured(), 1.1)})[1]["base"]
    assert "below 1: x, by 20% or more: none; worse with one above 1: bad; planted to be bad: bad ranks 3" in small
    assert (
        "4-step rollouts against base, paired: on classes trained on 1.50 times (1.50 to 1.50), rank 3"
        in (sentences["worse"])
    )


def test_outcomes_are_sums_over_the_steps_of_every_start() -> None:
    m = measured()  # 4 probed transitions of 7 snapshots
    found = diagnosed.outcomes(flying(m), 0, STEPS, [0, 2])
    for n, c, start in np.ndindex(6, 2, 3):
        steps = sum(m.error[n, 2 * c, start, start + step] for step in range(1, STEPS + 1))
        assert found["rollout"][n, c, start] == pytest.approx(steps)
    assert found["rollout"].shape[-1] == 3
    np.testing.assert_array_equal(found["one_step"][1, 1], [m.error[1, 2, t, t + 1] for t in range(4)])
    np.testing.assert_allclose(found["beyond"][..., 0], m.error[:, [0, 2], 0, 5:].sum(axis=-1))
    np.testing.assert_array_equal(found["drift"][..., 0], m.drift[:, [0, 2], STEPS - 1].max(axis=-1))
    # Beside a network that is given two snapshots more, its first two starts are left out.
    later = diagnosed.outcomes(flying(m), 2, STEPS, [0, 2])
    np.testing.assert_allclose(later["rollout"], found["rollout"][..., 2:])
    np.testing.assert_array_equal(later["one_step"], found["one_step"][..., 2:])
    none = replace(m, error=m.error[:, :, :4, :5], drift=m.drift[..., :0])
    assert set(diagnosed.outcomes(flying(none), 0, STEPS, [0])) == {"rollout", "one_step"}


def test_rollouts_of_further_trajectories_are_pooled_with_those_of_probe_batches() -> None:
    random = np.random.default_rng(0)
    dims = {"error": ("start", "snapshot"), "drift": ("step", "conserved")}
    sizes = {"error": (4, 5), "drift": (4, 2)}
    flights = [
        xr.Dataset(
            {
                f"{of}{name}": (("class", axis, *rest), random.uniform(size=(3, count, *sizes[name])))
                for of, axis, count in (("", "probe", 2), ("further_", "further", 1))
                for name, rest in dims.items()
            },
            attrs={"seed": seed},
        )
        for seed in (7, 3)
    ]
    found = remedies.flown(flights, 1, 2)
    assert found.seeds.tolist() == [7, 7, 7, 3, 3, 3]
    assert found.counts == {"n_seeds": 2, "n_trajectories": 3}
    np.testing.assert_array_equal(found.error[5, 2], flights[1]["further_error"].values[2, 0, 1:, 1:])
    np.testing.assert_array_equal(found.error[1, 0], flights[0]["error"].values[0, 1, 1:, 1:])
    np.testing.assert_array_equal(found.drift[2, 1], flights[0]["further_drift"].values[1, 0])
    alone = [flight.drop_dims("further") for flight in flights]
    np.testing.assert_array_equal(remedies.flown(alone, 0, 2).error[3, 1], flights[1]["error"].values[1, 1])


def test_rollouts_that_blew_up_are_counted_and_leave_the_median() -> None:
    m = measured()
    arm, both = 0.5 * m.error, m.error.copy()
    arm[0, 0], both[0, 0] = INF, INF
    table = made({"base": m, "arm": replace(m, error=arm), "bad": scaled(m, 2)})[0]["remedies"]
    row = table[(table["model"] == "arm") & (table["outcome"] == "rollout")].set_index("classes").loc["trained on"]
    assert row["ratio"] == pytest.approx(0.5)
    assert row["geometric"] == INF
    assert row["blown_up"] == pytest.approx(1 / 12)
    assert row["baseline_blown_up"] == 0
    assert row["better"] == pytest.approx(11 / 12)
    ties = made({"base": replace(m, error=both), "arm": replace(m, error=arm), "bad": m})[0]["remedies"]
    row = ties[(ties["model"] == "arm") & (ties["outcome"] == "rollout")].iloc[0]
    assert row["geometric"] == pytest.approx(0.5 ** (11 / 12))
    assert row["blown_up"] == row["baseline_blown_up"] == pytest.approx(1 / 12)
    all_up = made({"base": m, "arm": replace(m, error=np.full_like(arm, INF)), "bad": m})[0]["remedies"]
    row = all_up[(all_up["model"] == "arm") & (all_up["outcome"] == "rollout")].iloc[0]
    assert row["ratio"] == row["low"] == row["high"] == INF


def test_a_study_without_held_out_classes_tells_of_no_other() -> None:
    arms = {name: scaled(measured(), factor) for name, factor in FACTORS.items()}
    found, sentences = made(arms, unseen=())
    for table in found.values():
        assert set(table["classes"]) == {"trained on"}
    assert "held out" not in "".join(sentences.values())
    apart, _ = made(arms)
    assert set(apart["foresight"]["classes"]) == {"trained on", "held out"}


def test_an_interval_holds_the_true_ratio_as_often_as_it_says() -> None:
    random, truth, held, studies = np.random.default_rng(0), np.log(0.8), 0, 150
    seeds = np.repeat(np.arange(6), 4)
    for _ in range(studies):
        base = random.uniform(0.1, 10, size=(24, 2, 5))
        of_seed, of_unit = random.normal(size=6)[seeds], random.normal(size=24)
        logs = truth + 0.1 * (of_seed + of_unit)[:, None, None] + 0.1 * random.normal(size=base.shape)
        found = diagnosed.compared(base * np.exp(logs), base, seeds)
        held += found["low"] < 0.8 < found["high"]
    assert 0.88 < held / studies <= 1


def test_what_training_took_is_until_the_last_probed_epoch() -> None:
    past = pd.DataFrame(
        [
            {"model": "a", "seed": seed, "epoch": epoch, "forwards": 10.0 * epoch, "seconds": 1.0 + seed}
            for seed in (0, 1, 2)
            for epoch in (1, 2, 3)
        ]
    )
    found = remedies.costs(past, {"a": 2}).iloc[0]
    assert (found["forwards"], found["seconds"]) == (20, 4)
    assert np.isnan(found["flops"])
    assert remedies.costs(past.assign(seconds=np.nan), {"a": 2})["seconds"].isna().all()


def test_a_network_that_is_bad_by_construction_may_make_a_correlation_alone() -> None:
    """Half-life falls from network to network, and only the planted one errs more than the others."""
    m = measured()
    factors = {"base": 1.0, "x": 0.99, "y": 1.01, "z": 0.98, "w": 0.97, "bad": 9.0}
    found = made({name: scaled(m, factor) for name, factor in factors.items()})[0]
    table = found["foresight"]
    table = table[table["classes"] == "trained on"]
    half = table[table["measure"] == "half_life"].set_index("arms")["spearman"]
    ranks = {"all": [3, 2, 4, 1, 0, 5], "not planted": [3, 2, 4, 1, 0]}
    for arms, of in ranks.items():
        assert half[arms] == pytest.approx(np.corrcoef(np.arange(len(of)), of)[0, 1])
    assert half["all"] > 0 > half["not planted"]
    assert set(table["tested"]) == {2}  # half-life and validation; all else is alike in all networks
    points = found["foresight_arms"].set_index(["classes", "measure", "model"])
    assert points.loc[("held out", "half_life", "bad"), ["value", "ratio"]].tolist() == pytest.approx([-5, 9])
    assert points.xs("bad", level="model")["planted"].all()


def test_gradients_have_a_cosine_within_and_between_classes() -> None:
    h = np.full((2, 3, 4, 3, 4), -0.5)
    for c in range(3):
        h[:, c, :, c] = 0.25
        for t in range(4):
            h[:, c, t, c, t] = 1
    about = {"responses": json.dumps([{"observable": "smse", "step": "smse"}])}
    dims = ("solver", "response", "probe", *MATRIX)
    with_cosine = xr.Dataset({"influence": (dims, h[None, None])}, coords={"solver": ["cosine"]}, attrs=about)
    assert foresight.cosines(with_cosine) == {"cosine_within": 0.25, "cosine_between": -0.5}
    assert foresight.cosines(with_cosine.assign_coords(solver=["subspace"])) == {}
    one = with_cosine.isel(response_class=[0], perturbation_class=[0])
    assert np.isnan(foresight.cosines(one)["cosine_between"])


def test_what_reaches_held_out_classes_is_of_those_that_were_trained_on_alone() -> None:
    m = measured()
    n = len(m.seeds)
    h, shares = np.ones((n, 3, 4, 3, 4)), np.full((n, 2, 3, 3), 0.5)
    h[:, 2, :, :2] = 0.25  # class 2 responds
    h[:, 2, :, 2] = 9
    shares[:, :, 2, 1], shares[:, :, 2, 2] = 0.3, 1.0
    coupled = replace(kernel(m)["trained"][0], explained_class=shares)
    found = foresight.towards({5: replace(m, standardised=h)}, {5: coupled}, [2])
    assert found["seed"].tolist() == [0, 1, 2]
    assert found["influence_held_out"].tolist() == [0.25] * 3  # within a class it is 1, 1 and 9
    assert found["kernel_held_out"].tolist() == pytest.approx([0.4] * 3)
    assert list(foresight.towards({5: m}, {5: coupled}, [])) == ["seed", "epoch"]


def test_what_training_changed_is_less_what_was_there_before() -> None:
    rows = [
        {"model": name, "seed": seed, "epoch": epoch, "kernel_transfer_time": epoch + seed + 10 * (name == "b")}
        for name in "ab"
        for seed in (3, 1)
        for epoch in (0, 1, 5)
        if name == "a" or epoch
    ]
    table = pd.DataFrame(rows).assign(**dict.fromkeys(("intra_class_lag_1", "class_off_diagonal"), 1.0))
    table["kernel_transfer_class"] = 2.0
    arms = {
        name: {epoch: flying(replace(measured(), seeds=np.repeat([3, 1, 7], 2))) for epoch in (0, 1, 5)}
        for name in "ab"
    }
    matrices = [xr.Dataset(coords={"solver": ["subspace"]}, attrs=row) for row in rows]
    found = foresight.numbers(arms, matrices, table, [0]).set_index(["model", "seed", "epoch"])[
        "kernel_transfer_time_gained"
    ]
    assert found["a"].to_dict() == {(seed, epoch): epoch for seed in (3, 1) for epoch in (0, 1, 5)}
    assert found["b"].isna().all()  # which was not probed before training


def config(**remedy: Any) -> dict[str, Any]:
    values = changed("remedies", {"baseline": "unet", **remedy})
    for model in values["systems"]["CE"]["models"].values():
        model["probe_epochs"] = [0, 2, model["training"]["epochs"]]
    return values


def test_the_early_epoch_is_the_first_after_training_began_and_is_read_by_tables_alone() -> None:
    study, other = check(config(), "a.yaml"), check(config() | {"remedies": {"baseline": "vit"}}, "a.yaml")
    assert "remedies" in study.parts("CE")
    asked = json.loads(settings(study, "tables", system="CE"))
    assert asked["remedies"] | {"trajectories": None} == {
        **{"baseline": "unet", "steps": 16, "early": 2, "trajectories": None},
    }
    assert asked["unseen"] == []
    at = {"system": "CE", "model": "unet", "seed": "10", "epoch": "2"}
    assert settings(study, "evaluate", **at) == settings(other, "evaluate", **at)
    held = config()
    held["split"]["held_out"] = {"classes": ["CE-RP"]}
    del held["cross"]
    assert json.loads(settings(check(held, "a.yaml"), "tables", system="CE"))["unseen"] == ["CE-RP"]


@pytest.mark.parametrize(
    ("remedy", "words"),
    [
        ({"baseline": "resnet"}, "remedies.baseline holds 'resnet'; choose from unet, vit"),
        ({"steps": 21}, r"remedies\.steps is 21, but data\.snapshots is 21.*lower it"),
        ({"steps": 0}, r"remedies\.steps: found 0; .*greater than or equal to 1"),
        ({"early": 3}, r"looks ahead from epoch 3, but systems\.CE\.models\.unet\.probe_epochs is \[0, 2, 13\]"),
        ({"early": 13}, r"looks ahead from epoch 13.* probe that and a later one, or say another in remedies\.early"),
        ({"arms": ["unet"]}, "remedies.arms: unknown key"),
    ],
)
def test_what_cannot_be_compared_is_refused(remedy: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        check(config(**remedy), "a.yaml")


def test_one_network_or_one_epoch_is_refused() -> None:
    values = config()
    del values["systems"]["CE"]["models"]["vit"]
    with pytest.raises(UserError, match=r"compares the models of systems\.CE, which has one; add another"):
        check(values, "a.yaml")
    with pytest.raises(UserError, match=r"looks ahead from epoch 13, .* is \[13\]"):
        check(changed("remedies", {"baseline": "unet"}), "a.yaml")
