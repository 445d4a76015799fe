"""Editors complete and check a configuration by a schema that says what the models say."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from surroscope.tools.schema import PLACE, schema

ROOT = Path(__file__).parents[2]
STUDIES = (ROOT / "config.yaml", *sorted(ROOT.glob("workflow/presets/*.yaml")))
SCHEMA = yaml.safe_load(PLACE.read_text())


def test_the_schema_is_up_to_date() -> None:
    assert PLACE.read_text() == schema(), "run 'make schema'"


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_names_its_schema_first_and_fits_it(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert found is not None, first
    assert (path.parent / found[1]).resolve() == PLACE
    jsonschema.validate(yaml.safe_load(path.read_text()), SCHEMA)


# The right spelling of each stands in docs/data.md.
FILES = {"source": "files", "files": {"dam": "in/dam_*.h5", "wave": ["in/a.nc", "in/b.nc"]}}


@pytest.mark.parametrize("data", [FILES, FILES | {"dimensions": ["time", "y", "x"]}, {"revision": {"CE-RP": "main"}}])
def test_what_may_be_written_in_several_ways_fits(data: dict[str, Any]) -> None:
    study = yaml.safe_load(STUDIES[0].read_text())
    study["data"] |= data | {"size": [64, 128]}
    jsonschema.validate(study, SCHEMA)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("data", "snapshot", 21),
        ("data", "size", [1, 2, 3]),
        ("data", "files", {"dam": 3}),
        ("influence", "damping", 0.0),
        ("influence", "solvers", ["subspaces"]),
        ("gradients", "method", "fast"),
    ],
)
def test_what_the_workflow_refuses_is_marked(section: str, key: str, value: Any) -> None:
    study = yaml.safe_load(STUDIES[0].read_text())
    study[section][key] = value
    with pytest.raises(jsonschema.ValidationError) as raised:
        jsonschema.validate(study, SCHEMA)
    assert section in raised.value.absolute_path
