"""Tables of the numbers that sum a checkpoint up, and the verdict on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from surroscope.diagnostics import answer, bootstrap, stability
from surroscope.diagnostics.coupling import SCALARS as KERNEL
from surroscope.diagnostics.coupling import TRANSFER, Coupled, pairs_of_classes, transfer_class, transfer_time
from surroscope.diagnostics.coupling import errors as draws_errors
from surroscope.diagnostics.scalars import SCALARS, Measured, Scalar, lag_medians, of_classes
from surroscope.diagnostics.scalars import half_life as half_life_of
from surroscope.diagnostics.signature import Estimate, signature
from surroscope.diagnostics.verdict import CONTROLLED, Decay, Evidence, verdict
from surroscope.influence.normalize import epsilon_share
from surroscope.tables import published

# One-step errors by epoch, from the history of training: column -> what it is.
ONE_STEP = {
    "validation": "one-step SMSE on validation trajectories",
    "persistence": "SMSE of predicting no change",
    "train": "one-step SMSE on training transitions, mean of the epoch",
}
MAPS = {
    "time": "the two-time map of influence",
    "class": "the class matrix of influence",
    "kernel": "the kernel transfer between windows of classes",
}
SECTORS = {
    f"sector_{name}": Scalar(stability.sector(name), "", positive=True, between=True) for name in stability.SECTORS
}
DESCRIPTIONS = (
    ONE_STEP
    | {name: scalar.description for name, scalar in (SCALARS | KERNEL).items()}
    | {"epsilon_share": "share of the absolute 1e-6 in the scale that H_std is divided by"}
    | {f"sector_{name}": f"share of the class matrix's sum of squares in its {name} part" for name in stability.SECTORS}
    | {
        f"agreement_{between}_{of}": f"correlation of {words} between {between}, off the diagonal"
        for of, words in MAPS.items()
        for between in ("seeds", "batches")
    }
    | {
        f"untrained_correlation_{of}": f"correlation of {MAPS[of]} with that before training, off the diagonal"
        for of in ("time", "class")
    }
)
LARGE_EPSILON = 0.05
# The kernel of a network "trained" and "untrained": from all draws, then from those of each replicate; may be empty.
Kernel = Mapping[str, Sequence[Coupled]]
# Numbers of the kernel that stand beside those of the untrained network, under their names with this at the end.
UNTRAINED = "_untrained"
BESIDE = (*TRANSFER, "matched_white_class", "matched_white_lag_8")


def checkpoints(by_epoch: Mapping[int, Measured], kernels: Mapping[int, Kernel], history: pd.DataFrame) -> pd.DataFrame:
    """One row a checkpoint: every scalar of each seed at each probed epoch."""
    rows = []
    for epoch, m in by_epoch.items():
        for seed in dict.fromkeys(m.seeds.tolist()):
            of_seed = m.take(np.flatnonzero(m.seeds == seed))
            at = history[(history.epoch == epoch) & (history.seed == seed)].iloc[0]
            one_step = {name: float(at[name]) for name in ONE_STEP}
            kernel = kernels[epoch]["trained"][0]
            own = kernel.take(np.flatnonzero(kernel.seeds == seed))
            # Of a single class there is none between classes.
            values = dict.fromkeys(SCALARS, np.nan) | checks(of_seed) | dict.fromkeys(KERNEL, np.nan)
            values |= {name: scalar.value(of_seed) for name, scalar in of_classes(SCALARS, m.classes).items()}
            values |= {name: scalar.value(own) for name, scalar in of_classes(KERNEL, m.classes).items()}
            rows.append({"seed": seed, "epoch": epoch} | one_step | values | {"n_probes": len(of_seed.seeds)})
    return pd.DataFrame(rows)


def checks(m: Measured) -> dict[str, float]:
    """Numbers that say how far to trust the others, and have no interval.

    The share of 1e-6 in the scale of H_std, median over its rows, and of every observable how many transitions have a
    gradient of exactly zero.
    """
    size = m.influence.shape[1] * m.influence.shape[2]
    share = float(np.median(epsilon_share(m.influence.reshape(-1, size, size))))
    counts = zip(m.observables, m.zero_gradients.sum(axis=0).tolist(), strict=True)
    return {"epsilon_share": share} | {f"zero_gradients_{name}": count for name, count in counts}


def described(name: str) -> str:
    """What a number is, in words."""
    if name.startswith("zero_gradients_"):
        return f"transitions whose gradient of {name.removeprefix('zero_gradients_')} is exactly zero"
    if name.endswith(UNTRAINED):
        return f"{described(name.removesuffix(UNTRAINED))}, of the untrained network"
    if name.endswith("_error") and name not in DESCRIPTIONS:
        return f"standard error of {name.removesuffix('_error')} over its random draws"
    return DESCRIPTIONS[name]


def notice(model: str, share: float) -> str | None:
    """What a reader must know of a model whose `epsilon_share` is large; None where it is not."""
    if share <= LARGE_EPSILON:
        return None
    return (
        f"{model}: {100 * share:.0f} % of the scale that standardised influence is divided by is the absolute 1e-6 and "
        "not the deviation of its row, so it is lower by as much; look at influence.normalization: none"
    )


@dataclass(frozen=True)
class Sampled:
    """Numbers of a model, or of one less another: of all units (K,), and in each bootstrap draw (DRAWS, K).

    positive (K,): which cannot be negative by their definition; NaN in every draw: the number has no interval
    first: the snapshot that the first transition starts from
    n_seeds: that they are over; n_probes (K,): and of how many probe batches each, NaN where of none
    """

    names: list[str]
    estimate: np.ndarray
    draws: np.ndarray
    positive: np.ndarray
    n_seeds: int
    n_probes: np.ndarray
    first: int = 0

    def __sub__(self, other: "Sampled") -> "Sampled":
        """The difference in each draw, which takes the same seeds and probe batches of both, of what both have."""
        names = [name for name in self.names if name in other.names]
        mine, theirs = ([sampled.names.index(name) for name in names] for sampled in (self, other))
        with np.errstate(invalid="ignore"):  # of two that are infinite there is none
            estimate = self.estimate[mine] - other.estimate[theirs]
            draws = self.draws[:, mine] - other.draws[:, theirs]
        return Sampled(names, estimate, draws, np.zeros(len(names), bool), self.n_seeds, self.n_probes[mine])

    def table(self) -> pd.DataFrame:
        """A row a number, with its 95 % interval; none for what a study cannot have (a lag beyond its times)."""
        low, high = bootstrap.ends(self.estimate, self.draws, self.n_seeds, self.positive)
        table = pd.DataFrame({"name": self.names, "value": self.estimate, "low": low, "high": high})
        table["description"] = table["name"].map(described)
        return table.assign(n_probes=self.n_probes, n_seeds=self.n_seeds).dropna(subset="value")


def sampled(m: Measured, history: pd.DataFrame, epoch: int, kernel: Kernel, before: Measured | None = None) -> Sampled:
    """Every number of one model at one epoch; before: what was measured at epoch 0, if it was probed."""
    at = history[history.epoch == epoch]
    errors = at[list(ONE_STEP)].to_numpy(float)
    one_step = bootstrap.sample(lambda seeds: np.median(errors[seeds], axis=0), at["seed"].to_numpy())
    parts = [
        (list(ONE_STEP), one_step, [True] * len(ONE_STEP), np.nan),
        numbers_of(m, SCALARS | SECTORS),
        numbers_of(kernel["trained"][0], KERNEL),
    ]
    if kernel["untrained"]:
        untrained = {name: KERNEL[name] for name in BESIDE}
        parts.append(numbers_of(kernel["untrained"][0], untrained, UNTRAINED))
    if before:
        parts.append(untrained_correlations(m, before))
    # How far to trust the others: these have no interval.
    extra = checks(m) | agreements(m, kernel["trained"][0])
    extra |= {
        f"{name}_error": se for name, se in draws_errors(kernel["trained"], [*of_classes(TRANSFER, m.classes)]).items()
    }
    values = np.array([*extra.values()])
    none = np.full((bootstrap.DRAWS, len(extra)), np.nan)
    parts.append(([*extra], (values, none), [True] * len(extra), m.counts["n_probes"]))
    names, found, positive, probes = zip(*parts, strict=True)
    estimate, draws = (np.concatenate(part, axis=-1) for part in zip(*found, strict=True))
    return Sampled(
        [name for of_part in names for name in of_part],
        estimate,
        draws,
        np.concatenate(positive),
        m.counts["n_seeds"],
        np.repeat(np.array(probes, float), [len(of_part) for of_part in names]),
        m.first,
    )


def agreements(m: Measured, kernel: Coupled) -> dict[str, float]:
    """How far the maps of influence and of the kernel agree between seeds and between probe batches."""
    maps = {"time": stability.time_maps(m), "class": stability.class_maps(m), "kernel": stability.kernel_maps(kernel)}
    if m.classes == 1:
        del maps["class"]
    seeds = {"time": m.seeds, "class": m.seeds, "kernel": kernel.seeds}
    return {
        f"agreement_{between}_{of}": value
        for of, found in maps.items()
        for between, value in stability.agreement(found, seeds[of]).items()
    }


def untrained_correlations(
    m: Measured, before: Measured
) -> tuple[list[str], tuple[np.ndarray, np.ndarray], list[bool], float]:
    """Of the maps of the network before training with the trained ones, as `numbers_of` gives numbers."""

    def correlations(units: np.ndarray) -> np.ndarray:
        then, now = before.take(units), m.take(units)
        return np.array([stability.correlation(of(now), of(then)) for of in maps.values()])

    maps = {"time": stability.time_maps} | ({"class": stability.class_maps} if m.classes > 1 else {})
    names = [f"untrained_correlation_{name}" for name in maps]
    return names, bootstrap.sample(correlations, m.seeds), [False] * len(names), m.counts["n_probes"]


def numbers_of(
    measured: Measured | Coupled, scalars: Mapping[str, Scalar], suffix: str = ""
) -> tuple[list[str], tuple[np.ndarray, np.ndarray], list[bool], float]:
    """Names, values with those of each bootstrap draw, whether each is positive, and the number of probe batches."""
    scalars = of_classes(scalars, measured.classes)

    def values(units: np.ndarray) -> np.ndarray:
        part = measured.take(units)
        return np.array([scalar.value(part) for scalar in scalars.values()])

    positive = [scalar.positive for scalar in scalars.values()]
    names = [f"{name}{suffix}" for name in scalars]
    return names, bootstrap.sample(values, measured.seeds), positive, measured.counts["n_probes"]


def main_numbers(numbers: Mapping[str, Sampled], system: str, architectures: Mapping[str, str]) -> pd.DataFrame:
    """Every number of every model with what was published of it; then of each two models, the first less the second."""
    tables = []
    for model, of_model in numbers.items():
        table = of_model.table()
        published_ends = [published.ends(system, architectures.get(model, ""), name) for name in table["name"]]
        table[["published_low", "published_high"]] = published_ends
        table.insert(0, "model", model)
        tables.append(table)
    for first, second in combinations(numbers, 2):
        if numbers[first].first != numbers[second].first:
            continue  # of other transitions
        table = (numbers[first] - numbers[second]).table()
        table.insert(0, "model", f"{first} - {second}")
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def conclusion(
    of_model: Sampled,
    m: Measured,
    kernel: Kernel,
    classes: Sequence[str],
    system: str,
    unseen: Sequence[str] = (),
    **told: Any,
) -> dict[str, Any]:
    """The verdict on a model, and the published signature: each a `label` and a `sentence`; the verdict in plain words.

    unseen: classes that it was not trained on; told: more of Evidence
    """
    rows = of_model.table().set_index("name")[list(Estimate._fields)]
    names = ("half_life", "class_transfer_ratio", "kernel_transfer_time")
    half_life, transfer, times = (Estimate(*row) for row in rows.reindex(names).to_numpy())
    c, reach = kernel["trained"][0], len(m.lags["intra"]) // 2
    values = rows["value"].reindex(
        ["validation", "persistence", "one_step_error_seen_times", "one_step_error_unseen_times"]
    )
    agreed = rows["value"].reindex(["agreement_seeds_kernel", "agreement_batches_kernel"])
    before = kernel["untrained"][0] if kernel["untrained"] else None
    evidence = Evidence(
        pairs=pairs(c, classes),
        times=times,
        training=None if before is None else trained_from(before, c),
        noises={
            noise: (both_ways(c, number)[np.triu_indices(len(classes), 1)].tolist(), transfer_time(c, number))
            for number, noise in enumerate(c.noises)
            if number
        },
        decay=Decay(half_life, halved(c, "alignment"), halved(c, "explained"), reach, m.shared),
        errors=(values.iloc[0], values.iloc[1]),
        seen=values.iloc[2],
        unseen=values.iloc[3],
        agreement=(agreed.iloc[0], agreed.iloc[1]),
        controls=system == CONTROLLED,
        overlap=overlap(c, m.first),
        **told,
    )
    label, sentence = signature(
        half_life, transfer if m.classes > 1 else None, *evidence.errors, reach=reach, shared=m.shared
    )
    horizon = rows["value"].get("trust_horizon", np.nan)
    plain = answer.told(evidence, horizon, trained_here=evidence.held_out is None, held_out=unseen)
    return verdict(evidence)._asdict() | {"signature": {"label": label, "sentence": sentence}} | plain


def plane(of_model: Sampled, kernel: Kernel, classes: Sequence[str]) -> pd.DataFrame:
    """What a network shares between times and each pair of classes: by weights and noise, intervals of the first noise.

    classes: their names; of one there is one row, its `classes` that class and its `between_classes` NaN, as they are
    where no step changes the predictions
    """
    rows = of_model.table().set_index("name")[list(Estimate._fields)]
    none = {(classes[0],): Estimate(np.nan, np.nan, np.nan)}
    found = []
    for weights, suffix in (("trained", ""), ("untrained", UNTRAINED)):
        for c in kernel[weights][:1]:
            (times,) = (Estimate(*row) for row in rows.reindex([f"kernel_transfer_time{suffix}"]).to_numpy())
            shown = {c.noises[0]: (times, pairs(c, classes))}
            for number, noise in enumerate(c.noises[1:], 1):
                between = {
                    (classes[a], classes[b]): Estimate(value, np.nan, np.nan)
                    for (a, b), value in np.ndenumerate(both_ways(c, number))
                    if a < b
                }
                shown[noise] = Estimate(transfer_time(c, number), np.nan, np.nan), between
            for noise, (times, between) in shown.items():
                for pair, estimate in (between or none).items():
                    of_pair = {"weights": weights, "noise": noise, "classes": " and ".join(pair)}
                    for name, (value, low, high) in (("between_times", times), ("between_classes", estimate)):
                        of_pair |= {name: value, f"{name}_low": low, f"{name}_high": high}
                    found.append(of_pair)
    return pd.DataFrame(found)


def overlap(c: Coupled, first: int) -> bool:
    """Whether transitions of the first and the last window share snapshots, of a network that is given first + 1."""
    times, windows = c.explained.shape[3], c.explained_window.shape[-1]
    window = np.arange(times) * windows // times
    return windows > 1 and int(np.argmax(window == windows - 1) - np.argmax(window > 0) + 1) <= first


def halved(c: Coupled, measure: str) -> float:
    return half_life_of(lag_medians(c.between_inputs(measure))["intra"], c.shared)


def both_ways(c: Coupled, noise: int = 0) -> np.ndarray:
    """Kernel transfer between classes, the mean of both directions, (C, C)."""
    transfer = pairs_of_classes(c, noise)
    return (transfer + transfer.T) / 2


def trained_from(before: Coupled, c: Coupled) -> tuple[tuple[float, float], tuple[float, float]]:
    """Kernel transfer between classes (median pair) and times, untrained and trained, in the batches that both have."""
    count = before.counts["n_probes"]
    same = c.take(np.concatenate([np.flatnonzero(c.seeds == seed)[:count] for seed in dict.fromkeys(c.seeds.tolist())]))
    among = transfer_class if c.classes > 1 else lambda _: float("nan")
    untrained, trained = ((among(part), transfer_time(part)) for part in (before, same))
    return untrained, trained


def pairs(c: Coupled, classes: Sequence[str]) -> dict[tuple[str, str], Estimate]:
    """Kernel transfer between each two classes, the mean of both directions, with its interval."""
    estimate, draws = bootstrap.sample(lambda units: both_ways(c.take(units)), c.seeds)
    low, high = bootstrap.ends(estimate, draws, c.counts["n_seeds"], True)
    return {
        (classes[a], classes[b]): Estimate(*(float(of[a, b]) for of in (estimate, low, high)))
        for a, b in combinations(range(len(classes)), 2)
    }
