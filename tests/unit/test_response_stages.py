"""From Gram matrices to influence, stage by stage on disk, against dense float64 algebra; and bad input on the way."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from response_study import (
    CHANNELS,
    CLASSES,
    DAMPING,
    HERE,
    RESPONSES,
    SAMPLES,
    SINGLE,
    SIZE,
    SNAPSHOTS,
    Study,
    build,
    contracted,
    mixing,
    relative,
    save,
)

from surroscope.config import jobs
from surroscope.data import transitions
from surroscope.diagnostics import fronts
from surroscope.errors import UserError
from surroscope.influence.linearize import FIXED
from surroscope.influence.normalize import standard
from surroscope.influence.responses import Response
from surroscope.influence.span import solve_span
from surroscope.models import surrogate
from surroscope.runtime import store
from surroscope.stages import cross, evaluate, full, influence, maps, sensitivity
from surroscope.tables.parts import attribution


def settings(**changes: Any) -> jobs.Influence:
    rules = {"solvers": ["subspace", "low_rank", "euclidean", "cosine", "adam"], "span": "perturbation", "modes": 2}
    rules |= {"discarded_share": 0.0}
    return jobs.Influence(**rules | {"damping": DAMPING, "damping_scale": "absolute"} | changes)


def solved(study: Study, shards: list[Path]) -> xr.Dataset:
    influence.stage(settings(), grams=contracted(study, *shards), influence=study.folder / "influence.zarr")
    return store.read(study.folder / "influence.zarr").load()


def test_influence_and_what_it_is_made_of_equal_dense_algebra(study: Study, shards: list[Path]) -> None:
    found = solved(study, shards).sel(probe=0)
    g, j = study.exact(("test", 0))
    q = np.linalg.qr(g.T)[0]
    rows = j.reshape(-1, j.shape[-1])
    inverse = np.linalg.inv(q.T @ (rows.T @ rows / len(rows)) @ q + DAMPING * np.eye(q.shape[1]))
    h = (g @ q) @ inverse @ (g @ q).T
    at = found.isel(response=0)
    assert relative(at["influence"].sel(solver="subspace").values.reshape(SAMPLES, SAMPLES), h) < SINGLE
    assert relative(at["influence"].sel(solver="euclidean").values.reshape(SAMPLES, SAMPLES), g @ g.T) < 1e-5
    k = g @ g.T
    span = solve_span(k, g @ rows.T @ rows @ g.T / len(rows), discarded_share=0.0, precision="float32")
    low_rank = span.low_rank(k, k, k, DAMPING, 2)
    assert relative(at["influence"].sel(solver="low_rank").values.reshape(SAMPLES, SAMPLES), low_rank) < 1e-4
    coupling = found["coupling"].values.reshape(SAMPLES, SAMPLES, CHANNELS, CHANNELS)
    assert relative(coupling.sum(axis=(2, 3)), h) < SINGLE
    assert relative(coupling.transpose(1, 0, 3, 2), coupling) < 1e-9
    share = found["front_share"].values
    assert share.min() > 0
    assert share.max() < 1


def test_a_response_map_is_the_change_of_a_prediction_after_a_small_step(study: Study, shards: list[Path]) -> None:
    grams = contracted(study, *shards)
    pairs = [("CE-CRP", 2, "CE-RP", 1)]
    grid = [("CE-RP", 1), ("CE-CRP", 2)]
    maps.stage(
        jobs.Maps(discarded_share=0.0, damping=DAMPING, damping_scale="absolute", pairs=pairs, grid=grid),
        shard=shards[0],
        grams=grams,
        maps=study.folder / "maps.zarr",
    )
    found = store.read(study.folder / "maps.zarr").load()
    g, j = study.exact(("test", 0))
    q = np.linalg.qr(g.T)[0]
    rows = j.reshape(-1, j.shape[-1])
    z = q @ np.linalg.solve(q.T @ (rows.T @ rows / len(rows)) @ q + DAMPING * np.eye(q.shape[1]), q.T @ g[1])
    assert relative(found["response"].values.ravel(), -j[5] @ z) < 1e-4
    between = found["between"].values
    assert relative(between[1, 0], found["response"].values[0, 0]) < 1e-6
    assert relative(between[0, 0].ravel(), (-j[1] @ z)[: between[0, 0].size]) < 1e-4
    assert str(found["response_class"].values[0]) == "CE-CRP"


def test_cross_influence_is_that_of_all_batches_together_however_they_are_sharded(study: Study) -> None:
    pool = [("test", 0), ("train", 0), ("train", 1)]
    cost = {"responses": [Response("smse")], "span": "perturbation"}
    shards = [study.shard(f"cross{b}.zarr", [batch], pool, **cost) for b, batch in enumerate(pool)]
    path = study.folder / "cross.zarr"
    where = {"threads": 2, "memory_mb": 100, "dask": HERE}
    cross.stage(
        jobs.Cross(discarded_share=0.0, damping=DAMPING, damping_scale="absolute"), shards=shards, cross=path, **where
    )
    found = store.read(path).load()
    g, j = study.exact(*pool)
    q = np.linalg.svd(g.T, full_matrices=False)[0]
    rows = j.reshape(-1, j.shape[-1])
    inverse = np.linalg.inv(q.T @ (rows.T @ rows / len(rows)) @ q + DAMPING * np.eye(q.shape[1]))
    assert relative(found["influence"].values, (g @ q) @ inverse @ (g @ q).T) < 1e-4
    leverage = np.einsum("nop,pq,qr,sr,nos->n", j, q, inverse, q, j, optimize=True) / len(rows)
    assert relative(found["leverage"].values, leverage) < 1e-4
    assert found["part"].values.tolist() == ["test"] * SAMPLES + ["train"] * 2 * SAMPLES
    table = attribution(found)
    assert len(table) == 2 * len(CLASSES)
    own = (found["part"] == "train") & (found["class"] == table.train_class[0])
    own &= found["trajectory"] == table.trajectory[0]
    row = found["influence"].values[1]
    assert table.influence[0] == pytest.approx((row / (row.std(ddof=1) + 1e-6))[own.values].sum())
    assert table.influence.is_monotonic_decreasing


FULL = {"probes": [0, 1], "dampings": [1.0, DAMPING], "damping_scale": "absolute", "tolerance": 1e-4}
FULL |= {"solvers": ["full", "dense"]}


def test_the_full_space_is_solved_within_its_certificate(study: Study, shards: list[Path]) -> None:
    path = study.folder / "full.zarr"
    full.stage(
        jobs.Full(**study.common | FULL | {"max_iterations": 30, "responses": RESPONSES}), **study.inputs, solved=path
    )
    found = store.read(path).load()
    assert found["converged"].all()
    error = np.abs(found["influence"].sel(solver="full") - found["influence"].sel(solver="dense"))
    assert (error <= found["certificate"]).all()
    both = settings(solvers=["subspace", "full", "dense"])
    one = jobs.Full(**study.common | FULL | {"dampings": [DAMPING], "max_iterations": 30, "responses": RESPONSES})
    full.stage(one, **study.inputs, solved=path)
    target = study.folder / "both.zarr"
    influence.stage(both, grams=contracted(study, *shards), full=path, influence=target)
    merged = store.read(target).load()
    assert merged["solver"].values.tolist() == ["subspace", "full", "dense"]
    span, whole = (merged["influence"].sel(solver=name).isel(response=0, probe=0) for name in ("subspace", "full"))
    gap = (whole - span).values.reshape(SAMPLES, SAMPLES)
    assert np.linalg.eigvalsh((gap + gap.T) / 2).min() > -1e-6 * np.abs(gap).max()

    table = study.folder / "sensitivity.csv"
    rules = jobs.Sensitivity(
        reference="subspace",
        discarded_share=1e-4,
        damping=DAMPING,
        damping_scale="absolute",
        dampings=[1.0, DAMPING],
        shared_lags="leave out",
        probes=[0, 1],
    )
    full.stage(
        jobs.Full(**study.common | FULL | {"max_iterations": 1, "solvers": ["full"], "responses": RESPONSES[:1]}),
        **study.inputs,
        solved=path,
    )
    sensitivity.stage(rules, grams=study.folder / "grams.zarr", full=path, table=table)
    rows = np.genfromtxt(table, delimiter=",", names=True, dtype=None, encoding="utf8")
    unsolved = rows[(rows["quantity"] == "full") & (rows["damping"] == DAMPING)]
    assert not unsolved["converged"].any()
    assert (unsolved["certificate"] > 1e-4).all()
    assert rows["correlation"][rows["reference"]] == pytest.approx(1)
    assert rows["reference"].sum() == 1
    own = rules.model_copy(update={"reference": "full"})
    with pytest.raises(UserError, match=r"own choice, full, did not converge here.*sensitivity\.max_iterations"):
        sensitivity.stage(own, grams=study.folder / "grams.zarr", full=path, table=table)
    sensitivity.stage(rules, grams=study.folder / "grams.zarr", table=table)
    assert "full" not in np.genfromtxt(table, delimiter=",", names=True, dtype=None, encoding="utf8")["quantity"]


def test_dense_algebra_needs_no_other_solver(study: Study, shards: list[Path]) -> None:
    path, target = study.folder / "dense.zarr", study.folder / "oracle.zarr"
    options = FULL | {"dampings": [DAMPING], "solvers": ["dense"], "max_iterations": 1, "responses": RESPONSES}
    full.stage(jobs.Full(**study.common | options), **study.inputs, solved=path)
    influence.stage(settings(solvers=["dense"]), grams=contracted(study, *shards), full=path, influence=target)
    found = store.read(target).load()["influence"].sel(solver="dense", probe=0).isel(response=0)
    g, j = study.exact(("test", 0))
    rows = j.reshape(-1, j.shape[-1])
    eta = rows.T @ rows / len(rows) + DAMPING * np.eye(rows.shape[1])
    assert relative(found.values.reshape(SAMPLES, SAMPLES), g @ np.linalg.solve(eta, g.T)) < 1e-5


def test_a_full_solution_that_did_not_converge_feeds_no_figure(study: Study, shards: list[Path], capsys: Any) -> None:
    path = study.folder / "open.zarr"
    options = FULL | {"dampings": [DAMPING], "solvers": ["full"], "max_iterations": 1, "responses": RESPONSES}
    full.stage(jobs.Full(**study.common | options), **study.inputs, solved=path)
    grams = contracted(study, *shards)
    with pytest.raises(UserError, match=r"did not converge within 1 iterations.*Raise influence\.max_iterations"):
        influence.stage(settings(solvers=["full"]), grams=grams, full=path, influence=study.folder / "no.zarr")
    assert not (study.folder / "no.zarr").exists()
    influence.stage(
        settings(solvers=["subspace", "full"]), grams=grams, full=path, influence=study.folder / "marked.zarr"
    )
    assert "did not converge" in capsys.readouterr().out
    assert not store.read(study.folder / "marked.zarr")["converged"].any()


def test_shards_of_different_checkpoints_are_refused(study: Study, shards: list[Path], tmp_path: Path) -> None:
    network = build(CHANNELS, SIZE)
    surrogate.load_weights(network, study.weights, 2)
    network[2].bias.data[0] += 1
    with store.writing(tmp_path / "weights", {}) as temporary:
        temporary.mkdir()
        surrogate.save_weights(network, surrogate.weights_of(temporary, 2))
    other = dataclasses.replace(study, folder=tmp_path, weights=tmp_path / "weights").shard("x.zarr", [("test", 1)])
    with pytest.raises(UserError, match=r"x\.zarr: a shard of .*weights.* delete both"):
        contracted(study, shards[0], other)


def test_weights_that_are_broken_are_named_by_sample_and_observable(study: Study, tmp_path: Path) -> None:
    save(tmp_path / "whole", build(CHANNELS, SIZE))
    network = build(CHANNELS, SIZE)
    surrogate.load_weights(network, tmp_path / "whole", 2)
    network[2].weight.data[0] = float("nan")
    with store.writing(tmp_path / "weights", {}) as temporary:
        temporary.mkdir()
        surrogate.save_weights(network, surrogate.weights_of(temporary, 2))
    broken = dataclasses.replace(study, folder=tmp_path, weights=tmp_path / "weights")
    with pytest.raises(UserError, match=r"of smse at class CE-RP, time 0 are not finite"):
        broken.shard("x.zarr", [("test", 0)])
    assert not (tmp_path / "x.zarr").exists()


def test_the_fixed_method_needs_no_calibration_and_a_measured_one_does(study: Study) -> None:
    path = study.shard("fixed.zarr", [("test", 0)], method="fixed")
    assert store.manifest(path)["method"] == str(FIXED["cuda" if torch.cuda.is_available() else "cpu"])
    with pytest.raises(UserError, match="method is measured, so --calibration must give the file"):
        study.shard("measured.zarr", [("test", 0)], method="measured")


def test_samples_that_interact_only_once_trained_are_refused(study: Study, tmp_path: Path) -> None:
    save(tmp_path / "weights", mixing(CHANNELS, SIZE))
    mixed = dataclasses.replace(study, folder=tmp_path, weights=tmp_path / "weights")
    factory = "response_study:mixing"
    with pytest.raises(UserError, match=r"response_study:mixing.*predicted by itself"):
        mixed.shard("x.zarr", [("test", 0)], factory=factory)
    settings = {name: value for name, value in study.common.items() if name in jobs.Evaluate.model_fields}
    settings |= {"factory": factory, "probes": 1, "actions": ["e"]}
    with pytest.raises(UserError, match=r"response_study:mixing.*predicted by itself"):
        evaluate.stage(jobs.Evaluate(**settings), **mixed.inputs, evaluation=tmp_path / "y.zarr")


def test_an_observable_without_a_gradient_is_named(study: Study, tmp_path: Path) -> None:
    save(tmp_path / "weights", build(CHANNELS, SIZE, silent=True))
    silent = dataclasses.replace(study, folder=tmp_path, weights=tmp_path / "weights")
    with pytest.raises(UserError, match=r"gradients of mass in the probe batch .* are all zero.*leave the observable"):
        silent.shard("x.zarr", [("test", 0)], options={"silent": True})
    shutil.rmtree(tmp_path / "weights")


def test_zero_gradients_of_some_samples_are_counted_and_have_no_influence(study: Study, capsys: Any) -> None:
    probe = transitions.probes(study.stores, study.split, [("test", 0)], SNAPSHOTS)[0]
    density = probe.inputs[:, 0].mean((-2, -1))
    zero = np.argsort(density)[:2]
    bound = float(np.sort(density)[1:3].mean())
    own = {"gated": {"factory": "response_study:gated", "options": {"below": bound}}}
    responses = [Response("smse"), Response("gated"), Response("gated", "gated")]
    changes = {"responses": responses, "observables": own}
    shard = study.shard("gated.zarr", [("test", 0)], **changes)
    assert "gradients of gated in the probe batch" in (told := capsys.readouterr().out)
    assert f"2 of {SAMPLES} are exactly zero" in told
    solved = study.folder / "gated_full.zarr"
    options = FULL | {"probes": [0], "dampings": [DAMPING], "max_iterations": 30}
    full.stage(jobs.Full(**study.common | options | changes), **study.inputs, solved=solved)
    assert f"2 of {SAMPLES} are exactly zero" in capsys.readouterr().out
    solvers = ["subspace", "low_rank", "euclidean", "cosine", "adam", "full", "dense"]
    target = study.folder / "gated_influence.zarr"
    influence.stage(settings(solvers=solvers), grams=contracted(study, shard), full=solved, influence=target)
    found = store.read(target).load()
    assert found["converged"].all()
    assert found["zero_gradients"].values.tolist() == [[0], [2], [2]]
    matrices = found["influence"].isel(probe=0).values.reshape(len(solvers), 3, SAMPLES, SAMPLES)
    others = np.setdiff1d(np.arange(SAMPLES), zero)
    assert (matrices[:, 1:, zero] == 0).all()
    assert (matrices[:, 2, :, zero] == 0).all()
    assert (matrices[:, 1][:, others] != 0).all()
    oracle = matrices[solvers.index("dense")]
    assert relative(matrices[solvers.index("full")], oracle) < 1e-3
    assert (standard(oracle)[1:, zero] == 0).all()


def test_fronts_are_the_steepest_cells() -> None:
    step = np.zeros((1, 1, 8, 8))
    step[..., 4:] = 1.0
    found = fronts.fronts(1 + step, 0.5, "periodic").reshape(8, 8)
    assert found[:, [0, 3, 4, 7]].all()
    assert not found[:, [1, 2, 5, 6]].any()
