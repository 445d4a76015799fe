"""What a configuration may say of a network: trained here or elsewhere, and how it is called."""

import json
from pathlib import Path
from typing import Any

import pytest
from default_study import DEFAULT, changed

from surroscope.config import jobs
from surroscope.config.job import network
from surroscope.config.study import check
from surroscope.errors import UserError


def test_adam_has_no_moments_at_epoch_0() -> None:
    config = changed("systems.CE.models.vit.probe_epochs", [0, 20])
    assert check(config, "config.yaml").systems["CE"].models["vit"].probe_epochs == [0, 20]
    config["influence"] = config["influence"] | {"solvers": ["subspace", "adam"]}
    with pytest.raises(UserError, match=r"systems\.CE\.models\.vit: epoch 0 has no moments for 'adam'"):
        check(config, "config.yaml")


ADOPTED = {"factory": "mynets:Network", "weights": "last.pt"}
CROSS = {"seed": 10, "train": 5}
# Without the parts that need moments, or what was trained on.
ALONE = {"fidelity": None, "cross": None, "seeds": [10]}
CE = ("CE-RP", "CE-CRP", "CE-RPUI")


@pytest.mark.parametrize(
    ("model", "further", "words"),
    [
        ({"weights": None}, {}, "expected training, .* or weights"),
        ({"training": {"epochs": 1}}, {}, "expected training, .* or weights"),
        ({}, {"influence": {"solvers": ["subspace", "adam"]}}, "weights of others have no moments for 'adam'"),
        ({}, {"fidelity": {"seeds": [10]}}, r"take adamw out of fidelity\.kinds"),
        ({}, {"cross": CROSS}, r"cross is .* those of .*models\.vit are not known; say them in split\.trained"),
        ({"weights": {"files": "last.pt", "prefx": ""}}, {}, r"weights\.prefx: unknown key"),
        (
            {"weights": {"files": "last.pt", "loader": "load"}},
            {},
            r"weights\.loader: found 'load'; expected 'package.module:function'",
        ),
        ({"call": {"mean": [1.0]}}, {}, r"call\.mean has 1 numbers, but there are 4 channels, density, "),
        ({"call": {"std": [1.0, 0.0, 1.0, 1.0]}}, {}, r"call\.std: .* one is not positive"),
        ({"call": {"mean": [1.0, 0.0, float("nan"), 1.0]}}, {}, r"call\.mean.2: .*finite"),
        ({"call": {"lead": {"t": 0.0}}}, {}, r"call\.lead\.t: .*greater than 0"),
        ({"call": {"lead": {"t": 1.0}, "arguments": {"t": 1}}}, {}, "lead and arguments both hold t"),
        ({}, {"seeds": [10, 35]}, r"vit\.weights names one network, but there are 2 seeds, which count as replicates"),
        ({"call": {"normalize": "data"}}, {}, r"normalize is by what was trained on, but split\.trained is unknown"),
        ({"call": {"axes": "b t y x"}}, {}, r"call\.axes: .* expected b, c, y, x in any order"),
        ({"call": {"predicts": "change"}}, {}, r"call\.predicts: .*'state' or 'delta'"),
    ],
)
def test_what_weights_and_calls_cannot_be_is_one_line(model: dict, further: dict, words: str) -> None:
    found = {key: value for key, value in (ADOPTED | model).items() if value is not None}
    config = changed("systems.CE.models.vit", found) | ALONE | further
    with pytest.raises(UserError, match=words) as raised:
        check(config, "config.yaml")
    assert "\n" not in str(raised.value)


def test_a_file_of_weights_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = check(changed("systems.CE.models.vit", ADOPTED) | ALONE, "config.yaml")
    assert study.systems["CE"].models["vit"].probe_epochs == [1]
    with pytest.raises(
        UserError, match=r"systems\.CE\.models\.vit\.weights\.files: found no file 'last.pt' of seed 10"
    ):
        study.weights("CE", "vit", 10, 1)
    # Nor one that never was weights, which costs nothing to see.
    Path("last.pt").write_bytes(b"<!DOCTYPE html><html>")
    with pytest.raises(UserError, match=r"vit\.weights\.files: last\.pt: a web page, not weights"):
        study.weights("CE", "vit", 10, 1)


def test_options_that_are_not_said_are_those_that_save_pretrained_kept(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"_class_name": "Network", "width": 8, "_diffusers_version": "0.42.1"}')
    weights = {"weights": str(tmp_path)}
    study = check(changed("systems.CE.models.vit", ADOPTED | weights) | ALONE, "config.yaml")
    assert network(study, "CE", "vit")["options"] == {"width": 8}
    said = ADOPTED | weights | {"options": {"depth": 2}}
    study = check(changed("systems.CE.models.vit", said) | ALONE, "config.yaml")
    assert network(study, "CE", "vit")["options"] == {"depth": 2}
    (tmp_path / "config.json").write_text("<html>")
    study = check(changed("systems.CE.models.vit", ADOPTED | weights) | ALONE, "config.yaml")
    with pytest.raises(UserError, match=r"config\.json: no options in JSON .*say options beside the factory"):
        network(study, "CE", "vit")


def test_a_name_is_of_networks_trained_here_or_elsewhere() -> None:
    config = changed("systems.NS", {**DEFAULT["systems"]["CE"], "models": {"vit": ADOPTED}})
    with pytest.raises(UserError, match="vit is trained here in one system and elsewhere in another; rename one"):
        check(config, "config.yaml")


def audit(trained: object, **further: object) -> dict[str, Any]:
    """The default study of a network that was trained elsewhere, on what is said of it."""
    config = changed("split", {"trained": trained, "validation": 0.1})
    config["systems"]["CE"]["models"] = {"net": ADOPTED}
    return config | ALONE | further


@pytest.mark.parametrize(
    ("trained", "counts", "known"),
    [
        ("none", (0, 6, 54), True),
        (dict.fromkeys(CE, "0-29"), (30, 6, 24), True),
        ({ic: [0, 1, 1, 10**4] for ic in CE}, (2, 6, 52), True),
    ],
)
def test_what_a_network_was_trained_on_elsewhere_may_be_said(
    trained: object, counts: tuple[int, int, int], known: bool, tmp_path: Path
) -> None:
    study = check(audit(trained), "config.yaml")
    assert study.counts("CE") == dict.fromkeys(CE, counts)
    assert study.held_out(study.systems["CE"].models["net"]) is known
    settings = json.loads(jobs.settings(study, "split", system="CE", seed="10"))
    assert settings["trained"] == ({} if trained == "none" else trained)
    if isinstance(trained, dict):
        (tmp_path / "on.json").write_text(json.dumps(trained))
        listed = check(audit(str(tmp_path / "on.json")), "config.yaml")
        assert listed.counts("CE") == study.counts("CE")
        settings = json.loads(jobs.settings(listed, "split", system="CE", seed="10"))
        assert (settings["trained"], len(settings["listed"])) == (None, 64)


def test_fractions_are_of_what_was_trained_on_only_if_that_is_said() -> None:
    ours = changed("systems.CE.models", {"net": ADOPTED}) | ALONE
    for trained, known in (("unknown", False), ("split", True)):
        ours["split"] = ours["split"] | {"trained": trained}
        study = check(ours, "config.yaml")
        assert study.counts("CE")["CE-RP"] == (39, 3, 18)
        assert study.held_out(study.systems["CE"].models["net"]) is known
    assert check(ours | {"cross": CROSS}, "config.yaml").cross
    assert check(DEFAULT, "config.yaml").held_out(check(DEFAULT, "config.yaml").systems["CE"].models["vit"]) is None


@pytest.mark.parametrize(
    ("split", "further", "words"),
    [
        ({"trained": "all"}, {}, r"split\.trained: found 'all'; expected unknown, none, split, a JSON file"),
        ({"trained": "on.json"}, {}, r"split\.trained: found 'on\.json'; on\.json: no such file"),
        ({"trained": ["CE-RP"]}, {}, r"split\.trained: .*expected unknown, none"),
        ({"trained": {"CE-RP": "0-"}}, {}, r"split\.trained: CE-RP: found '0-'; expected of each class its"),
        ({"trained": {"CE-RP": [0, -1]}}, {}, r"split\.trained: CE-RP: found \[0, -1\]"),
        ({"trained": {"CE-RP": 5}}, {}, r"split\.trained: CE-RP: found 5"),
        ({"trained": {"CE-RP": "0-9"}}, {}, r"split\.trained lacks CE-CRP; \[\] says that none"),
        ({"trained": dict.fromkeys((*CE, "dam"), "0")}, {}, r"split\.trained holds 'dam'; choose from CE-RP"),
        ({"trained": "none", "train": 0.9}, {}, "trained says what was trained on, but train is a fraction"),
        ({"trained": dict.fromkeys(CE, "0-58")}, {}, "lists 59 of the 60 trajectories of CE-RP, which leaves too few"),
        ({"trained": dict.fromkeys(CE, "0-54")}, {}, r"probe\.batches is 4, but .* leaves 2 test trajectories"),
        (
            {"trained": "none"},
            {"call": {"normalize": "data"}},
            r"call\.normalize is by .* lists none .*; give call\.mean",
        ),
        ({"trained": "none"}, {"cross": CROSS}, "0 training trajectories a class; lower them, or leave cross out"),
    ],
)
def test_what_cannot_have_been_trained_on_is_one_line(split: dict, further: dict, words: str) -> None:
    config = audit("none") | {"split": split} | further
    config["systems"]["CE"]["models"] = {"net": ADOPTED | {"call": config.pop("call", None)}}
    with pytest.raises(UserError, match=words) as raised:
        check(config, "config.yaml")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("trained", ["none", {"CE-RP": "0-9", "CE-CRP": "0-9", "CE-RPUI": "0-8"}])
def test_networks_trained_here_have_as_many_trajectories_of_each_class(trained: object) -> None:
    config = changed("split", {"trained": trained})
    with pytest.raises(UserError, match=r"models\.unet is trained here, .*, but split\.trained leaves \d+ of"):
        check(config, "config.yaml")
    even = check(config | {"split": {"trained": dict.fromkeys(CE, "0-9")}}, "config.yaml")
    assert even.counts("CE")["CE-RP"] == (10, 3, 47)
