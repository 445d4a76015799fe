"""A run of settings that ship is held against the shipped numbers; another is not."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml

from surroscope.config.study import check
from surroscope.report import shipped

CONFIG = {"study": "x", "seeds": [1], "figures": {"dpi": 100}, "systems": {"CE": {"models": {"net": {}}}}}


@pytest.fixture
def _file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {
        "key": shipped.key(CONFIG, "CE"),
        "system": "CE",
        "model": "net",
        "name": ["a", "half_life"],
        "value": [0.1234, 5],
        "low": [0.1, 4],
        "high": [0.2, 6],
    }
    pd.DataFrame(rows).to_csv(tmp_path / "shipped.csv", index=False)
    monkeypatch.setattr(shipped, "FILE", tmp_path / "shipped.csv")


def numbers(**values: float) -> list[Any]:
    return [SimpleNamespace(model="net", name=name, value=value) for name, value in values.items()]


@pytest.mark.usefixtures("_file")
def test_numbers_inside_and_outside_are_counted() -> None:
    told = shipped.told(CONFIG, "CE", numbers(a=0.12341, half_life=7, unknown=3))
    assert told.startswith("1 of 2 main numbers lie within")
    assert "1 are the same to three digits; outside: net, half life: 7 (shipped 4 to 6)." in told
    assert "outside" not in shipped.told(CONFIG, "CE", numbers(a=0.19999, half_life=4))


@pytest.mark.usefixtures("_file")
@pytest.mark.parametrize(
    ("changes", "known"),
    [
        ({"study": "y"}, True),
        ({"figures": {}}, True),
        ({"seeds": [2]}, False),
        ({"systems": {"CE": {"models": {"net": {"label": "Net"}}}}}, True),
        ({"systems": {"CE": {"models": {"net": {}}, "trajectories": 3}}}, False),
    ],
)
def test_only_settings_that_numbers_depend_on_count(changes: dict[str, Any], known: bool) -> None:
    assert bool(shipped.told(CONFIG | changes, "CE", numbers(a=0.12))) is known


def test_the_default_study_is_among_those_that_ship() -> None:
    study = check(yaml.safe_load(Path("config.yaml").read_text()), "config.yaml")
    config = json.loads(study.model_dump_json(exclude_none=True, exclude={"dask"}))
    known = pd.read_csv(shipped.FILE)
    assert shipped.key(config, "CE") in set(known["key"]), "run the default study, then make shipped"
