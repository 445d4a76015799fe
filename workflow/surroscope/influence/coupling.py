"""What a network shares between two inputs, apart from what is left to learn there.

Influence H_ji = w_jᵀ K_ji w_i has two factors: the residuals w = ∂C/∂ŷ, and the kernel K_ji = J_j η⁻¹ J_iᵀ of two
inputs. Here the kernel is measured alone, from the rows J_nᵀ u_k of random cotangents u_k, the same at every input n:
all of it follows from the Gram matrix of these rows, with η = I, or with η of the rows themselves, damped.
docs/coupling.md derives the estimators.
"""

from collections.abc import Sequence

import numpy as np

WINDOWS = 4
# Standard errors are over the draws: the jackknife leaves out one of so many equal groups of them at a time.
JACKKNIFE = 4
MEASURES = ("explained", "coupling", "matched_white", "matched_residual")


def measures(
    gram: np.ndarray, white: np.ndarray, residual: np.ndarray, *, noises: Sequence[float], shape: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Every measure of the kernel of N = classes x times inputs, from the Gram matrix of the rows J_nᵀ u_k.

    gram: of rows (n, k), (N, D, N, D); white, residual: numbers k of the draws that are standard normal, and of those
        that are residuals of the study
    noises: variance of the observations, in units of the largest eigenvalue of the mean of J_nᵀ J_n; also the dampings
    shape: (classes, times)

    Gives, along noises (E,):
    explained (E, N, N), explained_class (E, C, C), explained_window (E, W, W), explained_group (E, C W, C W): see
        `explained`, between inputs, classes, windows of consecutive times, and windows of classes
    coupling, matched_white, matched_residual (1 + E, N, N): κ and ρ, for η = I and for each damping, see `coupling`
        and `matched`
    """
    halves = np.array_split(white, 2)
    largest = np.linalg.eigvalsh(_square(gram, white, white) / (len(gram) * len(white)))[-1]
    classes, times = shape
    number = np.arange(classes * times)
    window = number % times * min(WINDOWS, times) // times
    labels = {
        "": number,
        "_class": number // times,
        "_window": window,
        "_group": number // times * (window.max() + 1) + window,
    }
    found: dict[str, list[np.ndarray]] = {}

    def keep(name: str, *both: np.ndarray) -> None:
        found.setdefault(name, []).append(np.mean(both, axis=0))

    squares = pair_squares(gram, white)
    keep("coupling", normalized(squares, 0.25, np.sqrt))
    keep("matched_white", matched(gram, white))
    keep("matched_residual", matched(gram, residual))
    for noise in noises:
        damping = noise * largest
        for name, label in labels.items():
            ways = zip(halves, halves[::-1], strict=True)
            keep(f"explained{name}", *(explained(gram, a, b, label, damping) for a, b in ways))
        inverses = [(damped(gram, a, damping), b) for a, b in zip(halves, halves[::-1], strict=True)]
        keep("coupling", *(normalized(pair_squares(kernel, b), 0.25, np.sqrt) for kernel, b in inverses))
        keep("matched_white", *(matched(kernel, b) for kernel, b in inverses))
        keep("matched_residual", *(matched(kernel, residual) for kernel, _ in inverses))
    return {name: np.stack(arrays) for name, arrays in found.items()}


def explained(
    gram: np.ndarray, observed: np.ndarray, asked: np.ndarray, labels: np.ndarray, noise: float
) -> np.ndarray:
    """τ[a, b]: the share of what random steps change at group a that observing group b tells, (groups, groups).

    A random step δ ~ N(0, I) changes the predictions at input n by J_n δ. Of its variance at group a

        τ(a|b) = 1 - tr(A_a (A_b / σ² + I)⁻¹) / tr(A_a),    A_g = mean over n in g of J_nᵀ J_n,

    is explained by the changes at group b, observed with noise of variance σ² (Gaussian process regression with the
    network's tangent kernel). 0 if the groups share no parameter; τ(a|a) is what noise leaves of a group's own, NaN
    where no parameter moves group a. A_b is of as many directions as draws times inputs: with a small noise too few
    draws tell too little, which the jackknife does not see (docs/coupling.md has how much).

    observed, asked: the draws that A_b and A_a are estimated from; labels: the group of each input (N,)
    """
    groups = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
    share = np.empty((len(groups), len(groups)))
    for b, inputs in enumerate(groups):
        own = gram[np.ix_(inputs, observed, inputs, observed)].reshape(len(inputs) * len(observed), -1)
        own = own / (len(inputs) * len(observed))
        across = gram[:, asked][:, :, inputs][..., observed].reshape(len(gram), len(asked), -1)
        across = across / np.sqrt(len(inputs) * len(observed))
        root = np.linalg.cholesky(own + noise * np.eye(len(own)))
        solved = np.linalg.solve(root, across.reshape(-1, len(own)).T)
        told = np.square(solved).sum(axis=0).reshape(len(gram), -1).sum(axis=1)
        share[:, b] = [told[inputs].sum() for inputs in groups]
    whole = np.einsum("nknk->n", gram[:, asked][:, :, :, asked])
    whole = np.array([whole[inputs].sum() for inputs in groups])[:, None]
    return np.divide(share, whole, out=np.full_like(share, np.nan), where=whole > 0)


def damped(gram: np.ndarray, draws: np.ndarray, damping: float) -> np.ndarray:
    """The Gram matrix in the metric: rows (η + λ)⁻¹ rowsᵀ, η = mean of J_nᵀ J_n as some of the draws give it.

    By Woodbury's identity, from the Gram matrix alone: (S - S_z (Z Zᵀ + λ)⁻¹ S_zᵀ) / λ.
    """
    n, d = gram.shape[:2]
    flat = gram.reshape(n * d, n * d)
    rows = (np.arange(n)[:, None] * d + draws).ravel()
    across = flat[:, rows] / np.sqrt(len(rows))
    own = flat[np.ix_(rows, rows)] / len(rows)
    inner = across @ np.linalg.solve(own + damping * np.eye(len(rows)), across.T)
    return ((flat - inner) / damping).reshape(gram.shape)


def pair_squares(kernel: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """|K_ji|²_F = E (uᵀ K_ji v)² over independent standard normal u and v, (N, N): the mean over pairs of draws."""
    part = kernel[:, draws][..., draws]
    total = np.square(part).sum(axis=(1, 3)) - np.square(np.einsum("jkik->jik", part)).sum(axis=2)
    return total / (len(draws) * (len(draws) - 1))


def matched(kernel: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """ρ_ji = E uᵀ K_ji u / sqrt(E uᵀ K_jj u · E uᵀ K_ii u): the same pattern of error u at both inputs, (N, N)."""
    return normalized(np.einsum("jkik->ji", kernel[:, draws][..., draws]), 0.5)


def normalized(values: np.ndarray, power: float, of: np.ufunc | None = None) -> np.ndarray:
    """Entries over the product of the diagonal's entries to a power; `of` them first. 0 where a diagonal is zero.

    κ_ji = |K_ji|_F / sqrt(|K_jj|_F |K_ii|_F) from the squares, with power 1/4 and the square root.
    """
    own = np.diagonal(values)
    scale = np.where(own > 0, own, np.inf) ** power
    return (of(values) if of else values) / np.outer(scale, scale)


def replicates(draws: np.ndarray) -> list[np.ndarray]:
    """All draws, then all but one group of them at a time, for the jackknife."""
    groups = np.array_split(draws, JACKKNIFE)
    return [draws, *(np.concatenate(groups[:g] + groups[g + 1 :]) for g in range(JACKKNIFE))]


def standard_error(values: np.ndarray) -> np.ndarray:
    """Jackknife standard error over the draws, of statistics of the replicates (1 + JACKKNIFE, ...): (...)."""
    without = values[1:]
    return np.sqrt((JACKKNIFE - 1) * np.square(without - without.mean(axis=0)).mean(axis=0))


def _square(gram: np.ndarray, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    part = gram[:, one][..., two]
    return part.reshape(len(gram) * len(one), -1)
