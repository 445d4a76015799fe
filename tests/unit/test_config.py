"""The configuration is checked before any job, one line for each key that is wrong."""

import copy
import itertools
import json
import re
import textwrap
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from default_study import DEFAULT, ROOT, changed

from surroscope.config.jobs import public, settings
from surroscope.config.study import check
from surroscope.errors import UserError
from surroscope.observables.catalogue import known

STUDIES = [ROOT / "config.yaml", *sorted((ROOT / "workflow" / "presets").glob("*.yaml"))]


def bomb(depth: int) -> list[Any]:
    """What ten aliases in each of so many lists stand for."""
    return [bomb(depth - 1)] * 10 if depth else [0]


def endless() -> list[Any]:
    itself: list[Any] = []
    itself.append(itself)
    return itself


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_shipped_study_is_valid(path: Path) -> None:
    study = check(yaml.safe_load(path.read_text()), path.name)
    assert study.study == (path.stem if path.stem != "config" else "default")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("sedes", [1], ["sedes", "unknown key"]),
        ("data.sise", 32, ["data.sise", "unknown key"]),
        ("data.size", "32", ["data.size", "'32'", "integer"]),
        ("data.size", 31, ["data", "31 x 31", "even"]),
        ("data.size", [1, 32], ["data", "1 x 32", "square"]),
        ("data.size", [8], ["data.size", "at least 2"]),
        ("data.files", {"a": "a.nc"}, ["data", "source is 'simulation'", "files go with source: files"]),
        ("data.source", "files", ["data", "source is 'files' and files {}"]),
        ("data.dtype", "int8", ["data.dtype", "'int8'", "float64"]),
        (
            "data.channels",
            {"density": "(-8) ** (1/3) * rho"},
            ["data.channels", "density: ", "complex", "mend its pow"],
        ),
        ("data.channels", {"density": "1 / (1 - 1) * rho"}, ["data.channels", "density: ", "division by zero"]),
        ("data.channels", {"density": "rho; 1"}, ["data.channels", "'rho; 1' is no expression"]),
        ("data.dimensions", {"z": "lev"}, ["data.dimensions", "trajectory, time, channel, y, x"]),
        ("data.dimensions", ["x", "x"], ["data.dimensions", "in order"]),
        ("data.time_step", 0.0, ["data.time_step", "greater than 0"]),
        ("data.dtype", "float64", ["data", "dtype goes with source: files"]),
        ("data.dimensions", {"x": "a", "y": "a"}, ["data.dimensions", "its own name"]),
        ("data.channels", {"density": "2 * 3"}, ["data.channels", "'2 * 3' reads no variable"]),
        ("systems.CE.equations", {"channels": ["smse"]}, ["equations", "channels holds 'smse'", "rename it"]),
        ("systems.a/b", DEFAULT["systems"]["CE"], ["systems.a/b", "letters, digits"]),
        ("systems.CE.equations", {"channels": ["a"]}, ["systems.CE.equations goes with data.source: files"]),
        ("systems.CE.equations", {"channels": ["a"], "positive": ["b"]}, ["equations", "positive holds 'b'", "a"]),
        ("data.preset", "published", ["data.preset", "'published'", "paper"]),
        ("study", None, ["study", "missing"]),
        ("seeds", [1, 1], ["seeds", "twice"]),
        ("seeds", [-1], ["seeds.0", "-1", "greater than or equal to 0"]),
        (
            "systems.CE.classes",
            ["CE-RP", False],
            ["systems.CE.classes.1", "found False; expected text; put it in quotes"],
        ),
        (
            "systems.CE.models",
            {1: DEFAULT["systems"]["CE"]["models"]["vit"]},
            ["CE.models.1", "found 1; expected text"],
        ),
        ("systems.CE.classes", ["CE-RP", "CE-RP"], ["systems.CE.classes", "'CE-RP' stands twice"]),
        ("systems.CE.observables", ["smse", "smse"], ["systems.CE.observables", "'smse' stands twice"]),
        ("symmetry", {"line": 32}, ["symmetry.line is 32", "31 cells"]),
        ("symmetry", {"probes": 99}, ["symmetry.probes", "probe.batches"]),
        ("symmetry", {"seeds": [3]}, ["symmetry asks for seed 3"]),
        ("observables", {"energy": {"factory": "a:b"}}, ["observables", "'energy'", "rename it"]),
        ("sensitivity.seeds", [10, 10], ["sensitivity.seeds", "10 stands twice"]),
        ("study", "my study", ["study", "'my study'", "letters, digits"]),
        ("influence.solvers", "subspace", ["influence.solvers", "'subspace'", "expected a list"]),
        ("maps.pairs", [["CE-RP", 16, "CE-RP", 5]], ["maps.pairs", "time 16", "the last is 15"]),
        ("maps.pairs", [["CE-RP", 5, "NS-BB", 5]], ["maps.pairs", "'NS-BB'", "CE-CRP"]),
        ("maps.pairs", [["CE-RP", 5, "CE-RP", "5"]], ["maps.pairs.0.3", "'5'", "integer"]),
        ("systems.CE.models.persistence", DEFAULT["systems"]["CE"]["models"]["vit"], ["CE.models", "'persistence'"]),
        ("systems.CE.models.tables", DEFAULT["systems"]["CE"]["models"]["vit"], ["CE.models", "'tables'", "rename it"]),
        ("study", "report.html", ["study", "'report.html'", "rename it"]),
        ("study", "default.tar.gz", ["study", "'default.tar.gz'", "rename it"]),
        ("study", "x" * 101, ["study", "at most 100 characters"]),
        ("systems", {"provenance.json": DEFAULT["systems"]["CE"]}, ["systems.provenance.json", "rename it"]),
        ("systems.CE.models.vit.training.learning_rate", "2e-3", ["learning_rate", "'2e-3'", "2.0e-3"]),
        ("influence.discarded_share", 2.0, ["influence.discarded_share", "less than 1"]),
        ("seeds", [], ["seeds", "at least 1"]),
        ("split.train", 0.9, ["split", "1.25", "make it 1"]),
        ("probe.batches", 50, ["probe.batches is 50", "18 test trajectories", "lower it"]),
        ("probe.snapshots", 40, ["probe.snapshots is 40", "data.snapshots is 21"]),
        ("gradients.shards", 9, ["gradients.shards is 9", "4 probe batches"]),
        ("systems.CE.models.vit.probe_epochs", [50], ["systems.CE.models.vit", "50", "training.epochs is 20"]),
        ("systems.CE.models.vit.probe_epochs", [3, 2], ["probe_epochs", "increasing"]),
        ("systems.CE.models.vit.probe_epochs", [-1, 2], ["probe_epochs.0", "-1", "greater than or equal to 0"]),
        ("systems.CE.models.vit.factory", "vit", ["systems.CE.models.vit.factory", "'vit'", "package.module:function"]),
        ("systems.CE.models.vit.training.learning_rate", -1.0, ["learning_rate", "-1.0", "greater than 0"]),
        ("systems.CE.models.vit.training.learning_rate", float("nan"), ["learning_rate", "nan"]),
        ("systems.CE.classes", ["CE-RP", "NS-BB"], ["systems.CE.classes", "'NS-BB'", "CE-CRP"]),
        ("systems.CE.observables", ["mass"], ["systems.CE.observables", "smse"]),
        ("systems.CE.observables", ["smse", "spin"], ["'spin'", "choose from"]),
        ("systems.MHD", DEFAULT["systems"]["CE"], ["systems holds 'MHD'", "CE, NS", "systems.MHD.equations"]),
        ("figures.dpi", 10**30, ["figures.dpi", "found 10000", "less than or equal to 1200"]),
        ("figures.dpi", 10**4000, ["figures.dpi", "found a number of 13288 bits", "less than or equal to 1200"]),
        ("figures.heatmap_limit", 1e300, ["figures.heatmap_limit", "1e+300", "less than or equal to 1000000"]),
        ("influence.damping", 10**400, ["influence.damping", "found a number of 1329 bits"]),
        ("systems.CE.models.vit.training.epochs", 10**30, ["vit.training.epochs", "less than or equal to 1000000"]),
        ("systems.CE.models.vit.training.weight_decay", 1e200, ["vit.training.weight_decay", "less than or equal to"]),
        ("seeds", [10**30], ["seeds.0", "less than or equal to 9007199254740992"]),
        ("data.seed", 10**30, ["data.seed", "less than or equal to 9007199254740992"]),
        ("data.size", [8, 10**30], ["data.size.1", "less than or equal to 16384"]),
        ("systems.CE.trajectories", 10**30, ["systems.CE.trajectories", "less than or equal to 1000000"]),
        ("systems.CE.trajectories", 10**6, ["data.block is 30", "33334 jobs a class", "raise it"]),
        (
            "systems.CE.models.vit.options",
            {"a": [{"b": date(2020, 1, 1)}]},
            ["options", "a.0.b is of type date", "quot"],
        ),
        ("systems.CE.models.vit.options", {"a": b"hallo"}, ["vit.options", "a is of type bytes", "quotes"]),
        ("systems.CE.models.vit.options", {"a": {1: 2}}, ["vit.options", "a is of type dict", "keys that are text"]),
        ("systems.CE.models.vit.options", {"a": {"b": 10**30}}, ["vit.options", "a.b is beyond 2**53", "smaller"]),
        ("systems.CE.models.vit.options", {"a": bomb(9)}, ["holds more than 100000 entries", "alias"]),
        ("systems.CE.models.vit.options", {"a": endless()}, ["holds more than 100000 entries", "50 deep"]),
        ("study", ["x" * 10**4], ["study", "'xxx", "...; expected text"]),
        ("influence.damping", 0.0, ["influence.damping", "greater than 0"]),
    ],
)
def test_a_wrong_key_is_one_line_with_key_value_and_remedy(path: str, value: Any, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        check(changed(path, value), "config.yaml")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("config.yaml: ")
    for word in words:
        assert word in message


def test_two_wrong_keys_are_two_lines() -> None:
    config = changed("data.size", "32") | {"sedes": [1]}
    with pytest.raises(UserError) as caught:
        check(config, "config.yaml")
    assert len(str(caught.value).splitlines()) == 2


WATER = {
    "source": "files",
    "files": {"dam": "dam_*.nc", "wave": ["wave.zarr"]},
    "size": [1, 32],
    "channels": {"depth": "h", "discharge": "h * u"},
}
EQUATIONS = {"channels": ["depth", "discharge"], "positive": ["depth"], "conserved": ["depth", "discharge"]}


def water(**changes: Any) -> dict[str, Any]:
    config = copy.deepcopy(DEFAULT)
    config["data"] |= WATER | changes
    config["systems"] = {"SW": config["systems"].pop("CE") | {"equations": EQUATIONS}}
    return config


def test_a_system_of_ones_own_is_an_entry_of_the_configuration() -> None:
    study = check(water(), "water.yaml")
    assert study.system("SW").channels == ("depth", "discharge")
    assert study.classes("SW") == ["dam", "wave"]
    assert study.observables_of("SW") == ["smse", "depth"]
    assert known(study.system("SW")) == ("smse", "depth", "discharge")
    sliced = json.loads(settings(study, "ingest", system="SW", ic="dam"))
    assert sliced["channels"] == WATER["channels"]
    assert sliced["grid"] == [1, 32]


def test_names_that_would_be_one_link_of_the_page_are_refused() -> None:
    system = water()["systems"]["SW"]
    files = {name: f"{name}.nc" for name in "abcd"}
    systems = {name: system | {"classes": list(classes)} for name, classes in (("S.W", "ab"), ("s-w", "cd"))}
    with pytest.raises(UserError, match=r"systems holds S\.W and s-w, one name but for case and punctuation"):
        check(water(files=files) | {"systems": systems}, "water.yaml")
    config = changed("observables", {name: {"factory": "a:b"} for name in ("my-own", "my.own")})
    config["systems"]["CE"]["observables"] = ["smse", "my-own", "my.own"]
    with pytest.raises(
        UserError, match=r"the observable 'my\.own', whose figure would be two_time_my\.own, the name of"
    ):
        check(config, "water.yaml")


@pytest.mark.parametrize("kind", ["observable", "channel"])
def test_an_observable_or_channel_that_would_make_two_figures_of_one_name_is_refused(kind: str) -> None:
    config = copy.deepcopy(DEFAULT)
    if kind == "observable":
        config["observables"] = {"training": {"factory": "surroscope.cost_function:smse"}}
        config["systems"]["CE"]["observables"] = ["smse", "training"]
    else:
        config = water(channels={"training": "h", "discharge": "h * u"})
        equations = {"channels": ["training", "discharge"], "positive": ["training"], "conserved": ["training"]}
        config["systems"]["SW"]["equations"] = equations
    with pytest.raises(UserError, match=r"systems\.\w+ has the observable 'training', .* two_time_training, .* rename"):
        check(config, "config.yaml")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"channels": {"depht": "h"}}, "data.channels holds 'depht'; choose from depth, discharge"),
        ({"source": "pdegym", "files": {}, "dtype": "float64"}, "dtype goes with source: files, found 'pdegym'"),
        (
            {"files": {"train": "a.h5", "test": "b.h5"}},
            r"train, test are names of parts .*under one name, as in {all: \[a\.h5, b\.h5\]}: .* see split",
        ),
        ({"source": "simulation", "files": {}, "size": 32}, "channels goes with .* or pdegym, found 'simulation'"),
    ],
)
def test_data_that_cannot_be_the_systems_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        check(water(**change), "water.yaml")


def test_a_single_class_has_no_figures_between_classes() -> None:
    one, two = check(water(files={"dam": "a.nc"}), "water.yaml"), check(water(), "water.yaml")
    assert one.classes("SW") == ["dam"]
    assert set(two.parts("SW")) - set(one.parts("SW")) == {"classes"}


def test_files_are_taken_in_the_order_of_their_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (10, 9, 0, 1, 2):
        (tmp_path / f"dam_{number}.nc").touch()
    study = check(water(), "water.yaml")
    with pytest.raises(UserError, match=r"data\.files\.wave: found no file 'wave\.zarr'"):
        study.data.paths()
    (tmp_path / "wave.zarr").mkdir()
    (tmp_path / "other").symlink_to(tmp_path)
    for path in ("other/dam_9.nc", "dam_9.nc"):
        config = water(files={"dam": "dam_*.nc", "wave": ["wave.zarr", path]})
        with pytest.raises(UserError, match=rf"data\.files\.wave: {path} is of dam already; list each file once"):
            check(config, "water.yaml").data.paths()
    assert study.data.paths()["dam"] == [f"dam_{number}.nc" for number in (0, 1, 2, 9, 10)]


@pytest.mark.parametrize("name", ["Re[a]=1.nc", "what?.nc", "all*.nc", "plain.nc"])
def test_a_path_that_is_there_is_no_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for file in (name, "Rea=1.nc", "whatx.nc", "all1.nc", "all2.nc"):
        Path(file).touch()
    found = check(water(files={"dam": name, "wave": "~/Rea=*.nc"}), "water.yaml").data.paths
    assert found() == {"dam": [name], "wave": [str(tmp_path / "Rea=1.nc")]}
    Path(name).unlink()
    if name == "all*.nc":
        assert found()["dam"] == ["all1.nc", "all2.nc"]


def test_what_is_left_out_is_read_by_the_job_of_its_class_alone() -> None:
    rows = {"dam": {"in/dam_3.nc": [17]}}
    study = check(water(skip=["nan"], skip_rows=rows), "water.yaml")
    found = [json.loads(settings(study, "ingest", system="SW", ic=ic)) for ic in ("dam", "wave")]
    assert [(own["skip"], own["skip_rows"]) for own in found] == [(["nan"], rows["dam"]), (["nan"], {})]
    with pytest.raises(UserError, match=r"data\.skip_rows holds 'bore'; choose from dam, wave"):
        check(water(skip_rows={"bore": {"a.nc": [1]}}), "water.yaml")
    with pytest.raises(UserError, match="skip goes with source: files or pdegym"):
        check(changed("data.skip", ["nan"]), "config.yaml")


def test_pdegym_takes_only_the_files_that_hold_the_trajectories() -> None:
    config = changed("data.source", "pdegym")
    for key, value in {"size": 48, "snapshots": 22}.items():
        with pytest.raises(UserError, match=r"PDEGym has 128 cells a side, which .* and 21 snapshots"):
            check({**config, "data": config["data"] | {key: value}}, "c.yaml")
    for trajectories, files in ((60, 1), (715, 1), (716, 2), (10_000, 14)):
        config["systems"]["CE"]["trajectories"] = trajectories
        wanted = json.loads(settings(check(config, "c.yaml"), "listing", system="CE", ic="CE-RP"))
        assert wanted["files"] == [f"data_{number}.nc" for number in range(files)]
        assert wanted["repo"] == "camlab-ethz/CE-RP"
    config["systems"]["CE"]["trajectories"] = 10_001
    with pytest.raises(UserError, match=r"trajectories is 10001, but CE-RP has 10000"):
        check(config, "c.yaml")


def test_words_about_a_system_run_nothing_again() -> None:
    plain, told, turned = check(water(), "w.yaml"), water(), water()
    told["systems"]["SW"]["equations"] = EQUATIONS | {"title": "shallow water"}
    turned["systems"]["SW"]["equations"] = EQUATIONS | {"vectors": [["discharge"]]}
    keys = {"model": "vit", "seed": "10", "epoch": "20", "shard": "0", "ic": "dam"}
    for stage, needed in {"ingest": ["ic"], "train": ["model", "seed"], "evaluate": ["model", "seed", "epoch"]}.items():
        chosen = {key: keys[key] for key in needed}
        studies = (plain, check(told, "w.yaml"), check(turned, "w.yaml"))
        slices = [settings(study, stage, system="SW", **chosen) for study in studies]
        assert slices[0] == slices[1]
        # Images of states have turned vectors.
        assert (slices[0] == slices[2]) == (stage != "evaluate")


def test_a_slice_is_canonical_json_of_its_own_keys_only() -> None:
    study = check(DEFAULT, "config.yaml")
    train = settings(study, "train", system="CE", model="vit", seed="10")
    assert train == json.dumps(json.loads(train), sort_keys=True)
    assert json.loads(train)["learning_rate"] == 2e-3
    figures = changed("figures.dpi", 99)
    assert settings(check(figures, "config.yaml"), "train", system="CE", model="vit", seed="10") == train
    other = changed("systems.CE.models.unet.training.epochs", 30)
    assert settings(check(other, "config.yaml"), "train", system="CE", model="vit", seed="10") == train


def test_probe_batches_are_dealt_out_among_the_shards() -> None:
    study = check(changed("gradients.shards", 3), "config.yaml")
    keys = {"system": "CE", "model": "vit", "seed": "10", "epoch": "40"}
    dealt = [json.loads(settings(study, "gradients", shard=str(k), **keys))["batches"] for k in range(3)]
    assert sorted(itertools.chain(*dealt)) == [["test", b] for b in range(4)]
    assert all(dealt)


def examples() -> list[str]:
    texts = "".join((ROOT / name).read_text() for name in ("docs/data.md", "docs/studies.md", "README.md"))
    return [textwrap.dedent(block) for block in re.findall(r"```yaml\n(.*?)```", texts, flags=re.DOTALL)]


@pytest.mark.parametrize(
    "text", [text for text in examples() if re.search("^(data|format):", text, flags=re.MULTILINE)]
)
def test_the_examples_of_the_documentation_are_valid(text: str) -> None:
    config, shown = copy.deepcopy(DEFAULT), yaml.safe_load(text)
    if "format" in shown:
        shown = {"data": {"source": "files", "files": {"a": "a.h5", "b": "b.h5"}} | shown}
    config["data"] |= shown["data"]
    if "systems" in shown:
        models = config["systems"]["CE"]["models"]
        config["systems"] = {name: system | {"models": models} for name, system in shown["systems"].items()}
    check(config, "docs")


def test_code_of_ones_own_is_told_from_the_packages() -> None:
    assert not check(DEFAULT, "config.yaml").own_factories()
    config = changed("systems.CE.models.vit.factory", "mynets.vit:build")
    assert list(check(config, "mine.yaml").own_factories()) == ["systems.CE.models.vit"]


@pytest.mark.parametrize(
    ("home", "text", "shown"),
    [
        (
            "/home/jane",
            "dam: /home/jane/in/*.nc, wave: /data/home/jane/w.nc",
            "dam: ~/in/*.nc, wave: /data/home/jane/w.nc",
        ),
        ("/home/jane", "/home/janet/in.nc", "/home/janet/in.nc"),
        ("/root", '["/root/in.nc", "/root"]', '["~/in.nc", "/root"]'),
        ("/", "tcp://host:1", "tcp://host:1"),
    ],
)
def test_home_folders_are_not_shown(monkeypatch: pytest.MonkeyPatch, home: str, text: str, shown: str) -> None:
    monkeypatch.setenv("HOME", home)
    assert public(text) == shown


def test_names_of_the_last_release_still_work_and_say_so_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    config = changed("influence", {"rungs": 7, "span": "ket"})
    study = check(config, "config.yaml")
    assert (study.influence.max_iterations, study.influence.span) == (7, "perturbation")
    assert config["influence"] == {"rungs": 7, "span": "ket"}
    expected = ("influence.rungs is now called max_iterations", "influence.span: ket is now called perturbation")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"config.yaml: {part}; rename it, the old name goes with the next release" for part in expected]


def test_an_old_name_beside_its_new_one_is_an_unknown_key() -> None:
    with pytest.raises(UserError, match=r"influence\.rungs: unknown key"):
        check(changed("influence", {"rungs": 7, "max_iterations": 9}), "config.yaml")


def test_of_few_snapshots_all_are_probed_unless_it_is_said() -> None:
    few = changed("data.snapshots", 12)
    with pytest.raises(UserError, match=r"probe\.snapshots is 17, but data\.snapshots is 12"):
        check(few, "config.yaml")
    few["probe"] = {"batches": 4}
    assert check(few, "config.yaml").probe.snapshots == 12
    assert check(changed("probe", {"batches": 4}), "config.yaml").probe.snapshots == 17
