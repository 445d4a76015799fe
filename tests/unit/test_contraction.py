"""From shards to Gram matrices, against dense float64 algebra."""

from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import torch
from response_study import CHANNELS, OUTPUTS, SAMPLES, Study, contracted, relative

from surroscope.diagnostics import fronts
from surroscope.errors import UserError
from surroscope.influence.gram import by_sample_and_channel, columns_within, gram
from surroscope.models import surrogate
from surroscope.runtime import store


def test_grams_are_those_of_the_dense_jacobian_and_resolve_sample_front_and_channel(
    study: Study, shards: list[Path]
) -> None:
    source = store.read(contracted(study, *shards)).load().sel(probe=1)
    g, j = study.exact(("test", 1))
    t = np.einsum("nop,mp->nmo", j, g)
    assert relative(source["k"].values[:SAMPLES, :SAMPLES], g @ g.T) < 1e-5
    assert relative(source["b"].values, np.einsum("nmo,nko->mk", t, t) / (SAMPLES * OUTPUTS)) < 1e-5
    assert relative(source["by_sample"].values, np.einsum("nmo,nko->nmk", t, t)) < 1e-5
    mask = fronts.fronts(store.read(shards[1])["state"].values[0], 0.1, "periodic")
    near = t.reshape(SAMPLES, SAMPLES, CHANNELS, -1) * mask[:, None, None]
    assert relative(source["on_fronts"].values, np.einsum("nmfc,nkfc->nmk", near, near)) < 1e-5
    # Σ over channels of w_j (J_j g_m) is g_j · g_m, since g_j = J_jᵀ w_j.
    assert relative(source["by_channel"].values.sum(axis=1), g @ g.T) < 1e-5
    moments = torch.cat([part.flatten() for part in surrogate.load_moments(study.weights, 2).values()]).double().numpy()
    assert relative(source["adam"].values[:SAMPLES, :SAMPLES], (g / moments) @ g.T) < 1e-5


@pytest.mark.parametrize(("memory_mb", "threads"), [(100.0, 2), (0.4, 1)])
def test_contractions_do_not_depend_on_budget_or_threads(
    study: Study, shards: list[Path], memory_mb: float, threads: int
) -> None:
    first = store.read(contracted(study, *shards)).load()
    again = store.read(contracted(study, *shards, memory_mb=memory_mb, threads=threads)).load()
    for name in first.data_vars:
        assert np.allclose(first[name], again[name], rtol=1e-12, atol=1e-18), name


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
        for part in by_sample_and_channel(
            da.from_array(t, chunks=(2, 3, 1, 7)), da.from_array(cotangents, chunks=5), da.from_array(mask, chunks=3)
        )
    )
    assert np.allclose(plain, np.einsum("dnfc,enfc->nde", t, t))
    assert np.allclose(near, np.einsum("dnfc,enfc,nc->nde", t, t, mask))
    assert np.allclose(channel, np.einsum("nfc,dnfc->nfd", cotangents, t))


@pytest.mark.parametrize("shape", [(1, 40), (16, 24)], ids=str)
def test_fronts_follow_the_slope_up_to_an_open_edge(shape: tuple[int, int]) -> None:
    """The tanh profile is steepest at x = 0, the edge, and a straight line equally steep everywhere."""
    x = np.broadcast_to(np.tanh(np.linspace(0, 4, shape[1])), shape)[None, None]
    found = fronts.fronts(1 + x, 0.1, "open").reshape(shape)
    assert found[:, : round(0.1 * shape[1]) - 1].all()
    assert not found[:, shape[1] // 2 :].any()
    wrapped = fronts.fronts(1 + x, 2 / shape[1], "periodic").reshape(shape)
    assert wrapped[:, [0, -1]].all()
    assert wrapped.sum() == 2 * shape[0]


def test_differences_at_an_open_edge_are_one_sided_and_of_the_same_scale() -> None:
    line = np.broadcast_to(3.0 * np.arange(6), (1, 1, 4, 6))
    found = fronts._difference(line, -1, "open")
    assert np.array_equal(found, np.full_like(line, 6.0))
    assert not fronts._difference(line, -2, "open").any()
    inner = fronts._difference(line, -1, "periodic")[..., 1:-1]
    assert np.array_equal(inner, found[..., 1:-1])
    assert not fronts._difference(line[..., :1, :], -2, "open").any()
