"""Tables of trainings without groups of transitions: what they did, beside what measures say of the same groups."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from surroscope.diagnostics import bootstrap
from surroscope.diagnostics import retraining as diagnostics
from surroscope.diagnostics.coupling import relative
from surroscope.influence.coupling import WINDOWS
from surroscope.influence.normalize import standard
from surroscope.tables.coupling import coupled

RETRAINED, WHOLE, POOLED = "retraining", "whole", "all"
# Of the kernel between inputs, and of residuals: see `influence.coupling`.
OF_INPUTS = ("explained", "coupling", "matched_white", "matched_residual", "alignment")
# What needs no network: its place in the maps says what kind of rival it is.
RIVALS = ("nearness", "blocks")


@dataclass(frozen=True)
class Bank:
    """The errors of one network's trainings, S seeds.

    error: member -> (S, C, N, T) at N test trajectories of each class; persistence: of no change, the same
    windows: first and last time of each; window: the number of that of each time (T,); times (T,)
    left_out: member -> which groups (G,) bool, class by class
    """

    model: str
    seeds: list[int]
    classes: list[str]
    windows: list[tuple[int, int]]
    window: np.ndarray
    times: np.ndarray
    error: dict[str, np.ndarray]
    persistence: np.ndarray
    left_out: dict[str, np.ndarray]

    @property
    def names(self) -> dict[str, list[str]]:
        """Of groups, of classes and of windows."""
        windows = [f"{first}-{last}" for first, last in self.windows]
        groups = [f"{ic} {window}" for ic in self.classes for window in windows]
        return {"group": groups, "class": self.classes, "window": windows}

    def named(self, prefix: str) -> list[str]:
        """Members whose names begin so, in the order of the groups that they leave out."""
        named = [member for member in self.error if member.startswith(f"{prefix}_")]
        return sorted(named, key=lambda member: np.flatnonzero(self.left_out[member]).tolist())


def bank(datasets: Sequence[xr.Dataset]) -> Bank:
    """The bank of one model, from what the stage `retrain` writes; of each seed the same members in the same order."""
    seeds = list(dict.fromkeys(int(d.attrs["seed"]) for d in datasets))
    of = {(int(d.attrs["seed"]), str(d.attrs["member"])): d for d in datasets}
    members = list(dict.fromkeys(str(d.attrs["member"]) for d in datasets))
    first = datasets[0]
    classes, times = [str(name) for name in first["class"].values], first["time"].values
    parts = {member: json.loads(of[seeds[0], member].attrs["left_out"]) for member in members}
    windows = sorted(
        {(start, end) for m, found in parts.items() if m.startswith("without_") for _, start, end in found}
    )
    window = np.array([next(n for n, (a, b) in enumerate(windows) if a <= time <= b) for time in times])

    def gone(found: list[tuple[str, int, int]]) -> np.ndarray:
        return np.array([any(ic == c and a <= s <= b for c, a, b in found) for ic in classes for s, _ in windows])

    return Bank(
        model=first.attrs["model"],
        seeds=seeds,
        classes=classes,
        windows=windows,
        window=window,
        times=times,
        error={m: np.stack([of[seed, m]["error"].values for seed in seeds]) for m in members},
        persistence=np.stack([of[seed, members[0]]["persistence"].values for seed in seeds]),
        left_out={member: gone(found) for member, found in parts.items()},
    )


def of_model(
    datasets: Sequence[xr.Dataset], crosses: Sequence[xr.Dataset], kernels: Sequence[xr.Dataset]
) -> dict[str, pd.DataFrame]:
    """retraining_maps, _scores, _locking and _kept of one model.

    datasets: as the stage `retrain` writes them; crosses, kernels: as `cross` and `coupling` do, of the same seeds at
    the last epoch
    """
    found = bank(datasets)
    everything = found.error["all"]
    effect = diagnostics.effects(np.stack([found.error[m] for m in found.named("without")]), everything, found.window)
    of_seed = [
        foretold(found, number, *(next(d for d in part if d.attrs["seed"] == seed) for part in (crosses, kernels)))
        for number, seed in enumerate(found.seeds)
    ]
    predicted = {name: np.stack([one[name] for one in of_seed]) for name in of_seed[0]}
    tables = {
        "retraining_maps": maps(found, effect, predicted),
        "retraining_scores": pd.DataFrame([*entries(found, effect, predicted), *subsets(found, effect, predicted)]),
        "retraining_locking": locked(found, {RETRAINED: effect} | predicted),
        "retraining_kept": kept(found, effect, predicted),
    }
    for table in tables.values():
        table.insert(0, "model", found.model)
        table["n_seeds"] = len(found.seeds)
    return tables


def foretold(found: Bank, number: int, cross: xr.Dataset, kernel: xr.Dataset) -> dict[str, np.ndarray]:
    """F (G, G) of every measure for one seed, of that number in the bank."""
    classes, windows = len(found.classes), len(found.windows)
    label = np.array([found.classes.index(str(ic)) for ic in cross["class"].values])
    place = np.searchsorted(found.times, cross["time"].values)
    group = label * windows + found.window[place]
    test, train = (np.flatnonzero(cross["part"].values == part) for part in ("test", "train"))
    influence = cross["influence"].values
    # Batches are of the first test trajectories of every class.
    error = found.error["all"][number][label[test], cross["batch"].values[test], place[test]]

    def sums(matrix: np.ndarray) -> np.ndarray:
        return diagnostics.helped(matrix, group[test], group[train], np.tile(np.bincount(found.window), classes))

    own = influence[np.ix_(test, train)]
    (coupling, *_) = coupled([kernel], "trained")
    measures = {
        "influence": sums(own),
        "influence_standard": sums(standard(influence[None])[0][np.ix_(test, train)]),
        "influence_relative": sums(own / error[:, None]),
    }
    of_kernel = np.arange(len(found.times)) * min(WINDOWS, len(found.times)) // len(found.times)
    if (of_kernel == found.window).all():
        measures["kernel_transfer"] = np.median(relative(coupling.explained_group[:, 0]), axis=0)
    measures |= {name: diagnostics.between_groups(coupling.between_inputs(name), found.window) for name in OF_INPUTS}
    measures["nearness"] = -diagnostics.between_groups(coupling.distance, found.window)
    measures["blocks"] = diagnostics.blocks(classes, windows)
    return measures


def maps(found: Bank, effect: np.ndarray, predicted: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Effects and what measures say between groups, and what they sum to between classes and between windows.

    The mean over seeds, and the standard deviation over them. `whole` is of networks that a whole class or window was
    left out of, to which effects of groups only add up as far as they are small.
    """
    levels: dict[tuple[str, str], np.ndarray] = {}
    for name, values in ({RETRAINED: effect} | dict(predicted)).items():
        levels["group", name] = values
        if name not in RIVALS:
            summed = diagnostics.summed(values, len(found.classes), len(found.windows))
            levels |= {(level, name): part for level, part in summed.items()}
    for level in ("class", "window"):
        if members := found.named(level):
            change = np.log(np.stack([found.error[m] for m in members])) - np.log(found.error["all"])
            levels[level, WHOLE] = np.stack([response(found, level, one) for one in change], axis=-1)
    rows = []
    for (level, name), values in levels.items():
        noise = values.std(axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1:], np.nan)
        of = found.names[level]
        rows += [
            {"level": level, "measure": name, "tested": of[r], "left_out": of[g]}
            | {"value": mean, "seed_noise": noise[r, g]}
            for (r, g), mean in np.ndenumerate(values.mean(axis=0))
        ]
    return pd.DataFrame(rows)


def response(found: Bank, level: str, values: np.ndarray) -> np.ndarray:
    """Medians (S, n) over the transitions of each class or window, of (S, C, N, T)."""
    if level == "class":
        return np.median(values.reshape(*values.shape[:2], -1), axis=-1)
    parts = [values[..., found.window == w].reshape(len(values), -1) for w in range(len(found.windows))]
    return np.stack([np.median(part, axis=-1) for part in parts], axis=-1)


def entries(found: Bank, effect: np.ndarray, predicted: Mapping[str, np.ndarray]) -> list[dict[str, object]]:
    """Rank correlations over the entries of the maps, of the mean over seeds and of each seed."""
    rows: list[dict[str, object]] = []
    for relation, mask in diagnostics.relations(len(found.classes), len(found.windows)).items():
        agree = diagnostics.between_seeds(effect[:, mask])
        about = {"score": "spearman", "relation": relation, "n": int(mask.sum())} | diagnostics.noise(effect, mask)
        reached = {"reliability": agree, "ceiling": diagnostics.ceiling(agree, len(found.seeds))}
        for name, values in predicted.items():
            ends = diagnostics.agreement(effect, values, mask)
            rows.append(about | reached | {"measure": name, "seeds": POOLED} | scored(*ends))
            for number, seed in enumerate(found.seeds):
                one = diagnostics.spearman(effect[number][mask], values[number][mask])
                single = {"reliability": agree, "ceiling": diagnostics.ceiling(agree, 1)}
                rows.append(about | single | {"measure": name, "seeds": str(seed)} | scored(one))
    return rows


def subsets(found: Bank, effect: np.ndarray, predicted: Mapping[str, np.ndarray]) -> list[dict[str, object]]:
    """Linear datamodelling scores, of means over seeds and of each; that of effects shows how far they add up."""
    members = found.named("subset")
    if len(members) < 3:
        return []
    trained = np.stack([~found.left_out[member] for member in members])
    errors = np.stack([found.error[member] for member in members], axis=1)
    outcome = -diagnostics.group_medians(np.log(errors), found.window)
    rows: list[dict[str, object]] = []
    for relation in (diagnostics.ALL, diagnostics.OTHERS):
        others = relation == diagnostics.OTHERS
        agree = diagnostics.between_seeds(outcome, diagnostics.outcomes_agree(trained, others))
        about = {"score": "lds", "relation": relation, "n": len(members), "reliability": agree}
        of = {POOLED: np.arange(len(found.seeds))} | {str(seed): np.array([n]) for n, seed in enumerate(found.seeds)}
        for seeds, which in of.items():
            reached = {"ceiling": diagnostics.ceiling(agree, len(which)), "seeds": seeds}
            scores = {
                name: diagnostics.datamodelled(outcome[which], trained, values[which], others)
                for name, values in ({RETRAINED: effect} | dict(predicted)).items()
            }
            rival, its = scores["nearness"]
            for name, (value, drawn) in scores.items():
                low, high = map(float, bootstrap.ends(np.array(value), drawn, len(which)))
                least, most = map(float, bootstrap.ends(np.array(value - rival), drawn - its, len(which)))
                over = {"over_nearness": value - rival, "over_low": least, "over_high": most}
                rows.append(about | reached | {"measure": name} | scored(value, low, high) | over)
    return rows


def scored(value: float, low: float = np.nan, high: float = np.nan) -> dict[str, float]:
    return {"value": value, "low": low, "high": high}


def locked(found: Bank, measures: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Locking as training has it, and as each measure of the same networks does, with intervals over seeds."""
    length = found.windows[0][1] - found.windows[0][0] + 1
    shape = len(found.classes), len(found.windows), length
    rows = []
    for name, values in measures.items():
        if name in RIVALS:
            continue

        def numbers(units: np.ndarray, values: np.ndarray = values) -> np.ndarray:
            return np.array(list(diagnostics.locking(values[units].mean(axis=0), *shape).values()))

        estimate = diagnostics.locking(values.mean(axis=0), *shape)
        ends = bootstrap.interval(numbers, np.array(found.seeds))
        rows += [
            {"measure": name, "name": quantity} | scored(value, low, high)
            for (quantity, value), low, high in zip(estimate.items(), *ends, strict=True)
        ]
    return pd.DataFrame(rows)


def kept(found: Bank, effect: np.ndarray, predicted: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """The share of the gain over no change that is kept of each class and window left out, beside what measures say.

    Of a measure it is what the other that helps most does, relative to what it does itself.
    """
    count = found.persistence.shape[2]
    seeds = np.repeat(found.seeds, count)
    rows = []
    for level in ("class", "window"):
        said = {
            name: diagnostics.nearest_other(
                diagnostics.summed(values.mean(axis=0), len(found.classes), len(found.windows))[level]
            )
            for name, values in ({RETRAINED: effect} | dict(predicted)).items()
            if name not in RIVALS
        }
        for place, member in enumerate(found.named(level)):
            # Of each trajectory, or of those of the same number of all classes, the mean.
            errors = np.stack([found.error[member], found.error["all"], found.persistence])
            own = errors[:, :, place] if level == "class" else errors[..., found.window == place].mean(axis=2)
            parts = own.mean(axis=-1).reshape(3, -1)

            def share(units: np.ndarray, parts: np.ndarray = parts) -> np.ndarray:
                return np.array(diagnostics.gain_kept(*parts[:, units]))

            value = float(share(np.arange(len(seeds))))
            low, high = map(float, bootstrap.interval(share, seeds))
            about = {"level": level, "left_out": found.names[level][place]}
            about |= dict(zip(("error_without", "error_all", "persistence"), parts.mean(axis=1).tolist(), strict=True))
            rows.append(about | {"measure": WHOLE} | scored(value, low, high))
            rows += [about | {"measure": name} | scored(float(values[place])) for name, values in said.items()]
    return pd.DataFrame(rows)
