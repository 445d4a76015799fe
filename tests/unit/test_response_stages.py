"""From a checkpoint to influence, stage by stage on disk, against dense float64 algebra; and bad input on the way."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

from surroscope import store, transitions
from surroscope.errors import UserError
from surroscope.models import loading
from surroscope.observables import smse
from surroscope.response.gram import columns_within, gram, resolved
from surroscope.response.linearize import Linearization, Method
from surroscope.response.rows import Response
from surroscope.stages import contraction, cross, full, gradients, influence, ingest, maps, reduce, sensitivity, split
from surroscope.stages.part_tables import attribution

CLASSES, SNAPSHOTS, SIZE, CHANNELS = ["CE-RP", "CE-CRP"], 4, 8, 4
SAMPLES = len(CLASSES) * (SNAPSHOTS - 1)
OUTPUTS = CHANNELS * SIZE * SIZE
DAMPING = 1e-2
# What single-precision passes leave of the dense float64 influence of a batch whose gradients are nearly dependent.
SINGLE = 3e-5
FACTORY = f"{__name__}:build"
RESPONSES = [Response("smse"), Response("mass"), Response("smse", action="r")]


def build(channels: int, size: int, hidden: int = 3, silent: bool = False) -> nn.Module:
    network = nn.Sequential(
        nn.Conv2d(channels, hidden, 3, padding=1, padding_mode="circular"),
        nn.SiLU(),
        nn.Conv2d(hidden, channels, 1),
    )
    return Silent(network) if silent else network


class Silent(nn.Module):
    """Says nothing about the density's mean, so that mass has no gradient."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        y = self.network(x)
        return torch.cat([x[:, :1], y[:, 1:]], dim=1)


@dataclasses.dataclass(frozen=True)
class Study:
    """A checkpoint with its data on disk."""

    folder: Path
    stores: list[Path]
    split: Path
    weights: Path

    @property
    def common(self) -> dict[str, Any]:
        return {"system": "CE", "model": "net", "factory": FACTORY, "options": {}, "seed": 1, "epoch": 2} | {
            "observables": {},
            "snapshots": SNAPSHOTS,
            "method": Method(),
        }

    @property
    def inputs(self) -> dict[str, Any]:
        return {"stores": self.stores, "split": self.split, "weights": self.weights}

    def shard(self, name: str, batches: list, directions: list = [], **changes: Any) -> Path:  # noqa: B006
        settings = gradients.Settings(
            **self.common
            | {"responses": RESPONSES, "batches": batches, "directions": directions, "every": 1, "span": "ket"}
            | changes
        )
        gradients.stage(settings, **self.inputs, shard=self.folder / name)
        return self.folder / name

    def exact(self, *batches: tuple[str, int]) -> tuple[np.ndarray, np.ndarray]:
        """G (N, P) of the cost and J (N, outputs, P) of the batches, in float64."""
        network = build(CHANNELS, SIZE)
        loading.load_weights(network, self.weights, 2)
        linear = Linearization(network.double())
        probes = transitions.probes(self.stores, self.split, list(batches), SNAPSHOTS)
        x, y = (
            torch.from_numpy(np.concatenate([getattr(p, k) for p in probes])).double() for k in ("inputs", "targets")
        )
        rows = torch.func.jacrev(lambda parameters: linear.predict(parameters, x))(linear.parameters)
        jacobian = torch.cat([rows[n].reshape(len(x), OUTPUTS, -1) for n in linear.parameters], dim=2)
        return linear.gradients(smse, x, y).numpy(), jacobian.detach().numpy()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("study")
    stores = []
    for number, name in enumerate(CLASSES):
        draw = np.random.default_rng(number)
        state = draw.uniform(1, 2, size=(9, SNAPSHOTS, CHANNELS, SIZE, SIZE)).astype(np.float32)
        xr.Dataset(
            {"state": (("trajectory", "time", "channel", "y", "x"), state), "fallbacks": ("trajectory", [0] * 9)},
            coords={"trajectory": np.arange(9), "time": np.linspace(0, 1, SNAPSHOTS)},
            attrs={"preset": "calibrated", "seed": 0, "solver_version": 1},
        ).to_netcdf(folder / f"{name}.nc", engine="h5netcdf")
        stores.append(folder / f"{name}.zarr")
        ingest.stage(ingest.Settings("CE", name), raw=[folder / f"{name}.nc"], store=stores[-1])
    split.stage(split.Settings(1, CLASSES, 0.5, 0.2), stores=stores, split=folder / "split.json")
    save(folder / "weights", build(CHANNELS, SIZE))
    return Study(folder, stores, folder / "split.json", folder / "weights")


def save(path: Path, network: nn.Module) -> None:
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    draw = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.rand(2, CHANNELS, SIZE, SIZE, generator=draw)).square().mean().backward()
    optimizer.step()
    with store.writing(path, {}) as temporary:
        temporary.mkdir()
        loading.save_weights(network, loading.weights_of(temporary, 2))
        loading.save_moments(network, optimizer.state_dict(), loading.moments_of(temporary, 2))


def contracted(study: Study, *shards: Path, memory_mb: float = 100, threads: int = 1, at: str = "local") -> Path:
    path = study.folder / "grams.zarr"
    options = {"threads": threads, "memory_mb": memory_mb, "dask_scheduler": at}
    reduce.stage(reduce.Settings(), shards=list(shards), grams=path, **options)
    return path


@pytest.fixture(scope="module")
def shards(study: Study) -> list[Path]:
    return [study.shard(f"shard{b}.zarr", [("test", b)]) for b in range(2)]


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_grams_are_those_of_the_dense_jacobian_and_resolve_sample_front_and_channel(
    study: Study, shards: list[Path]
) -> None:
    source = store.read(contracted(study, *shards)).load().sel(probe=1)
    g, j = study.exact(("test", 1))
    t = np.einsum("nop,mp->nmo", j, g)
    assert relative(source["k"].values[:SAMPLES, :SAMPLES], g @ g.T) < 1e-5
    assert relative(source["b"].values, np.einsum("nmo,nko->mk", t, t) / (SAMPLES * OUTPUTS)) < 1e-5
    assert relative(source["by_sample"].values, np.einsum("nmo,nko->nmk", t, t)) < 1e-5
    mask = contraction.fronts(store.read(shards[1])["state"].values[0], 0.1)
    near = t.reshape(SAMPLES, SAMPLES, CHANNELS, -1) * mask[:, None, None]
    assert relative(source["on_fronts"].values, np.einsum("nmfc,nkfc->nmk", near, near)) < 1e-5
    # Σ over channels of w_j (J_j g_m) is g_j · g_m, since g_j = J_jᵀ w_j.
    assert relative(source["by_channel"].values.sum(axis=1), g @ g.T) < 1e-5
    moments = torch.cat([part.flatten() for part in loading.load_moments(study.weights, 2).values()]).double().numpy()
    assert relative(source["adam"].values[:SAMPLES, :SAMPLES], (g / moments) @ g.T) < 1e-5


@pytest.mark.parametrize(("memory_mb", "threads"), [(100.0, 2), (0.4, 1)])
def test_contractions_do_not_depend_on_budget_or_threads(
    study: Study, shards: list[Path], memory_mb: float, threads: int
) -> None:
    first = store.read(contracted(study, *shards)).load()
    again = store.read(contracted(study, *shards, memory_mb=memory_mb, threads=threads)).load()
    for name in first.data_vars:
        assert np.allclose(first[name], again[name], rtol=1e-12, atol=1e-18), name


def test_a_cluster_gives_bit_for_bit_what_this_process_gives(study: Study, shards: list[Path]) -> None:
    from distributed import LocalCluster

    first = store.read(contracted(study, *shards)).load()
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        again = store.read(contracted(study, *shards, at=cluster.scheduler_address)).load()
    xr.testing.assert_identical(first.drop_attrs(), again.drop_attrs())


def test_a_scheduler_that_is_not_there_is_said(
    study: Study, shards: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contraction, "TIMEOUT", "1s")
    with pytest.raises(UserError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        contracted(study, *shards, at="tcp://127.0.0.1:9")


def test_a_budget_below_one_block_is_refused_with_what_it_takes(study: Study, shards: list[Path]) -> None:
    with pytest.raises(
        UserError, match=r"0\.001 MB does not hold one block .* at least .* MB\. Raise influence\.memory_mb"
    ):
        contracted(study, *shards, memory_mb=0.001)


@pytest.mark.parametrize("rows", [48, 144, 864])
def test_the_budget_bounds_what_the_workers_hold(rows: int) -> None:
    columns = columns_within(2000, rows, 4)
    assert 4 * columns * rows * (4 + 2 * 8) < 2000 * 2**20


def test_gram_takes_weights_and_resolved_any_chunks() -> None:
    draw = np.random.default_rng(0)
    a, w = draw.normal(size=(5, 70)), draw.uniform(1, 2, 70)
    found = gram(da.from_array(a, chunks=(2, 9)), da.from_array(w, chunks=13)).compute()
    assert np.allclose(found, (a * w) @ a.T)
    t, cotangents, mask = (
        draw.normal(size=(3, 4, 2, 10)),
        draw.normal(size=(4, 2, 10)),
        draw.uniform(size=(4, 10)) > 0.7,
    )
    plain, near, channel = (
        part.compute()
        for part in resolved(
            da.from_array(t, chunks=(2, 3, 1, 7)), da.from_array(cotangents, chunks=5), da.from_array(mask, chunks=3)
        )
    )
    assert np.allclose(plain, np.einsum("dnfc,enfc->nde", t, t))
    assert np.allclose(near, np.einsum("dnfc,enfc,nc->nde", t, t, mask))
    assert np.allclose(channel, np.einsum("nfc,dnfc->nfd", cotangents, t))


def settings(**changes: Any) -> influence.Settings:
    rules = {"solvers": ["subspace", "euclidean", "cosine", "adam"], "span": "ket", "discarded_share": 0.0}
    return influence.Settings(**rules | {"damping": DAMPING, "damping_scale": "absolute"} | changes)


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
    coupling = found["coupling"].values.reshape(SAMPLES, SAMPLES, CHANNELS, CHANNELS)
    assert relative(coupling.sum(axis=(2, 3)), h) < SINGLE
    assert relative(coupling.transpose(1, 0, 3, 2), coupling) < 1e-9
    share = found["front_share"].values
    assert share.min() > 0
    assert share.max() < 1


def test_a_response_map_is_the_change_of_a_prediction_after_a_small_step(study: Study, shards: list[Path]) -> None:
    grams = contracted(study, *shards)
    pairs = [("CE-CRP", 2, "CE-RP", 1)]
    maps.stage(
        maps.Settings(0.0, DAMPING, "absolute", pairs), shard=shards[0], grams=grams, maps=study.folder / "maps.zarr"
    )
    found = store.read(study.folder / "maps.zarr").load()
    g, j = study.exact(("test", 0))
    q = np.linalg.qr(g.T)[0]
    rows = j.reshape(-1, j.shape[-1])
    z = q @ np.linalg.solve(q.T @ (rows.T @ rows / len(rows)) @ q + DAMPING * np.eye(q.shape[1]), q.T @ g[1])
    assert relative(found["response"].values.ravel(), -j[5] @ z) < 1e-4
    assert str(found["response_class"].values[0]) == "CE-CRP"


def test_cross_influence_is_that_of_all_batches_together_however_they_are_sharded(study: Study) -> None:
    pool = [("test", 0), ("train", 0), ("train", 1)]
    cost = {"responses": [Response("smse")], "span": "ket"}
    shards = [study.shard(f"cross{b}.zarr", [batch], pool, **cost) for b, batch in enumerate(pool)]
    path = study.folder / "cross.zarr"
    where = {"threads": 2, "memory_mb": 100, "dask_scheduler": "local"}
    cross.stage(cross.Settings(0.0, DAMPING, "absolute"), shards=shards, cross=path, **where)
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
        full.Settings(**study.common | FULL | {"rungs": 30, "responses": RESPONSES}), **study.inputs, solved=path
    )
    found = store.read(path).load()
    assert found["converged"].all()
    error = np.abs(found["influence"].sel(solver="full") - found["influence"].sel(solver="dense"))
    assert (error <= found["certificate"]).all()
    both = settings(solvers=["subspace", "full", "dense"])
    one = full.Settings(**study.common | FULL | {"dampings": [DAMPING], "rungs": 30, "responses": RESPONSES})
    full.stage(one, **study.inputs, solved=path)
    target = study.folder / "both.zarr"
    influence.stage(both, grams=contracted(study, *shards), full=path, influence=target)
    merged = store.read(target).load()
    assert merged["solver"].values.tolist() == ["subspace", "full", "dense"]
    span, whole = (merged["influence"].sel(solver=name).isel(response=0, probe=0) for name in ("subspace", "full"))
    gap = (whole - span).values.reshape(SAMPLES, SAMPLES)
    assert np.linalg.eigvalsh((gap + gap.T) / 2).min() > -1e-6 * np.abs(gap).max()

    table = study.folder / "sensitivity.csv"
    rules = sensitivity.Settings("subspace", 1e-4, DAMPING, "absolute", [1.0, DAMPING], [0, 1])
    full.stage(
        full.Settings(**study.common | FULL | {"rungs": 1, "solvers": ["full"], "responses": RESPONSES[:1]}),
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
    own = dataclasses.replace(rules, reference="full")
    with pytest.raises(UserError, match=r"own choice, full, did not converge here.*sensitivity\.rungs"):
        sensitivity.stage(own, grams=study.folder / "grams.zarr", full=path, table=table)
    sensitivity.stage(rules, grams=study.folder / "grams.zarr", table=table)
    assert "full" not in np.genfromtxt(table, delimiter=",", names=True, dtype=None, encoding="utf8")["quantity"]


def test_dense_algebra_needs_no_other_solver(study: Study, shards: list[Path]) -> None:
    path, target = study.folder / "dense.zarr", study.folder / "oracle.zarr"
    options = FULL | {"dampings": [DAMPING], "solvers": ["dense"], "rungs": 1, "responses": RESPONSES}
    full.stage(full.Settings(**study.common | options), **study.inputs, solved=path)
    influence.stage(settings(solvers=["dense"]), grams=contracted(study, *shards), full=path, influence=target)
    found = store.read(target).load()["influence"].sel(solver="dense", probe=0).isel(response=0)
    g, j = study.exact(("test", 0))
    rows = j.reshape(-1, j.shape[-1])
    eta = rows.T @ rows / len(rows) + DAMPING * np.eye(rows.shape[1])
    assert relative(found.values.reshape(SAMPLES, SAMPLES), g @ np.linalg.solve(eta, g.T)) < 1e-5


def test_a_full_solution_that_did_not_converge_feeds_no_figure(study: Study, shards: list[Path], capsys: Any) -> None:
    path = study.folder / "open.zarr"
    options = FULL | {"dampings": [DAMPING], "solvers": ["full"], "rungs": 1, "responses": RESPONSES}
    full.stage(full.Settings(**study.common | options), **study.inputs, solved=path)
    grams = contracted(study, *shards)
    with pytest.raises(UserError, match=r"did not converge within 1 rungs.*Raise influence\.rungs"):
        influence.stage(settings(solvers=["full"]), grams=grams, full=path, influence=study.folder / "no.zarr")
    assert not (study.folder / "no.zarr").exists()
    influence.stage(
        settings(solvers=["subspace", "full"]), grams=grams, full=path, influence=study.folder / "marked.zarr"
    )
    assert "did not converge" in capsys.readouterr().out
    assert not store.read(study.folder / "marked.zarr")["converged"].any()


def test_shards_of_different_checkpoints_are_refused(study: Study, shards: list[Path], tmp_path: Path) -> None:
    network = build(CHANNELS, SIZE)
    loading.load_weights(network, study.weights, 2)
    network[2].bias.data[0] += 1
    with store.writing(tmp_path / "weights", {}) as temporary:
        temporary.mkdir()
        loading.save_weights(network, loading.weights_of(temporary, 2))
    other = dataclasses.replace(study, folder=tmp_path, weights=tmp_path / "weights").shard("x.zarr", [("test", 1)])
    with pytest.raises(UserError, match=r"x\.zarr: a shard of .*weights.* delete both"):
        contracted(study, shards[0], other)


def test_weights_that_are_broken_are_named_by_sample_and_observable(study: Study, tmp_path: Path) -> None:
    save(tmp_path / "whole", build(CHANNELS, SIZE))
    network = build(CHANNELS, SIZE)
    loading.load_weights(network, tmp_path / "whole", 2)
    network[2].bias.data[0] = float("nan")
    with store.writing(tmp_path / "weights", {}) as temporary:
        temporary.mkdir()
        loading.save_weights(network, loading.weights_of(temporary, 2))
    broken = dataclasses.replace(study, folder=tmp_path, weights=tmp_path / "weights")
    with pytest.raises(UserError, match=r"of smse at class CE-RP, time 0 are not finite"):
        broken.shard("x.zarr", [("test", 0)])
    assert not (tmp_path / "x.zarr").exists()


def test_an_observable_without_a_gradient_is_named(study: Study, tmp_path: Path) -> None:
    save(tmp_path / "weights", build(CHANNELS, SIZE, silent=True))
    silent = dataclasses.replace(study, folder=tmp_path, weights=tmp_path / "weights")
    with pytest.raises(UserError, match=r"gradients of mass at class CE-RP, time 0 are all zero"):
        silent.shard("x.zarr", [("test", 0)], options={"silent": True})
    shutil.rmtree(tmp_path / "weights")


def test_fronts_are_the_steepest_cells() -> None:
    step = np.zeros((1, 1, 8, 8))
    step[..., 4:] = 1.0
    found = contraction.fronts(1 + step, 0.5).reshape(8, 8)
    assert found[:, [0, 3, 4, 7]].all()
    assert not found[:, [1, 2, 5, 6]].any()
