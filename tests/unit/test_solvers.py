"""Every solver of the response against dense float64 algebra, on a table of small networks."""

from copy import deepcopy
from itertools import pairwise

import numpy as np
import pytest
import torch
from cases import CASES, OBSERVABLES, Problem, gradients, problem, relative, tangents, weights
from torch import Tensor

from surroscope.influence import dense, krylov
from surroscope.influence.span import solve_span

DAMPINGS = (1.0, 1e-2, 1e-4)
ALL = tuple(OBSERVABLES)
# What float64 algebra itself loses, relative to the largest entry.
ROUND_OFF = 1e-12

networks = pytest.mark.parametrize("name", CASES)


def solve_full(
    p: Problem, rows: Tensor, tolerance: float = 1e-2, iterations: int = 64, **options
) -> list[krylov.FullResponse]:
    """The response of rows to steps on the first observable's."""
    options = {"dampings": DAMPINGS, **options}
    return krylov.solve(p.metric, rows, len(p.x), tolerance=tolerance, max_iterations=iterations, **options)


def assert_certified(p: Problem, rows: Tensor, responses: list[krylov.FullResponse]) -> None:
    for response in responses:
        exact = p.influence(rows, len(p.x), response.damping)
        error = np.abs(response.influence - exact)
        assert (error <= response.certificate + ROUND_OFF * np.abs(exact).max()).all(), response.damping


def assert_ordered(smaller: np.ndarray, larger: np.ndarray) -> None:
    """smaller ≤ larger in the positive semi-definite order."""
    assert np.linalg.eigvalsh(larger - smaller).min() >= -1e-9 * np.abs(larger).max()


@networks
def test_dense_is_the_definition(name: str) -> None:
    p = problem(name)
    rows = p.rows(*ALL)
    for damping, found in zip(DAMPINGS, dense.solve(p.metric, rows, len(p.x), dampings=DAMPINGS), strict=True):
        assert relative(found, p.influence(rows, len(p.x), damping)) < 1e-8


@networks
@pytest.mark.parametrize("spanned", [("smse",), ALL], ids=["perturbation", "joint"])
def test_subspace_is_the_restriction_to_an_orthonormal_basis_of_the_span(name: str, spanned: tuple[str, ...]) -> None:
    p = problem(name)
    # A Gram matrix squares the gradients' condition, 10⁴ at worst among the joint spans here.
    tolerance = 1e-8 if spanned == ("smse",) else 1e-7
    g, rows, perturbation = (p.rows(*names).numpy() for names in (spanned, ALL, ("smse",)))
    q = np.linalg.svd(g.T, full_matrices=False)[0][:, : np.linalg.matrix_rank(g)]
    span = p.span(torch.from_numpy(g))
    for damping in DAMPINGS:
        steps = q @ np.linalg.solve(q.T @ p.eta @ q + damping * np.eye(q.shape[1]), q.T @ perturbation.T)
        assert relative(span.influence(rows @ g.T, perturbation @ g.T, damping), rows @ steps) < tolerance
        assert relative(g.T @ span.coefficients(perturbation @ g.T, damping), steps) < 1e-6
    assert np.allclose(span.eigenvalues, np.linalg.eigvalsh(q.T @ p.eta @ q)[::-1], rtol=1e-6)


@networks
def test_a_low_rank_metric_leads_from_dot_products_to_the_span(name: str) -> None:
    p = problem(name)
    rows = p.rows("smse")
    span, g = p.span(rows), rows.numpy()
    dots, size, damping = g @ g.T, len(span.eigenvalues), 1e-2
    found = [span.low_rank(dots, dots, dots, damping, modes) for modes in range(size + 1)]
    assert np.allclose(found[0], dots / (span.eigenvalues[0] + damping), rtol=1e-12)
    # On the gradients that span it nothing lies beyond.
    assert relative(found[size], span.influence(dots, dots, damping)) < 1e-8
    for smaller, larger in pairwise(found):
        assert_ordered(smaller, larger)
    # The definition: a metric with the leading modes, and the next eigenvalue in every other direction.
    modes = g.T @ span.basis[:, : size // 2]
    weights = span.eigenvalues[: size // 2] - span.eigenvalues[size // 2]
    shift = span.eigenvalues[size // 2] + damping
    inverse = np.linalg.inv((modes * weights) @ modes.T + shift * np.eye(g.shape[1]))
    assert relative(found[size // 2], g @ inverse @ g.T) < 1e-7


@networks
@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-8])
def test_full_meets_its_tolerance_and_every_entry_its_certificate(name: str, tolerance: float) -> None:
    p = problem(name)
    rows = p.rows(*ALL)
    found = solve_full(p, rows, tolerance)
    assert_certified(p, rows, found)
    for response in found:
        assert response.converged
        assert response.relative <= tolerance
        exact = p.influence(rows, len(p.x), response.damping)
        own = np.sqrt(np.diag(p.influence(rows, len(rows), response.damping)))
        error = np.abs(response.influence - exact) / np.outer(own, own[: len(p.x)])
        assert error.max() <= tolerance + ROUND_OFF / min(own) ** 2 * np.abs(exact).max()


@networks
def test_the_certificate_is_not_a_thousand_times_too_wide(name: str) -> None:
    # The largest of each are compared: an error changes its sign from entry to entry and passes through zero, where
    # its ratio to any bound is as large as one likes. On the steps' own observable, since ‖r‖² / λ is at most
    # (‖η‖ + λ) / λ times rᵀ (η + λ)⁻¹ r, while residuals of two observables may be orthogonal and err by nothing.
    p = problem(name)
    rows = p.rows("smse")
    for response in solve_full(p, rows):
        exact = p.influence(rows, len(p.x), response.damping)
        error = np.abs(response.influence - exact).max()
        if error > ROUND_OFF * np.abs(exact).max():
            assert response.certificate.max() <= 1e3 * error


@networks
@pytest.mark.parametrize(("tolerance", "iterations"), [(1e-2, 64), (1e-4, 12), (1e-2, 2)])
def test_the_certificate_holds_with_passes_in_single_precision(name: str, tolerance: float, iterations: int) -> None:
    p = problem(name)
    rows = p.rows(*ALL)
    found = solve_full(p, rows, tolerance, iterations, dtype=torch.float32, exact=p.metric)
    assert_certified(p, rows, found)
    assert all(response.converged == (response.relative <= tolerance) for response in found)


def test_the_certificate_holds_where_round_off_depends_on_the_direction() -> None:
    # A metric that falls by eight decades; steps along its steepest, middle and flattest directions together.
    draw = torch.Generator().manual_seed(0)
    size, outputs, perturbations, damping = 500, 200, 6, 1e-3
    basis, mix = (torch.linalg.qr(torch.randn(n, n, generator=draw, dtype=torch.float64))[0] for n in (size, outputs))
    singular = torch.logspace(0, -4, outputs, dtype=torch.float64) * (30 * outputs) ** 0.5
    jacobian = (mix * singular) @ basis[:outputs]
    rows = torch.randn(2 * perturbations, outputs, generator=draw, dtype=torch.float64) @ jacobian
    rows[0], rows[1] = 30 * basis[0], 30 * (basis[0] + basis[1])
    rows[2], rows[3] = 1e-2 * basis[150], 0.1 * basis[199]
    rows[perturbations] = 30 * basis[0] + 1e-2 * basis[20]
    exact = jacobian.T @ jacobian / outputs + damping * torch.eye(size, dtype=torch.float64)
    expected = (rows @ torch.linalg.solve(exact, rows[:perturbations].T)).numpy()
    single = jacobian.float()
    for tolerance in (1e-3, 1e-7):
        (found,) = krylov.solve(
            lambda v: v @ single.T @ single / outputs,
            rows,
            perturbations,
            dampings=[damping],
            tolerance=tolerance,
            max_iterations=60,
            dtype=torch.float32,
            exact=lambda v: v @ jacobian.T @ jacobian / outputs,
        )
        assert (np.abs(found.influence - expected) <= found.certificate).all()


@networks
def test_what_too_few_iterations_leave_open_is_marked_and_bounded(name: str) -> None:
    p = problem(name)
    rows = p.rows(*ALL)
    for iterations in (1, 3):
        found = solve_full(p, rows, 1e-8, iterations)
        assert_certified(p, rows, found)
        for response in found:
            assert response.iterations <= iterations
            assert response.converged == (response.relative <= 1e-8)
        # Only where the gradients span every parameter is the first iteration the whole answer.
        if name != "rank-deficient batch":
            assert not found[-1].converged


@networks
def test_the_estimate_grows_from_the_span_to_the_full_space_and_stays_below_the_bound(name: str) -> None:
    p = problem(name)
    n, rows = len(p.x), p.rows("smse")
    span, k = p.span(rows), (rows @ rows.T).numpy()
    for damping in DAMPINGS:
        grown = [
            solve_full(p, rows, tolerance=0.0, iterations=iterations, dampings=[damping])[0].influence
            for iterations in (1, 2, 3)
        ]
        assert relative(grown[0], span.influence(k, k, damping)) < 1e-8
        exact = p.influence(rows, n, damping)
        for smaller, larger in zip(grown, [*grown[1:], exact], strict=True):
            assert_ordered(smaller, larger)
        # g_i = J_iᵀ w_i and η ≥ J_iᵀ J_i / M.
        w = weights(OBSERVABLES["smse"], p.linear, p.x, p.y).flatten(1).numpy()
        assert (np.diag(exact) <= p.x.numel() * (w**2).sum(axis=1)).all()
        assert (np.diag(grown[0]) <= np.diag(exact) * (1 + 1e-9)).all()


@pytest.mark.parametrize("name", ["convolution", "attention block", "ViT"])
def test_one_space_serves_every_damping_whatever_their_order(name: str) -> None:
    p = problem(name)
    n, rows = len(p.x), p.rows("smse", "mass")
    dampings = [float(damping) for damping in np.logspace(2, -5, 15)]
    found = solve_full(p, rows, 1e-4, dampings=dampings)
    assert [response.damping for response in found] == dampings
    assert all(response.converged for response in found)
    assert_certified(p, rows, found)
    for response, exact in zip(found, dense.solve(p.metric, rows, n, dampings=dampings), strict=True):
        assert relative(response.influence, exact) < 1e-4
    order = np.random.default_rng(0).permutation(len(dampings))
    for response, place in zip(solve_full(p, rows, 1e-4, dampings=[dampings[i] for i in order]), order, strict=True):
        assert response.damping == dampings[place]
        assert np.array_equal(response.influence, found[place].influence)
        assert np.array_equal(response.certificate, found[place].certificate)


@pytest.mark.parametrize("name", ["linear layer", "rank-deficient batch"])
@pytest.mark.parametrize("perturbation", ["mass", "energy"])
def test_observables_that_share_no_parameter_do_not_influence_each_other(name: str, perturbation: str) -> None:
    # In one layer the mass and the energy read the weights of other outputs.
    p = problem(name)
    n, rows = len(p.x), p.rows(perturbation, *(other for other in ("energy", "mass") if other != perturbation))
    span = p.span(rows)
    k = (rows @ rows.T).numpy()
    assert (span.influence(k[n:], k[:n], 1e-2) == 0).all()
    (found,) = solve_full(p, rows, dampings=[1e-2])
    assert found.converged
    assert_certified(p, rows, [found])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", ["attention block", "shared weights", "rank-deficient batch"])
def test_a_space_that_holds_everything_loses_nothing_by_more_iterations(name: str, dtype: torch.dtype) -> None:
    p = problem(name)
    rows = p.rows("smse")
    # A tolerance out of reach: more iterations than it takes to fill the space of all parameters.
    (found,) = solve_full(p, rows, 0.0, 48, dtype=dtype, dampings=[1e-2])
    assert relative(found.influence, p.influence(rows, len(p.x), 1e-2)) < (1e-9 if dtype == torch.float64 else 1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_a_space_does_not_grow_by_what_it_holds(dtype: torch.dtype) -> None:
    p = problem("convolution")
    rows = p.rows("smse")
    space = krylov.Krylov(p.metric, rows, dtype)
    assert space.grow(rows)
    assert not space.grow(rows.flip(0))
    assert len(space.basis) == len(rows)


def test_the_rank_cut_keeps_the_share_that_it_promises() -> None:
    squares = np.array([1.0, 0.1, 1e-3, 1e-5, 1e-6])
    cut = solve_span(np.diag(squares), np.eye(5), discarded_share=1e-4)
    assert cut.basis.shape == (5, 3)
    assert cut.discarded_share == pytest.approx(1.1e-5 / squares.sum())
    p = problem("ViT")
    rows = p.rows(*ALL)
    values = np.linalg.svd(rows.numpy(), compute_uv=False) ** 2
    for share in (1e-1, 1e-2, 1e-4):
        span = p.span(rows, share)
        rank = len(span.eigenvalues)
        assert span.discarded_share == pytest.approx(values[rank:].sum() / values.sum())
        assert span.discarded_share <= share < values[rank - 1 :].sum() / values.sum()


@pytest.mark.parametrize("name", ["convolution", "attention block", "ViT", "UNet"])
def test_without_a_cut_what_round_off_alone_tells_apart_is_no_direction(name: str) -> None:
    # Twins, a little apart: the directions between them are no longer than the round-off of gradients in float32.
    whole, draw = problem(name), torch.Generator().manual_seed(3)
    x, y = (
        torch.cat([z, z + 3e-6 * torch.randn(z.shape, generator=draw, dtype=z.dtype)]).float().double()
        for z in (whole.x, whole.y)
    )
    p = Problem(deepcopy(whole.linear.network).float().double(), x, y)
    g = p.rows("smse").numpy()
    rounded = gradients(p.single, OBSERVABLES["smse"], x.float(), y.float())
    t = tangents(p.single, x.float(), rounded).flatten(1).double().numpy()
    k = (rounded.double() @ rounded.double().T).numpy()
    b = t @ t.T / t.shape[1]
    span = solve_span(k, b, discarded_share=0.0, precision="float32")
    rank = np.linalg.matrix_rank(g, rtol=len(g) * np.finfo(np.float32).eps)
    assert len(span.eigenvalues) == rank == len(whole.x)
    q = np.linalg.svd(g.T, full_matrices=False)[0][:, :rank]
    for damping in (1e-2, 1e-6):
        exact = g @ q @ np.linalg.solve(q.T @ p.eta @ q + damping * np.eye(rank), q.T @ g.T)
        assert relative(span.influence(k, k, damping), exact) < 1e-4
        assert relative(solve_span(k, b, discarded_share=0.0).influence(k, k, damping), exact) > 1e-3
    cut, rounded_cut = (solve_span(k, b, discarded_share=1e-4, **options) for options in ({}, {"precision": "float32"}))
    assert np.array_equal(cut.basis, rounded_cut.basis)
    assert cut.discarded_share == rounded_cut.discarded_share


def test_small_gradients_beside_large_ones_are_not_taken_for_round_off() -> None:
    draw = np.random.default_rng(0)
    g = draw.normal(size=(20, 50)) * np.repeat([1.0, 1e-6], 10)[:, None]
    j = draw.normal(size=(80, 50))
    t = j @ g.T
    span = solve_span(g @ g.T, t.T @ t / len(j), discarded_share=0.0, precision="float32")
    assert len(span.eigenvalues) == 20
    q = np.linalg.qr(g.T)[0]
    eta = j.T @ j / len(j)
    exact = g @ q @ np.linalg.solve(q.T @ eta @ q + 1e-2 * np.eye(20), q.T @ g.T)
    for part in (slice(10), slice(10, 20)):
        found = span.influence(g @ g.T, g @ g.T, 1e-2)[part, part]
        assert relative(found, exact[part, part]) < 1e-6


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_is_refused(bad: float) -> None:
    p = problem("convolution")
    rows = p.rows("smse").clone()
    rows[3] = bad
    with pytest.raises(ValueError, match="gradient 3 is not finite"):
        solve_full(p, rows)
    with pytest.raises(ValueError, match=r"G Gᵀ is not finite in row"):
        solve_span((rows @ rows.T).numpy(), np.eye(len(rows)), discarded_share=0.0)
    with pytest.raises(ValueError, match="finite"):
        dense.solve(p.metric, rows, len(rows), dampings=[1.0])


@pytest.mark.parametrize("zero", [[3], [0, 1, 2, 3]], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_a_zero_gradient_has_no_influence_and_leaves_that_of_the_others(zero: list[int], dtype: torch.dtype) -> None:
    p = problem("convolution")
    n, rows = len(p.x), p.rows("smse", "mass").clone()
    rows[[*zero, n + 2]] = 0.0
    used = [row for row in range(n) if row not in zero]
    options = {"dampings": [1.0], "dtype": dtype, "exact": None if dtype == torch.float64 else p.metric}
    (found,), (alone,) = (solve_full(p, part, 1e-3, **options) for part in (rows, rows[used]))
    assert found.converged
    assert_certified(p, rows, [found])
    for matrix in (found.influence, found.certificate):
        assert (matrix[[*zero, n + 2]] == 0).all()
        assert (matrix[:, zero] == 0).all()
    assert relative(found.influence[np.ix_(used, used)], alone.influence) < 2e-3
    k = (rows @ rows.T).numpy()
    span = p.span(rows[:n])
    influence = span.influence(k[:, :n], k[:n, :n], 1.0)
    assert (influence[[*zero, n + 2]] == 0).all()
    assert (influence[:, zero] == 0).all()
    own = p.span(rows[used]).influence(k[np.ix_(used, used)], k[np.ix_(used, used)], 1.0)
    assert relative(influence[np.ix_(used, used)], own) < 1e-9


def test_a_batch_whose_gradients_are_all_zero_is_refused() -> None:
    p = problem("convolution")
    rows = p.rows("smse", "mass").clone()
    rows[: len(p.x)] = 0.0
    with pytest.raises(ValueError, match="every gradient that is stepped on is zero"):
        solve_full(p, rows)
    with pytest.raises(ValueError, match="every gradient of the batch is zero"):
        solve_span(np.zeros((5, 5)), np.eye(5), discarded_share=0.0)


def test_a_metric_that_is_not_finite_is_refused() -> None:
    p = problem("convolution")
    rows = p.rows("smse")
    with pytest.raises(ValueError, match="product with a direction is not finite"):
        krylov.solve(lambda v: v * np.nan, rows, 5, dampings=[1.0], tolerance=1e-2, max_iterations=3)
    with pytest.raises(ValueError, match="finite"):
        dense.solve(lambda v: v * np.nan, rows, 5, dampings=[1.0])
    b = np.eye(5)
    b[2, 4] = np.inf
    with pytest.raises(ValueError, match=r"\(J Gᵀ\)ᵀ \(J Gᵀ\) / M is not finite in row 2"):
        solve_span(np.eye(5), b, discarded_share=0.0)


def test_dense_refuses_what_it_cannot_hold_or_resolve() -> None:
    def never(directions: Tensor) -> Tensor:
        raise AssertionError("refused before any product is made")

    with pytest.raises(ValueError, match=r"20,001 parameters .* 20,000 .* 'full'"):
        dense.solve(never, torch.ones(2, 20_001, dtype=torch.float64), 2, dampings=[1.0])
    with pytest.raises(ValueError, match=r"float64, found torch\.float32"):
        dense.solve(never, torch.ones(2, 20), 2, dampings=[1.0])
