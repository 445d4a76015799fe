"""Tables of what a response is made of, and of the parts that a study may ask for: sensitivity, maps, attribution."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from surroscope.diagnostics import coherence
from surroscope.influence.normalize import standard
from surroscope.influence.responses import MATRIX
from surroscope.influence.solvers import SOLVERS
from surroscope.runtime import store
from surroscope.tables import rollouts
from surroscope.tables.influence import pooled
from surroscope.tables.reading import read_csv

SHOWN = 3
# These parts are made from Gram matrices and tangents, within the span of the gradients, whatever the study's solver.
SPAN = SOLVERS["subspace"].metric


def resolved(matrices: Sequence[xr.Dataset], seeds: np.ndarray) -> dict[str, pd.DataFrame]:
    """The cost's influence between channels, and the share of the response that falls on fronts, of one model.

    Both are means over the pairs of a relation in each probe batch, then quartiles over batches and seeds; coupling is
    divided by the mean self-influence.
    """
    coupling, share = pooled(matrices, "coupling", *MATRIX, ...), pooled(matrices, "front_share", *MATRIX)
    channels = [str(name) for name in matrices[0]["channel"].values]
    classes, times = share.shape[1:3]
    same_class = np.eye(classes, dtype=bool)[:, None, :, None]
    itself = same_class & np.eye(times, dtype=bool)[None, :, None, :]
    masks = {"self": itself, "intra-class": same_class & ~itself, "inter-class": ~same_class}
    masks = {name: np.broadcast_to(mask, share.shape[1:]) for name, mask in masks.items() if mask.any()}
    own = coupling[:, masks["self"]].mean(axis=1).sum(axis=(1, 2))[:, None, None]
    between, fronts = [], []
    for relation, mask in masks.items():
        values = coupling[:, mask].mean(axis=1) / own
        for (f, g), _ in np.ndenumerate(values[0]):
            key = {"relation": relation, "response_channel": channels[f], "perturbation_channel": channels[g]}
            between.append(key | coherence.summary(values[:, f, g], seeds))
        area = {"area": matrices[0].attrs["front_share"]}
        fronts.append(
            {"relation": relation} | coherence.summary(share[:, mask].mean(axis=1), seeds, positive=True) | area
        )
    return {
        "channels": pd.DataFrame(between).assign(quantity=SPAN),
        "fronts": pd.DataFrame(fronts).assign(quantity=SPAN),
    }


def images(matrices: Sequence[xr.Dataset]) -> dict[str, pd.DataFrame]:
    """Standardised influence of a step at a sample on the sample's own image, if the study looked at any."""
    with_images = [matrix for matrix in matrices if "image_influence" in matrix]
    if not with_images:
        return {}
    raw = np.concatenate([m["image_influence"].transpose("image_probe", "action", *MATRIX).values for m in with_images])
    size = raw.shape[2] * raw.shape[3]
    h = standard(raw.reshape(*raw.shape[:2], size, size))
    probes = with_images[0].sizes["image_probe"]
    seeds = np.repeat([m.attrs["seed"] for m in with_images], probes)
    actions = [str(name) for name in with_images[0]["action"].values]
    table = rollouts.orbit(np.diagonal(h, axis1=2, axis2=3), actions, seeds, positive=False)
    return {"symmetry": table.assign(quantity=SPAN, n_seeds=len(with_images), n_probes=probes)}


def optional(sensitivities: Sequence[Path], crosses: Sequence[Path], maps: Sequence[Path]) -> dict[str, pd.DataFrame]:
    """The tables of the parts that there are."""
    tables = {}
    if sensitivities:
        tables["sensitivity"] = pd.concat([read_csv(path) for path in sensitivities], ignore_index=True)
    if maps:
        tables["response_maps"] = pd.concat([response_map(store.read(path).load()) for path in maps], ignore_index=True)
        tables["response_maps"]["quantity"] = SPAN
    if crosses:
        stores = [store.read(path).load() for path in crosses]
        scored = [attribution(dataset) for dataset in stores]
        tables["attribution"] = pd.concat(scored, ignore_index=True)
        tables["attribution_fields"] = pd.concat(
            [attribution_fields(dataset, scores) for dataset, scores in zip(stores, scored, strict=True)],
            ignore_index=True,
        )
        tables["leverage"] = pd.concat([leverage(dataset) for dataset in stores], ignore_index=True)
        for name in ("attribution", "attribution_fields", "leverage"):
            tables[name]["quantity"] = SPAN
    return tables


def response_map(dataset: xr.Dataset) -> pd.DataFrame:
    """State and response of each pair, pixel by pixel."""
    axes = {axis: np.arange(dataset.sizes[axis]) for axis in ("pair", "y", "x")}
    table = (
        dataset.drop_dims("responds")
        .assign_coords(axes)
        .to_dataframe(dim_order=("pair", "channel", "y", "x"))
        .reset_index()
    )
    names = ["pair", "response_class", "response_time", "perturbation_class", "perturbation_time", "channel", "y", "x"]
    table = table[[*names, "state", "response"]]
    table.insert(0, "model", dataset.attrs["model"])
    return table


def attribution(dataset: xr.Dataset) -> pd.DataFrame:
    """How much training on each trajectory helps one test transition: Σ over its transitions of standardised influence.

    The test transition is the middle one of the first class in the first test batch.
    """
    row = test_transition(dataset)
    train = np.flatnonzero(dataset["part"].values == "train")
    scale = standard(dataset["influence"].values[None])[0][row]
    steps = pd.DataFrame(
        {
            "train_class": dataset["class"].values[train],
            "trajectory": dataset["trajectory"].values[train],
            "influence": scale[train],
        }
    )
    table = steps.groupby(["train_class", "trajectory"], as_index=False)["influence"].sum()
    table = table.sort_values("influence", ascending=False, kind="stable", ignore_index=True)
    table["rank"], table["n"] = np.arange(1, len(table) + 1), len(table)
    table.insert(0, "test_time", int(dataset["time"].values[row]))
    table.insert(0, "test_class", str(dataset["class"].values[row]))
    table.insert(0, "model", dataset.attrs["model"])
    return table


def test_transition(dataset: xr.Dataset) -> int:
    """The number of the sample whose training is asked about."""
    first = dataset["class"].values[0]
    own = np.flatnonzero(
        (dataset["part"].values == "test") & (dataset["batch"].values == 0) & (dataset["class"].values == first)
    )
    return int(own[len(own) // 2])


def attribution_fields(dataset: xr.Dataset, scores: pd.DataFrame) -> pd.DataFrame:
    """Input states of the test transition, and of the trajectories that helped and hurt most at their best moment."""
    row = test_transition(dataset)
    best = dataset["influence"].values[row]
    train = dataset["part"].values == "train"
    count = min(SHOWN, len(scores) // 2)
    chosen = [("test", 0, row, np.nan)]
    for role, part in (("helped", scores.head(count)), ("hurt", scores.tail(count)[::-1])):
        for entry in part.itertuples():
            own = np.flatnonzero(
                train
                & (dataset["class"].values == entry.train_class)
                & (dataset["trajectory"].values == entry.trajectory)
            )
            sign = 1 if role == "helped" else -1
            chosen.append((role, entry.rank, int(own[np.argmax(sign * best[own])]), entry.influence))
    frames = []
    for role, rank, sample, influence in chosen:
        field = dataset["state"].values[sample]
        y, x = (axis.ravel() for axis in np.indices(field.shape))
        about = {
            "model": dataset.attrs["model"],
            "role": role,
            "rank": rank,
            "class": str(dataset["class"].values[sample]),
            "trajectory": int(dataset["trajectory"].values[sample]),
            "time": int(dataset["time"].values[sample]),
            "influence": influence,
            "channel": dataset.attrs["channel"],
        }
        frames.append(pd.DataFrame(about | {"y": y, "x": x, "value": field.ravel()}))
    return pd.concat(frames, ignore_index=True)


def leverage(dataset: xr.Dataset) -> pd.DataFrame:
    """Quartiles of leverage over batches, for each class and time."""
    groups = dataset["leverage"].to_dataframe().assign(time=dataset["time"].values).groupby(["class", "time"])
    rows = [
        {"model": dataset.attrs["model"], "class": name, "time": time}
        | coherence.quartiles(part["leverage"].to_numpy())
        | {"n_batches": len(part)}
        for (name, time), part in groups
    ]
    return pd.DataFrame(rows)
