"""Trainings without groups: which there are, and what they give where the answer is known."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
import yaml
from response_study import HERE, SNAPSHOTS, Study, retrained
from test_project import ROOT

from surroscope.config import jobs
from surroscope.config.networks import Factory
from surroscope.config.retraining import groups, members
from surroscope.config.study import check
from surroscope.cost_function import smse
from surroscope.data import transitions
from surroscope.diagnostics import retraining
from surroscope.errors import UserError
from surroscope.influence.responses import Response
from surroscope.models import context, surrogate
from surroscope.report.catalogue import figure
from surroscope.report.draw import draw
from surroscope.runtime import fingerprint, store
from surroscope.stages import coupling, cross, retrain, train
from surroscope.tables.retraining import bank, of_model
from surroscope.training import strategy
from surroscope.training.masked import masked

SPLIT = {"factory": "surroscope.models.controls:split_convolution", "options": {"groups": 2, "kernel": 3}}
# Of two classes and three times, each a window.
GROUPS = [(ic, time, time) for ic in ("CE-RP", "CE-CRP") for time in range(3)]


def config(**retraining: Any) -> dict[str, Any]:
    found = yaml.safe_load((ROOT / "config.yaml").read_text())
    return found | {"retraining": {"seeds": [10, 35], "models": ["unet"]} | retraining}


def trained(study: Study, member: str, left_out: list[tuple[str, int, int]], **changes: Any) -> xr.Dataset:
    made = {key: study.common[key] for key in ("system", "boundary", "model", "seed", "snapshots")} | SPLIT
    rule = {"epochs": 2, "save_epochs": [], "learning_rate": 1e-2, "batch": 6}
    path = study.folder / f"{member}.zarr"
    settings = jobs.Retrain(**made | rule | {"member": member, "left_out": left_out} | changes)
    retrain.stage(settings, stores=study.stores, split=study.split, retrained=path)
    return store.read(path).load()


@pytest.fixture(scope="module")
def separable(study: Study) -> list[xr.Dataset]:
    """A network of one convolution a class: all, without each group, and without the first class."""
    without = {f"without_{ic}_{time}": [(ic, time, time)] for ic, time, _ in GROUPS}
    left_out = {"all": []} | without | {"class_CE-RP": [("CE-RP", 0, 2)]}
    return [trained(study, member, found) for member, found in left_out.items()]


def test_what_shares_nothing_is_exactly_block_diagonal(separable: list[xr.Dataset]) -> None:
    found = bank(separable)
    errors = np.stack([found.error[name] for name in found.named("without")])
    effect = retraining.effects(errors, found.error["all"], found.window)
    assert effect.shape == (1, 6, 6)
    between = retraining.relations(2, 3)["between classes"]
    assert (effect[0][between] == 0).all()
    assert (effect[0][~between] != 0).all()
    # Without a whole class it is as untrained there, but for the decay of its weights, and as ever at the other.
    first, second = (found.error["class_CE-RP"][:, c] / found.error["all"][:, c] for c in (0, 1))
    assert (second == 1).all()
    assert (first > 1).all()


@pytest.fixture(scope="module")
def bank_and_measures(study: Study, separable: list[xr.Dataset]) -> tuple[list[xr.Dataset], xr.Dataset, xr.Dataset]:
    """The whole bank of the separable network, and what `cross` and `coupling` give for it."""
    told = retrained(study, "told", **SPLIT)
    settings = told.common | SPLIT
    pool = [("test", 0), ("train", 0), ("train", 1)]
    of_cost = SPLIT | {"responses": [Response("smse")], "span": "perturbation"}
    shards = [told.shard(f"told_cross{n}.zarr", [batch], pool, **of_cost) for n, batch in enumerate(pool)]
    rules = jobs.Cross(discarded_share=1e-4, damping=1e-6, damping_scale="absolute")
    paths = {name: told.folder / f"told_{name}.zarr" for name in ("cross", "coupling")}
    cross.stage(rules, shards=shards, cross=paths["cross"], threads=1, memory_mb=100, dask=HERE)
    draws = {"probes": [0], "untrained_probes": 1, "draws": 8, "patterns": 4, "noises": [1.0], "responses": []}
    coupling.stage(jobs.Coupling(**settings | draws), **told.inputs, coupling=paths["coupling"])
    halves = [[GROUPS[n] for n in chosen] for chosen in ((0, 1, 3), (1, 2, 5), (0, 4, 5), (2, 3, 4))]
    subsets = [trained(study, f"subset_{n}", half) for n, half in enumerate(halves)]
    window = trained(study, "window_1", [(ic, 1, 1) for ic in ("CE-RP", "CE-CRP")])
    other = trained(study, "class_CE-CRP", [("CE-CRP", 0, 2)])
    made = [*separable, other, window, *subsets]
    return made, *(store.read(path).load() for path in paths.values())


def test_every_table_of_what_shares_nothing_says_so(
    bank_and_measures: tuple[list[xr.Dataset], xr.Dataset, xr.Dataset],
) -> None:
    """Through every stage: between classes nothing by retraining, nothing by influence, nothing by the kernel."""
    made, crossed, kernel = bank_and_measures
    found = of_model(made, [crossed], [kernel])
    maps = found["retraining_maps"]
    groups = maps[(maps["level"] == "group") & ~maps["measure"].isin(["nearness", "blocks", "alignment"])]
    classes = groups[["tested", "left_out"]].map(lambda name: name.split()[0])
    between = (classes["tested"] != classes["left_out"]).to_numpy()
    assert set(groups["measure"]) >= {"retraining", "influence", "kernel_transfer", "explained", "coupling"}
    assert (groups[between]["value"] == 0).all()
    assert (groups[~between].groupby("measure")["value"].std() > 0).all()
    whole = maps[(maps["level"] == "class") & (maps["measure"] == "whole")]
    assert (whole[whole["tested"] != whole["left_out"]]["value"] == 0).all()
    locked = found["retraining_locking"].set_index(["measure", "name"])["value"]
    assert locked["kernel_transfer", "class_transfer"] == 0
    kept = found["retraining_kept"].set_index(["left_out", "measure"])
    assert (kept.xs("kernel_transfer", level="measure")["value"].loc[["CE-RP", "CE-CRP"]] == 0).all()
    assert kept.loc[("CE-RP", "whole"), "error_without"] > kept.loc[("CE-RP", "whole"), "error_all"]
    scores = found["retraining_scores"].set_index(["score", "relation", "measure", "seeds"])["value"]
    assert not scores[:, "between classes"].notna().any()
    assert scores["lds", "all", "retraining", "all"] == scores["lds", "all", "retraining", "1"]
    for name in ("retraining_maps", "retraining_sums", "retraining_scores", "retraining_kept"):
        draw(name, found[figure(name).table])


def test_every_seed_is_set_beside_its_own_measures(
    bank_and_measures: tuple[list[xr.Dataset], xr.Dataset, xr.Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retraining, "agreement", lambda *_: (0.0, 0.0, 0.0))  # of both seeds, with its interval
    made, crossed, kernel = bank_and_measures
    draw = np.random.default_rng(0)

    def other(of: xr.Dataset, *names: str) -> xr.Dataset:
        """Another seed's, with numbers of its own."""
        changed = of.copy(deep=True).assign_attrs(seed=7)
        for name in names:
            changed[name] = of[name] * np.exp(draw.normal(size=of[name].shape))
        return changed

    theirs = [other(of, "error", "persistence") for of in made]
    of_kernel = [name for name in ("explained", "coupling", "matched_white") if name in kernel]
    their_crossed, their_kernel = other(crossed, "influence"), other(kernel, *of_kernel)
    both = of_model([*theirs, *made], [crossed, their_crossed], [kernel, their_kernel])
    one, two = (of_model(*of) for of in ((made, [crossed], [kernel]), (theirs, [their_crossed], [their_kernel])))
    keys = ["level", "measure", "tested", "left_out"]
    maps, *alone = (found["retraining_maps"].set_index(keys)["value"] for found in (both, one, two))
    assert not np.allclose(*alone)
    np.testing.assert_allclose(maps, (alone[0] + alone[1]) / 2, rtol=1e-9, atol=1e-15)
    keys = ["score", "relation", "measure"]
    for seed, single in (("1", one), ("7", two)):
        scores, expected = (found["retraining_scores"] for found in (both, single))
        scores, expected = (t[t["seeds"] == seed].set_index(keys)["value"] for t in (scores, expected))
        np.testing.assert_allclose(scores, expected, rtol=1e-9)


def test_without_a_whole_class_its_parameters_only_decay(study: Study, separable: list[xr.Dataset]) -> None:
    left_out = [("CE-RP", 0, 2)]
    other = trained(study, "other", left_out, weight_decay=0.0)
    untrained = trained(study, "untrained", [*left_out, ("CE-CRP", 0, 2)], weight_decay=0.0)
    # Nothing at all is left there: every step is one by a gradient of zero.
    np.testing.assert_array_equal(other["error"][0], untrained["error"][0])
    assert (other["error"][1].mean() < untrained["error"][1].mean()).item()


def test_a_training_on_all_is_the_one_of_the_study(study: Study, separable: list[xr.Dataset]) -> None:
    """The bank's errors are those of the checkpoint that influence is of."""
    rule = {"learning_rate": 1e-2, "batch": 6, "epochs": 2, "save_epochs": [2]}
    made = {key: study.common[key] for key in ("system", "boundary", "model", "seed", "snapshots")}
    names = {name: study.folder / f"own_{name}" for name in ("weights", "history.csv", "checkpoints", "mapping")}
    outputs = {name.partition(".")[0]: path for name, path in names.items()}
    train.stage(jobs.Train(**made | SPLIT | rule), stores=study.stores, split=study.split, **outputs)
    network = surrogate.build(**SPLIT, shape=(4, 8, 8), seed=1)
    surrogate.load_weights(network, outputs["weights"], 2)
    probe = transitions.probes(study.stores, study.split, [("test", 1)], SNAPSHOTS)[0]
    given = context.of(network, torch.from_numpy(probe.snapshots), torch.from_numpy(probe.labels))
    with torch.no_grad():
        errors = smse(network(given), torch.from_numpy(probe.targets), torch.from_numpy(probe.inputs))
    np.testing.assert_allclose(separable[0]["error"][:, 1].values.ravel(), errors.numpy(), rtol=1e-6)
    assert separable[0]["number"][:, 1].values.tolist() == list(probe.trajectories)
    still = smse(*(torch.from_numpy(part) for part in (probe.inputs, probe.targets, probe.inputs)))
    np.testing.assert_allclose(separable[0]["persistence"][:, 1].values.ravel(), still.numpy(), rtol=1e-6)


def test_windows_that_hold_a_transition_that_is_left_out_count_nothing() -> None:
    seen = []

    def loss(forward: Any, window: strategy.Window) -> torch.Tensor:
        seen.append(window.labels.tolist())
        return forward(window.snapshots).flatten(1).sum(dim=1)

    labels = torch.tensor([[c, t] for c in range(2) for t in range(5)])
    window = strategy.Window(torch.nn.Identity(), torch.ones(10, 3, 1, 1, 1), labels)
    rule = masked(strategy.Strategy(loss, following=2), [(1, 2, 3)], draws=False)
    losses = rule.loss(lambda x: x, window)
    # A window from time 1 on holds the transition from time 2.
    assert [label for label, value in zip(labels.tolist(), losses.tolist(), strict=True) if not value] == [
        [1, 1],
        [1, 2],
        [1, 3],
    ]
    assert losses[losses != 0].tolist() == [3.0] * 7
    assert seen == [[label for label in labels.tolist() if label not in ([1, 1], [1, 2], [1, 3])]]
    # Of a strategy that draws, those of the others are as if nothing were left out.
    drawn = strategy.Strategy(lambda forward, of: loss(forward, of) + torch.rand(len(of.labels)), following=2)
    torch.manual_seed(0)
    every = drawn.loss(lambda x: x, window)
    torch.manual_seed(0)
    others = masked(drawn, [(1, 2, 3)]).loss(lambda x: x, window)
    assert torch.equal(others[losses != 0], every[losses != 0])
    assert (others[losses == 0] == 0).all()
    parameter = torch.ones(1, requires_grad=True)
    nothing = masked(strategy.Strategy(loss), [(0, 0, 4), (1, 0, 4)]).loss(lambda x: x * parameter, window)
    nothing.sum().backward()
    assert (nothing == 0).all()
    assert parameter.grad is not None
    assert parameter.grad.item() == 0


def test_members_stay_as_they_are_when_more_are_asked_for() -> None:
    few, many = (check(config(subsets=n), "config.yaml") for n in (3, 40))
    found, more = members(few, "CE", "unet"), members(many, "CE", "unet")
    assert len(found) == 1 + 12 + 3 + 4 + 3
    assert found == {name: more[name] for name in found}
    assert list(more)[: len(found)] == list(found)
    halves = [more[f"subset_{n}"] for n in range(40)]
    assert {len(half) for half in halves} == {6}
    assert len({json.dumps(half) for half in halves}) > 35
    # Every group is in about half of them.
    share = [sum(group in half for half in halves) for group in groups(many, "CE", "unet").values()]
    assert 8 < min(share) <= max(share) < 32
    assert found["window_3"] == [(ic, 12, 15) for ic in ("CE-RP", "CE-CRP", "CE-RPUI")]
    assert members(check(config(window=5), "config.yaml"), "CE", "unet")["without_CE-RP_2"] == [("CE-RP", 10, 15)]


def test_a_training_reads_what_it_leaves_out_and_no_more() -> None:
    def read(member: str, **changes: Any) -> str:
        return jobs.settings(check(config() | changes, "c"), "retrain", **of, member=member)

    of = {"system": "CE", "model": "unet", "seed": "10"}
    other = copy.deepcopy(config())
    other["systems"]["CE"]["models"]["unet"]["probe_epochs"] = [5, 13]
    for member in ("all", "without_CE-CRP_2", "subset_1"):
        assert read(member) == jobs.settings(check(other, "c"), "retrain", **of, member=member)
        assert read(member) == jobs.settings(check(config(subsets=70), "c"), "retrain", **of, member=member)
        assert read(member) == read(member, coupling={"draws": 24})
    narrow = check(config(window=2) | {"cross": {"seed": 10, "train": 5}}, "c")
    assert read("all") == jobs.settings(narrow, "retrain", **of, member="all")
    assert read("without_CE-CRP_2") != jobs.settings(narrow, "retrain", **of, member="without_CE-CRP_2")
    other["systems"]["CE"]["models"]["unet"]["training"]["learning_rate"] = 1e-3
    assert read("all") != jobs.settings(check(other, "c"), "retrain", **of, member="all")


def test_an_edit_of_what_is_concluded_trains_nothing_again() -> None:
    closure: set[str] = set()
    fingerprint._collect("surroscope.stages.retrain", "surroscope", closure)
    assert "surroscope.training.masked" in closure
    above = ("surroscope.diagnostics", "surroscope.tables", "surroscope.influence", "surroscope.plots")
    assert not [name for name in closure if name.startswith(above)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cross": None}, ["retraining", "ask for cross too"]),
        ({"retraining": {"seeds": [11]}}, ["retraining asks for seed 11", "[10, 35, 42]"]),
        ({"retraining": {"seeds": [10], "models": ["net"]}}, ["retraining.models", "'net'", "unet, vit"]),
        ({"retraining": {"seeds": [10], "window": 3}}, ["cross.every is 4", "retraining.window, 3"]),
        ({"retraining": {"seeds": [10], "subsets": -1}}, ["retraining.subsets"]),
        (
            {"retraining": {"seeds": [10], "window": 9}, "systems.CE.classes": ["CE-RP"]},
            ["retraining.window is 9", "systems.CE.models.unet"],
        ),
        ({"systems.CE.models.unet.training.budget": 1e5}, ["systems.CE.models.unet.training.budget", "epochs"]),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], words: list[str]) -> None:
    values = copy.deepcopy(config())
    for key, value in changes.items():
        *path, last = key.split(".")
        place = values
        for part in path:
            place = place[part]
        place[last] = value
    with pytest.raises(UserError) as error:
        check(values, "config.yaml")
    assert all(word in str(error.value) for word in words), error.value


def test_networks_of_others_are_not_trained_again(tmp_path: Path) -> None:
    values = yaml.safe_load((ROOT / "config.yaml").read_text())
    for model in values["systems"]["CE"]["models"].values():
        del model["training"]
        model |= {"weights": str(tmp_path / "{seed}.pt"), "probe_epochs": [1]}
    values |= {"retraining": {"seeds": [10]}, "split": {"trained": "split"}, "fidelity": None}
    with pytest.raises(UserError, match="networks that are trained here"):
        check(values, "config.yaml")


def test_what_makes_batches_of_its_own_is_not_retrained_and_dropout_is_drawn_for_all(study: Study) -> None:
    of_fish = {"factory": "surroscope.training.strategies.fish:build", "options": {"window": 1}}
    with pytest.raises(UserError, match=r"training\.strategy chooses the windows .* out of retraining\.models"):
        trained(study, "fish", [], strategy=Factory(**of_fish))
    assert not retrain.drops(torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.Dropout(0.0)))
    assert retrain.drops(torch.nn.Sequential(torch.nn.Dropout2d(0.1)))
    assert retrain.drops(torch.nn.TransformerEncoderLayer(4, 2, 6, dropout=0.2))
