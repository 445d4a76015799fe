"""Tables of random numbers, one for every figure."""

from itertools import product

import numpy as np
import pandas as pd

from surroscope.plots.dial import SHOWN as DIALLED
from surroscope.plots.dynamics import SHOWN
from surroscope.plots.retraining import KEPT as SAID
from surroscope.plots.retraining import MAPS as MAPPED
from surroscope.plots.retraining import RELATIONS as JUDGED

MODELS = ("vit", "unet")  # not alphabetical: order must come from the table
CLASSES = ("RP", "CRP")
OBSERVABLES = ("smse", "mass", "energy")
PARTS = (
    "classes",
    "sensitivity",
    "cross",
    "maps",
    "symmetry",
    "dial",
    "fidelity",
    "leads",
    "remedies",
    "retraining",
    "pbrf",
    "epochs",
    "turns",
    "conserved",
    "lines",
    "box",
    "untrained",
)
REACH = 3
CHANNELS = ("density", "momentum_x")
BOTH, SIDE = ("response", "perturbation"), {"lead": (1, 4), "time": (0, 1, 2)}
RELATIONS = ("self", "intra-class", "inter-class")


def summary(random, rows, positive=False):
    """Rows of keys, completed with quartiles and counts."""
    table = pd.DataFrame(rows)
    centre = 0.5 + random.uniform(size=len(table)) if positive else random.normal(size=len(table))
    ends = {"low": centre - 0.1, "high": centre + 0.1}
    return table.assign(q25=centre - 0.2, median=centre, q75=centre + 0.3, **ends, n_seeds=3, n_probes=6)


def keys(**values):
    return [dict(zip(values, row, strict=True)) for row in product(*values.values())]


def sensitivity(random):
    """Two seeds; the full space does not converge at the smallest damping, where nothing decays at the largest."""
    curves = keys(model=MODELS, seed=(10, 35), method=("span cut", "span none", "full -"), damping=(1e-6, 1e-3, 1.0))
    rows = pd.DataFrame(curves + keys(model=MODELS, seed=(10, 35), method=("euclidean -", "adam -"), damping=(np.nan,)))
    rows[["quantity", "cut"]] = rows.pop("method").str.split(expand=True).to_numpy()
    for column in ("half_life", "class_transfer", "off_diagonal_ratio", "correlation"):
        rows[column] = random.uniform(size=len(rows))
    rows.loc[rows["damping"] == 1.0, "half_life"] = np.inf
    return rows.assign(
        relative_difference=0.1,
        certificate=np.nan,
        converged=(rows["quantity"] != "full") | (rows["damping"] > 1e-6),
        reference=(rows["cut"] == "cut") & (rows["damping"] == 1e-6),
        n_probes=6,
    )


def orbit(random, **about):
    """Turns, mirror images, and all shifts up to a reach."""
    shifts = [(f"x{x}y{y}", x, y) for x in range(REACH + 1) for y in range(REACH + 1) if x or y]
    actions = pd.DataFrame(
        [*((name, 0, 0) for name in ("e", "r", "s")), *shifts], columns=("action", "shift_x", "shift_y")
    )
    return summary(random, pd.DataFrame(keys(**about)).merge(actions, how="cross"))


def coupling_tables(random):
    """The tables of what is shared between inputs, of the trained and of the untrained network."""
    about = {
        "model": MODELS,
        "measure": ("explained", "matched_white", "alignment"),
        "weights": ("trained", "untrained"),
    }
    signed = {"model": MODELS, "measure": ("influence",), "weights": ("trained",)}
    transfer = about | {"measure": ("kernel_transfer",)}
    lags = {"relation": ("intra-class", "inter-class"), "lag": range(-3, 4)}
    classes = {"perturbation_class": CLASSES, "response_class": CLASSES}
    windows = {"perturbation_window": range(2), "response_window": range(2)}
    tables = {
        "coupling_lag": keys(**about, **lags) + keys(**signed, **lags),
        "coupling_classes": keys(**transfer, **classes) + keys(**signed, **classes),
        "coupling_groups": keys(**transfer, **classes, **windows),
        "coupling_distance": keys(**about, distance=(0.01, 0.1, 1.0)),
    }
    return {name: summary(random, rows).assign(error=0.01) for name, rows in tables.items()}


def verdict_plane(random):
    """Two pairs of classes, one of a network of which nothing is known before training."""
    rows = pd.DataFrame(
        keys(model=MODELS, weights=("trained", "untrained"), noise=(1e-3, 1e-2), classes=("RP and CRP", "RP and RPUI"))
    )
    for name in ("between_times", "between_classes"):
        rows[name] = random.uniform(size=len(rows))
        for end, of in (("low", -0.1), ("high", 0.1)):
            rows[f"{name}_{end}"] = (rows[name] + of).where((rows["noise"] == 1e-3) & (rows["weights"] == "trained"))
    rows["label"] = np.where(rows["model"] == MODELS[0], "times shared", "too weak to say")
    return rows[(rows["model"] == MODELS[0]) | (rows["weights"] == "trained")]


def dial_tables(random):
    """What networks are known to share beside the measures shown of it, one of them infinite."""
    measures = [
        {"kind": kind, "metric": metric, "normalization": normalization, "measure": measure}
        for kind, shown in DIALLED.items()
        for metric, normalization, measure in shown
    ]
    networks = pd.DataFrame(keys(model=MODELS, seed=(10, 35), epoch=(1, 10)))
    networks["share"] = np.where(networks["model"] == MODELS[0], 0.0, 1.0)
    values = pd.DataFrame(measures).merge(networks, how="cross")
    values["value"] = values["share"] + 0.1 * random.normal(size=len(values))
    values.loc[0, "value"] = np.inf
    points = [
        {"threshold": threshold, "false_positive": x, "true_positive": y}
        for threshold, x, y in ((np.inf, 0.0, 0.0), (2.0, 0.0, 0.5), (1.0, 0.5, 1.0), (0.0, 1.0, 1.0))
    ]
    return {"dial_measures": values, "dial_roc": pd.DataFrame(measures).merge(pd.DataFrame(points), how="cross")}


def retraining_tables(random):
    """Effects of leaving groups out beside what measures say, a ceiling of one model missing, and what is kept."""
    windows = ("0-3", "4-7")
    names = {"class": CLASSES, "window": windows, "group": [f"{ic} {w}" for ic in CLASSES for w in windows]}
    maps, kept = [], []
    for level, of in names.items():
        measures = [*MAPPED, *(("whole",) if level != "group" else ())]
        maps += keys(model=MODELS, level=(level,), measure=measures, tested=of, left_out=of)
        if level != "group":
            kept += keys(model=MODELS, level=(level,), left_out=of, measure=("whole", "retraining", *SAID))
    maps = pd.DataFrame(maps)
    maps["value"] = (maps["tested"] == maps["left_out"]) + 0.3 * random.normal(size=len(maps))
    scores = [
        row
        for (score, relation) in JUDGED
        for row in keys(model=MODELS, score=(score,), relation=(relation,), measure=MAPPED, seeds=("all", "10", "35"))
    ]
    scores = pd.DataFrame(scores)
    scores["value"] = random.uniform(-0.5, 0.9, size=len(scores))
    single = scores["seeds"] != "all"
    scores = scores.assign(
        low=np.where(single, np.nan, scores["value"] - 0.2),
        high=np.where(single, np.nan, scores["value"] + 0.1),
        reliability=0.5,
        ceiling=np.where(scores["model"] == MODELS[0], 0.8, np.nan),
    )
    kept = pd.DataFrame(kept)
    kept["value"] = random.uniform(-0.5, 1, size=len(kept))
    found = {
        "retraining_maps": maps.assign(seed_noise=0.1),
        "retraining_scores": scores,
        "retraining_kept": kept.assign(
            low=kept["value"] - 0.1, high=kept["value"] + 0.1, error_without=0.02, error_all=0.01, persistence=0.04
        ),
    }
    return {name: table.assign(n_seeds=2) for name, table in found.items()}


def training_tables(random):
    """The tables about the course of training, and what influence has to do with rollouts."""
    checkpoints = pd.DataFrame(keys(model=MODELS, quantity=("span",), seed=(10, 35, 42), epoch=(0, 5, 10)))
    for name in SHOWN:
        checkpoints[name] = 1 + random.uniform(size=len(checkpoints))
    checkpoints.loc[checkpoints["epoch"] == 0, "half_life"] = np.inf
    frames = keys(
        model=MODELS, quantity=("span",), epoch=(0, 5, 10), perturbation_time=range(4), response_time=range(4)
    )
    bars = pd.DataFrame(keys(model=MODELS, quantity=("span",), relation=("intra-class", "inter-class"), bar=range(5)))
    bars = bars.assign(
        **{"from": bars["bar"] - 2.0, "to": bars["bar"] - 1.0, "density": random.uniform(size=len(bars))}
    )
    horizons = pd.DataFrame(keys(model=MODELS, quantity=("span",), horizon=range(1, 5)))
    value = random.uniform(-0.8, 0, size=len(horizons))
    ends = {"value": value, "low": value - 0.1, "high": value + 0.2, "n_points": 36, "n_seeds": 3, "n_probes": 4}
    ends |= {"within": value / 2, "within_low": value / 2 - 0.2, "within_high": value / 2 + 0.1}
    points = pd.DataFrame(keys(model=MODELS, quantity=("span",), horizon=(1, 4), **{"class": CLASSES}, unit=range(6)))
    points = points.assign(ratio=random.uniform(size=len(points)), error=random.uniform(0.1, 1, size=len(points)))
    return {
        "rollout_points": points.assign(n_seeds=3, n_probes=2),
        "checkpoints": checkpoints,
        "histogram": bars.assign(n_seeds=3, n_probes=6),
        "two_time_training": summary(random, frames),
        "rollout_correlation": horizons.assign(**ends, published=np.where(horizons["horizon"] == 1, -0.6, np.nan)),
        "drift": summary(random, keys(model=MODELS, channel=CHANNELS, snapshot=range(1, 6)), positive=True),
    }


def response_tables(random, fields):
    """The tables about what responds to a step."""
    pairs = pd.DataFrame(
        [
            {"pair": i, "response_class": a, "response_time": tau, "perturbation_class": b, "perturbation_time": 4}
            for i, (a, tau, b) in enumerate((("RP", 4, "RP"), ("RP", 8, "RP"), ("CRP", 4, "RP")))
        ]
    )
    cells = pd.DataFrame(keys(model=MODELS, channel=CHANNELS, **fields))
    maps = pairs.merge(cells, how="cross")
    rows, columns = len(fields["y"]), len(fields["x"])
    cell = columns * (rows * maps["y"]) + columns * maps["x"]
    state = random.uniform(size=rows * columns)[cell.round().astype(int)]
    ranked = pd.DataFrame(
        [
            ("test", 0, "RP", 7, 4, np.nan),
            ("helped", 2, "CRP", 2, 3, 4.0),
            ("helped", 1, "RP", 1, 4, 5.0),
            ("hurt", 8, "CRP", 8, 16, -1.0),
            ("hurt", 9, "CRP", 9, 15, -2.5),
        ],
        columns=("role", "rank", "class", "trajectory", "time", "influence"),
    )
    examples = ranked.merge(cells, how="cross")
    span = {"model": MODELS, "quantity": ("span",)}
    leverage = summary(random, keys(**span, **{"class": CLASSES}, time=range(4)), positive=True)
    channels = keys(**span, relation=RELATIONS, response_channel=CHANNELS, perturbation_channel=CHANNELS)
    return {
        "sensitivity": sensitivity(random),
        "channels": summary(random, channels),
        "fronts": summary(random, keys(**span, relation=RELATIONS), positive=True).assign(area=0.2),
        "response_maps": maps.assign(quantity="span", state=state, response=random.normal(size=len(maps))),
        "attribution_fields": examples.assign(quantity="span", value=random.uniform(size=len(examples))),
        "leverage": leverage.drop(columns=["low", "high", "n_seeds", "n_probes"]).assign(n_batches=5),
        "leads": summary(
            random,
            keys(model=MODELS, **{f"{kind}_{axis}": values for kind in BOTH for axis, values in SIDE.items()}),
        ),
        "symmetry": orbit(random, **span),
        "equivariance": orbit(random, model=MODELS),
    }


def fidelity_tables(random):
    """Proximal steps of two sizes, and one and ten steps of the optimiser, which have no size of their own."""
    steps = [("span", 0.01), ("span", 0.1), *((kind, np.nan) for kind in ("adamw", "adamw_10", "adamw_own"))]
    about = {"model": MODELS, "predictor": ("first_order", "span", "adam")}
    rows = keys(**about, relation=("all", "intra-class"), statistic=("slope", "r2", "spearman", "sign"))
    statistics = [row | {"kind": kind, "fall": fall} for kind, fall in steps for row in rows]
    pairs = keys(model=MODELS, predictor=("span",), unit=(0,), perturbation=(0, 3), sample=range(6))
    shown = [*steps[1:], ("pbrf", 0.01), ("pbrf", 0.1)]
    points = pd.DataFrame([row | {"kind": kind, "fall": fall} for kind, fall in shown for row in pairs])
    points["relation"] = np.where(points["perturbation"] == points["sample"], "self", "inter-class")
    values = {name: random.normal(size=len(points)) for name in ("predicted", "measured")}
    return {
        "fidelity": summary(random, statistics).assign(fell=0.05, n_perturbations=2),
        "fidelity_pairs": points.assign(**values),
    }


def remedy_tables(random):
    """Networks against a baseline, one of which blew up, and numbers that may foretell it, some without a value."""
    kinds = {"classes": ("trained on", "held out")}
    outcomes = pd.DataFrame(keys(model=MODELS, outcome=("rollout", "one_step"), **kinds))
    ratio = np.where(outcomes["model"] == MODELS[0], 1.0, np.exp(0.3 * random.normal(size=len(outcomes))))
    outcomes = outcomes.assign(ratio=ratio, low=0.9 * ratio, high=1.2 * ratio, blown_up=0.0, steps=16, rank=1.0)
    outcomes.loc[outcomes.index[-1], ["ratio", "blown_up"]] = np.inf, 0.8
    measures = ("half_life", "kernel_transfer_time", "off_diagonal_ratio", "validation", "rollout_4")
    foretold = pd.DataFrame(keys(arms=("all", "not planted"), measure=measures, **kinds))
    rho = random.uniform(-0.8, 0.8, size=len(foretold))
    ends = {"spearman": rho, "low": rho - 0.1, "high": rho + 0.2, "partial": rho / 2, "critical": 0.738}
    foretold = foretold.assign(**ends, epoch=1, n_arms=8, n_seeds=3, rival=foretold["measure"].isin(measures[-2:]))
    foretold.loc[:1, ["spearman", "low", "high", "partial"]] = np.nan
    arms = pd.DataFrame(keys(model=MODELS, measure=measures, **kinds))
    arms = arms.assign(value=random.uniform(size=len(arms)), ratio=np.exp(random.normal(size=len(arms))))
    arms.loc[0, "value"] = np.inf
    return {
        "remedies": outcomes.assign(
            **{mark: outcomes["model"] == name for mark, name in zip(("baseline", "planted"), MODELS, strict=True)},
            n_seeds=3,
            n_trajectories=6,
        ),
        "foresight": foretold,
        "foresight_arms": arms.assign(planted=arms["model"] == MODELS[1]),
    }


def rollout_fields(random, fields):
    about = {"class": CLASSES[:1], "start": (0,), "snapshot": range(3), "channel": CHANNELS}
    table = pd.DataFrame(keys(model=MODELS, **about, **fields))
    truth = 1 + random.uniform(size=len(table) // 2)
    return table.assign(truth=np.tile(truth, 2), prediction=np.tile(truth, 2) + 0.1 * random.normal(size=len(table)))


def all_tables(rows: int = 4, columns: int = 4) -> dict[str, pd.DataFrame]:
    """Every table; those of fields have so many rows and columns of cells."""
    random = np.random.default_rng(0)
    influence = {"model": MODELS, "observable": OBSERVABLES, "step": ("smse",)}
    influence |= {"quantity": ("span",), "normalization": ("standard",)}
    epochs = keys(model=MODELS, epoch=(1, 5, 10))
    spectrum = summary(random, epochs, positive=True).assign(minimum=0.1, maximum=50.0, condition=500.0)
    fields = {"y": np.arange(rows) / rows, "x": np.arange(columns) / columns}
    prediction = pd.DataFrame(
        keys(model=MODELS, **{"class": CLASSES}, start=(0,), snapshot=(1, 3), channel=("density",), **fields)
    )
    truth = 1 + random.uniform(size=len(prediction) // 2)
    prediction["truth"] = np.tile(truth, 2)
    snapshots = pd.DataFrame(keys(**{"class": CLASSES}, snapshot=(0, 2), channel=("density",), **fields))
    starts = [row for row in keys(model=(*MODELS, "persistence"), start=range(3), snapshot=range(5))]
    return {
        "two_time": summary(random, keys(**influence, perturbation_time=range(4), response_time=range(4))),
        "class_transfer": summary(random, keys(**influence, perturbation_class=CLASSES, response_class=CLASSES)),
        "time_lag": summary(random, keys(**influence, relation=("intra-class", "inter-class"), lag=range(-3, 4))),
        "interpolation": summary(
            random, keys(model=MODELS, quantity=("span",), normalization=("standard",), distance=(0.01, 0.1, 1.0))
        ),
        "spectrum": spectrum.assign(largest_metric_eigenvalue=1e7),
        "training": pd.DataFrame(epochs).assign(
            **{
                f"{part}_{s}": v
                for part in ("train", "validation")
                for s, v in zip(("minimum", "median", "maximum"), (0.1, 0.2, 0.3), strict=True)
            },
            persistence=0.5,
            n_seeds=3,
        ),
        "rollout_error": summary(
            random, [row for row in starts if row["start"] == 0 < row["snapshot"]], positive=True
        ).assign(trust_horizon=2.0),
        "rollout": summary(random, [row for row in starts if row["snapshot"] > row["start"]], positive=True),
        "snapshots": snapshots.assign(time=0.1 * snapshots["snapshot"], value=random.uniform(size=len(snapshots))),
        "prediction": prediction.assign(prediction=prediction["truth"] + 0.1 * random.normal(size=len(prediction))),
        "rollout_fields": rollout_fields(random, fields),
    } | (
        coupling_tables(np.random.default_rng(1))
        | {"verdict_plane": verdict_plane(np.random.default_rng(4))}
        | dial_tables(np.random.default_rng(2))
        | retraining_tables(np.random.default_rng(3))
        | response_tables(random, fields)
        | training_tables(random)
        | fidelity_tables(np.random.default_rng(2))
        | remedy_tables(np.random.default_rng(3))
    )


def panels(figure):
    """The titled axes by title: one panel a model, no colour bars."""
    return {axes.get_title(): axes for axes in figure.axes if axes.get_title()}


def select(table, **values):
    for column, value in values.items():
        table = table[table[column] == value]
    return table
