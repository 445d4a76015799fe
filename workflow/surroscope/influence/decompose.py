"""The span's response to steps on the cost, taken apart by channel, by fronts and by sample.

With W the coefficients of η⁻¹ g_i = Σ_m W[m, i] g_m, the response of the prediction at sample n is the field
δŷ_n = -J_n η⁻¹ g_i = -Σ_m W[m, i] J_n g_m: sums of tangents, without another pass of the network.
"""

import numpy as np
import xarray as xr

from surroscope.influence.compute import Rules, span_of
from surroscope.influence.matrices import grams_of
from surroscope.influence.responses import MATRIX, Grams
from surroscope.influence.span import Span


def cost_span(grams: Grams, samples: int, rules: Rules) -> tuple[Span, np.ndarray, float]:
    """The span of the cost's gradients, its K (N, N), and the damping in it."""
    rows = np.arange(samples)
    return span_of(grams, rows, rules.discarded_share), grams.k[np.ix_(rows, rows)], rules.absolute(grams, samples)


def channel_coupling(span: Span, by_channel: np.ndarray, damping: float) -> np.ndarray:
    """H[(j, f), (i, f')]: what a step on the error in channel f' at sample i does to the error in channel f at j.

    by_channel: Σ over cells of w_j (J_j g_m) in channel f, (N, F, N), w = ∂C/∂ŷ, so that summing over f gives
    g_j · g_m. Gives (N, F, N, F); summing over both channels gives H.
    """
    projected = by_channel @ span.basis
    return np.einsum("jfr,ige,re->jfig", projected, projected, np.diag(1 / (span.eigenvalues + damping)), optimize=True)


def energy(coefficients: np.ndarray, by_sample: np.ndarray) -> np.ndarray:
    """‖δŷ_n‖² for a step on i, (N, steps), from by_sample[n] = Σ over outputs of sample n of T_m T_m' (N, N, N)."""
    return np.einsum("mi,nmk,ki->ni", coefficients, by_sample, coefficients, optimize=True)


def images(source: xr.Dataset, orbits: xr.Dataset, rules: Rules) -> xr.DataArray:
    """H[g, j, i] = g_C(g s_j) · η⁻¹ g_C(s_i): what a step at sample i does to the cost at the image of sample j.

    source: what the stage `reduce` wrote; orbits: what the stage `orbits` wrote, of some of its probe batches. η⁻¹ is
    that of the span of the cost's gradients at the samples themselves; what an image's gradient has beyond it is left
    out. Gives (probe, action, *MATRIX). Raises ValueError if a batch cannot be solved.
    """
    shape = (source.sizes["class"], source.sizes["time"])
    of_probes = []
    for probe in orbits["probe"].values:
        span, k, damping = cost_span(grams_of(source, probe), shape[0] * shape[1], rules)
        of_probes.append([span.influence(images, k, damping) for images in orbits["overlap"].sel(probe=probe).values])
    values = np.stack(of_probes).reshape(len(of_probes), orbits.sizes["action"], *shape, *shape)
    coords = {"image_probe": orbits["probe"].values, "action": orbits["action"].values}
    return xr.DataArray(values, dims=("image_probe", "action", *MATRIX), coords=coords)


def shares(source: xr.Dataset, rules: Rules) -> xr.Dataset:
    """Of every probe batch: coupling (probe, *MATRIX, channel, step_channel) of the cost, and front_share
    (probe, *MATRIX) of the squared response, 0 where a step moves nothing.

    source: what the stage `reduce` wrote. Raises ValueError if a batch cannot be solved.
    """
    shape = (source.sizes["class"], source.sizes["time"])
    samples, channels = shape[0] * shape[1], source.sizes["channel"]
    found: dict[str, list[np.ndarray]] = {"coupling": [], "front_share": []}
    for probe in source["probe"].values:
        at = source.sel(probe=probe)
        span, k, damping = cost_span(grams_of(source, probe), samples, rules)
        coupling = channel_coupling(span, at["by_channel"].values, damping)
        coefficients = span.coefficients(k, damping)
        moved, near = (energy(coefficients, at[name].values) for name in ("by_sample", "on_fronts"))
        # Where samples share no parameter a step moves nothing, and there is nothing to have a share of.
        share = np.divide(near, moved, out=np.zeros_like(moved), where=moved > 0)
        found["coupling"].append(coupling.transpose(0, 2, 1, 3).reshape(*shape, *shape, channels, channels))
        found["front_share"].append(share.reshape(*shape, *shape))
    dims = {"coupling": (*MATRIX, "channel", "step_channel"), "front_share": MATRIX}
    return xr.Dataset({name: (("probe", *dims[name]), np.stack(parts)) for name, parts in found.items()})
