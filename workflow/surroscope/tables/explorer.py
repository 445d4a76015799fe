"""What the page's explorer shows: matrices between all transitions, the states they start from, and rollouts.

Numbers are whole numbers of a few bits, in base64: a page holds all of them, and each is within a few parts in a
hundred thousand of its range of what it was; fields, which are looked at, within one in 250.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from surroscope.diagnostics.coupling import Coupled
from surroscope.diagnostics.scalars import Measured

# Epoch -> what was measured there, influence and the kernel.
Explored = Mapping[int, tuple[Measured, Coupled | None]]
# Name -> heading, and whether it has a sign.
MEASURES = {
    "influence": ("signed influence, in standard deviations of its row", True),
    "explained": ("kernel transfer of single inputs, relative to their own", False),
    "coupling": ("coupling κ of the Jacobians", False),
    "matched_white": ("matched transfer ρ of white noise", True),
    "alignment": ("alignment of what is left to learn", True),
}
# Of all matrices of a system, above which earlier epochs are kept as medians alone.
LARGEST = 1_500_000
CELLS = 64
MISSING = {8: 2**8 - 1, 16: 2**16 - 1}


def packed(values: np.ndarray, low: float, high: float, bits: int) -> str:
    """Values between low and high as 0 to 2^bits - 2, little-endian, in base64; what is not finite as 2^bits - 1."""
    top = MISSING[bits] - 1
    finite = np.isfinite(values)
    scaled = np.where(finite, values, low) - low
    codes = np.rint(scaled * (top / (high - low if high > low else 1.0)))
    return b64encode(np.where(finite, codes, MISSING[bits]).astype(f"<u{bits // 8}").tobytes()).decode("ascii")


def matrices(m: Measured, c: Coupled | None, times: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Each measure between transitions (n, N, N), response by perturbation, and the seed of each of n units.

    times: how many of each class, the last ones
    """
    found = {"influence": (m.standardised, m.seeds)}
    if c is not None:
        found |= {name: (c.between_inputs(name), c.seeds) for name in MEASURES if name != "influence"}
    size = m.classes * times
    return {
        name: (values[:, :, -times:, :, -times:].reshape(len(values), size, size), seeds)
        for name, (values, seeds) in found.items()
    }


def explored(
    models: Mapping[str, Explored],
    flights: Mapping[str, Sequence[xr.Dataset]],
    classes: Sequence[str],
    maps: Sequence[xr.Dataset] = (),
) -> dict[str, Any]:
    """All that the explorer of one system reads, as JSON has it.

    models: name -> epoch -> what was measured there; flights: of each model at its last epoch, a dataset a seed
    maps: responses of stage `maps`, of any of the models
    """
    # Those that all networks have, whatever past they are given.
    latest = max((of[max(of)][0] for of in models.values()), key=lambda m: m.first)
    times = latest.standardised.shape[2]
    every = {name: {epoch: matrices(*pair, times) for epoch, pair in of.items()} for name, of in models.items()}
    count = sum(2 * v.size for of in every.values() for found in of.values() for v, _ in found.values())
    ranges = {}
    for measure in MEASURES:
        held = [found[measure][0] for of in every.values() for found in of.values() if measure in found]
        if held:
            finite = np.concatenate([values[np.isfinite(values)] for values in held])
            # Colours end where all but one in two hundred do.
            limit = float(np.quantile(np.abs(finite), 0.995)) or 1.0
            ranges[measure] = (float(finite.min()), float(finite.max()), limit)
    networks = {}
    for name, of in every.items():
        epochs = {}
        for epoch, found in of.items():
            pooled = count > LARGEST and epoch != max(of)
            epochs[str(epoch)] = {
                measure: {
                    "units": [] if pooled else units(seeds),
                    "pooled": len(v) if pooled else 0,
                    "data": packed(np.median(v, axis=0, keepdims=True) if pooled else v, *ranges[measure][:2], 16),
                }
                for measure, (v, seeds) in found.items()
            }
        networks[name] = epochs
    return {
        "classes": list(classes),
        "first": latest.first,
        "times": times,
        "measures": {
            name: {"title": MEASURES[name][0], "signed": MEASURES[name][1], "low": low, "high": high, "limit": limit}
            for name, (low, high, limit) in ranges.items()
        },
        "models": networks,
        "fields": fields({name: found[0] for name, found in flights.items()}),
        "rollouts": {name: per_step(found) for name, found in flights.items()},
        "responses": {found.attrs["model"]: responses(found, classes, latest.first, times) for found in maps},
    }


def units(seeds: np.ndarray) -> list[list[int]]:
    """Seed, and number of the probe batch within it, of each unit."""
    counted: dict[int, int] = {}
    rows = []
    for seed in seeds.tolist():
        rows.append([seed, counted.get(seed, 0)])
        counted[seed] = rows[-1][1] + 1
    return rows


def fields(flights: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """The first channel of one trajectory a class, and of each network's rollout of it, at every snapshot.

    truth and predictions are in the range of the truth, which they may leave; differences in one of their own
    """
    first = next(iter(flights.values()))
    step = max(1, -(-max(first.sizes["y"], first.sizes["x"]) // CELLS))

    def channel(dataset: xr.Dataset, name: str) -> np.ndarray:
        values = dataset[name].transpose("class", "snapshot", "channel", "y", "x").values[:, :, 0]
        return values[..., ::step, ::step].astype(float)

    truth = channel(first, "truth")
    low, high = float(truth.min()), float(truth.max())
    predictions = {name: channel(dataset, "prediction") for name, dataset in flights.items()}
    apart = {name: values - truth for name, values in predictions.items()}
    finite = np.concatenate([np.abs(values[np.isfinite(values)]) for values in apart.values()])
    most = min(float(finite.max(initial=0.0)), high - low) or 1.0
    return {
        "channel": str(first["channel"].values[0]),
        "shape": list(truth.shape),
        "low": low,
        "high": high,
        "apart": most,
        "seconds": [float(value) for value in first["seconds"].values],
        "truth": packed(truth, low, high, 8),
        "predictions": {name: packed(within(v, low, high), low, high, 8) for name, v in predictions.items()},
        "differences": {name: packed(within(v, -most, most), -most, most, 8) for name, v in apart.items()},
        "of": {key: int(first.attrs[key]) for key in ("seed", "epoch")},
    }


def responses(maps: xr.Dataset, classes: Sequence[str], first: int, times: int) -> dict[str, Any]:
    """How predictions move at transitions of a grid when a unit step is taken on others, each map in its own range.

    classes, first, times: the transitions that the explorer has; others of the grid are left out
    """
    kept = np.flatnonzero((maps["grid_time"].values >= first) & (maps["grid_time"].values < first + times))
    grid = maps.isel(responds=kept, steps=kept)
    moved = grid["between"].transpose("responds", "steps", "y", "x").values.astype(float)
    coarse = max(1, -(-max(moved.shape[2:]) // CELLS))
    moved = moved[..., ::coarse, ::coarse]
    limits = np.abs(moved).max(axis=(2, 3))
    places = [list(classes).index(name) for name in grid["grid_class"].values]
    relative = moved / np.where(limits > 0, limits, 1.0)[..., None, None]
    return {
        "transitions": [ic * times + int(t) - first for ic, t in zip(places, grid["grid_time"].values, strict=True)],
        "limits": [[float(f"{limit:.3g}") for limit in row] for row in limits],
        "shape": list(moved.shape[2:]),
        "data": packed(relative, -1.0, 1.0, 8),
        "of": {key: int(maps.attrs[key]) for key in ("seed", "epoch")},
    }


def within(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """For a range of colours; what is not finite stays so."""
    return np.where(np.isfinite(values), np.clip(values, low, high), values)


def per_step(flights: Sequence[xr.Dataset]) -> dict[str, list[list[float | None]]]:
    """Median error of each step of rollouts from the first start that there is, (classes, snapshots), and of no change.

    Not cumulative. None where there is no step, or half of the rollouts left the floating-point numbers.
    """
    found: dict[str, list[list[float | None]]] = {}
    for name in ("error", "persistence"):
        values = np.concatenate(
            [dataset[name].transpose("probe", "class", "start", "snapshot").values for dataset in flights]
        )
        start = int(np.flatnonzero(~np.isnan(values[0, 0]).all(axis=1))[0])
        median = np.median(values[:, :, start], axis=0)
        found[name] = [[float(v) if np.isfinite(v) else None for v in row] for row in median]
    return found
