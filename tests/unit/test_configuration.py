"""Of a configuration in YAML or JSON nothing is dropped, and nothing becomes something else."""

import itertools
from pathlib import Path

import pytest

from surroscope.config import jobs
from surroscope.errors import UserError
from surroscope.runtime import cli, configuration
from surroscope.tools import verify

TINY = (Path(__file__).parents[1] / "workflow" / "tiny.yaml").read_text()


def test_shipped_studies_hold_nothing_ambiguous() -> None:
    root = Path(__file__).parents[2]
    for path in [root / "config.yaml", *(root / "workflow" / "presets").glob("*.yaml")]:
        assert "study" in configuration.read(path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("split:", "study: other\nsplit:", r"line 5: key 'study' stands twice, first in line 2, .*; remove one"),
        ("      vit:", "      vit: {factory: a:b}\n      vit:", r"line 12: key 'vit' stands twice, first in line 11"),
        ("depth: 1", "depth: 1, depth: 2", "line 13: key 'depth' stands twice"),
        (
            "seeds: [10]",
            "seeds: [010]",
            r"line 3: 010 is read as a number in base 8; write it without a leading zero, or put it in quotes",
        ),
        ("seeds: [10]", "seeds: [1:30]", "line 3: 1:30 is read as a number in base 60; write it without colons"),
        ("size: 8", "size: -0_10", "line 4: -0_10 is read as a number in base 8; "),
        ("      vit:", "      10:", "line 11: the key 10 is read as a number, expected text; put it in quotes"),
        ("      vit:", "      no:", "line 11: the key no is read as true or false, expected text; put it in quotes"),
        ("      vit:", "      ~:", "line 11: the key ~ is read as nothing, expected text"),
        ("      vit:", "      1.5:", "line 11: the key 1.5 is read as a number"),
        ("      vit:", "      2024-01-01:", "line 11: the key 2024-01-01 is read as a date, expected text"),
        ("      vit:", "      [a, b]:", "line 11: a key is read as a list, expected text"),
        ("dataset: tiny", "dataset: 2024-01-01", "line 4: 2024-01-01 is read as a date; put it in quotes"),
        ("dataset: tiny", "dataset: 2024-13-45", "line 4: 2024-13-45 is read as a date; put it in quotes"),
        ("seed: 0", f"seed: {'9' * 5000}", "neither JSON nor YAML: Exceeds the limit"),
        ("seed: 0", f"seed: {'[' * 3000}{']' * 3000}", "neither JSON nor YAML"),
        ("seed: 0", "seed: [0", "neither JSON nor YAML"),
    ],
)
def test_what_yaml_would_drop_or_change_is_one_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in TINY
    path = tmp_path / "study.yaml"
    path.write_text(TINY.replace(old, new, 1))
    with pytest.raises(UserError, match=rf"study\.yaml(, |: ){words}") as caught:
        verify.configured(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=words):
        cli.load(jobs.Split, str(path))


def test_a_key_that_json_holds_twice_is_one_line() -> None:
    with pytest.raises(UserError, match="--settings: key 'seed' stands twice"):
        cli.load(jobs.Split, '{"seed": 1, "seed": 2}')


def test_what_looks_alike_and_is_meant_stays() -> None:
    text = "{a: 0, b: 0.5, c: '010', d: 08, e: 0x10, f: 1_000, y: n, base: &b {k: 1, l: 2}, own: {<<: *b, k: 3}, g: *b}"
    found = configuration.parsed(text, "it")
    expected = {"a": 0, "b": 0.5, "c": "010", "d": "08", "e": 16, "f": 1000, "y": "n", "own": {"k": 3, "l": 2}}
    assert {key: found[key] for key in expected} == expected
    assert found["g"] == found["base"] == {"k": 1, "l": 2}


def test_aliases_of_aliases_are_looked_at_once() -> None:
    names = [f"n{number}" for number in range(60)]
    lines = [f"{b}: &{b} {{x: *{a}, y: *{a}}}" for a, b in itertools.pairwise(names)]
    assert len(configuration.parsed("\n".join(["n0: &n0 {k: 1}", *lines]), "it")) == 60


def test_an_option_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    for number in (".inf", "-.inf", ".nan", "[1.0e+400]"):
        path.write_text(TINY.replace("depth: 1", f"depth: {number}"))
        with pytest.raises(UserError, match=r"options: depth\S* is -?(inf|nan), which JSON does not hold"):
            verify.configured(path)
