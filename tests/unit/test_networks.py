"""What a configuration may say of a network: trained here or elsewhere, and how it is called."""

from pathlib import Path

import pytest
from default_study import DEFAULT, changed

from surroscope.config.study import check
from surroscope.errors import UserError


def test_adam_has_no_moments_at_epoch_0() -> None:
    config = changed("systems.CE.models.vit.probe_epochs", [0, 20])
    assert check(config, "config.yaml").systems["CE"].models["vit"].probe_epochs == [0, 20]
    config["influence"] = config["influence"] | {"solvers": ["subspace", "adam"]}
    with pytest.raises(UserError, match=r"systems\.CE\.models\.vit: epoch 0 has no moments for 'adam'"):
        check(config, "config.yaml")


ADOPTED = {"factory": "mynets:Network", "weights": "last.pt"}


@pytest.mark.parametrize(
    ("model", "further", "words"),
    [
        ({"weights": None}, {}, "expected training, .* or weights"),
        ({"training": {"epochs": 1}}, {}, "expected training, .* or weights"),
        ({}, {"influence": {"solvers": ["subspace", "adam"]}}, "weights of others have no moments for 'adam'"),
        ({}, {"fidelity": {"seeds": [10]}}, r"take adamw out of fidelity\.kinds"),
        ({"weights": {"files": "last.pt", "prefx": ""}}, {}, r"weights\.prefx: unknown key"),
        (
            {"weights": {"files": "last.pt", "loader": "load"}},
            {},
            r"weights\.loader: found 'load'; expected 'package.module:function'",
        ),
        ({"call": {"mean": [1.0]}}, {}, r"call\.mean has 1 numbers, but there are 4 channels, density, "),
        ({"call": {"std": [1.0, 0.0, 1.0, 1.0]}}, {}, r"call\.std: .* one is 0"),
        ({"call": {"axes": "b t y x"}}, {}, r"call\.axes: .* expected b, c, y, x in any order"),
        ({"call": {"predicts": "change"}}, {}, r"call\.predicts: .*'state' or 'delta'"),
    ],
)
def test_what_weights_and_calls_cannot_be_is_one_line(model: dict, further: dict, words: str) -> None:
    found = {key: value for key, value in (ADOPTED | model).items() if value is not None}
    config = changed("systems.CE.models.vit", found) | {"fidelity": None} | further
    with pytest.raises(UserError, match=words) as raised:
        check(config, "config.yaml")
    assert "\n" not in str(raised.value)


def test_a_file_of_weights_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = check(changed("systems.CE.models.vit", ADOPTED) | {"fidelity": None}, "config.yaml")
    assert study.systems["CE"].models["vit"].probe_epochs == [1]
    with pytest.raises(
        UserError, match=r"systems\.CE\.models\.vit\.weights\.files: found no file 'last.pt' of seed 10"
    ):
        study.weights("CE", "vit", 10)


def test_a_name_is_of_networks_trained_here_or_elsewhere() -> None:
    config = changed("systems.NS", {**DEFAULT["systems"]["CE"], "models": {"vit": ADOPTED}})
    with pytest.raises(UserError, match="vit is trained here in one system and elsewhere in another; rename one"):
        check(config, "config.yaml")
