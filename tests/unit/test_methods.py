"""The methods section says what the configuration says, whatever it is."""

from pathlib import Path

import pytest
import yaml

from surroscope.config import methods
from surroscope.config.study import check
from surroscope.influence.solvers import QUANTITIES, SOLVERS
from surroscope.tools.verify import configured

ROOT = Path(__file__).parents[2]
PRESETS = sorted((ROOT / "workflow/presets").glob("*.yaml"))


def told(path: Path, **changes: object) -> str:
    config = yaml.safe_load(path.read_text())
    for key, value in changes.items():
        section, _, name = key.partition("__")
        config[section] = config.get(section, {}) | {name: value}
    return " ".join(text for sentences in methods.sections(check(config, "c.yaml")).values() for text in sentences)


@pytest.mark.parametrize("preset", [ROOT / "config.yaml", ROOT / "tests/workflow/tiny.yaml", *PRESETS], ids=str)
def test_every_number_that_a_reader_needs_is_there(preset: Path) -> None:
    study, text = configured(preset), told(preset)
    for name, system in study.systems.items():
        assert f"({name})" in text
        assert f"{system.trajectories} trajectories" in text
        for label, model in system.models.items():
            (sentence,) = [part for part in text.split(". ") if part.startswith(f"{label} on {name}:")]
            assert model.factory in sentence
            if model.training:
                assert f"{model.training.epochs} epochs" in sentence
                assert f"learning rate {model.training.learning_rate:g}" in sentence
            else:
                assert f"trained elsewhere, with the weights of {model.weights.files};" in sentence
            assert all(f"{key} {value}" in sentence for key, value in model.options.items())
    assert methods.seeds(study.seeds) in text
    assert f"{study.influence.damping:g}" in text
    assert ("Attribution and leverage" in text) == bool(study.cross)
    assert ("Influence on images" in text) == bool(study.symmetry)
    assert "None" not in text


def test_a_setting_that_changes_changes_its_sentence() -> None:
    tiny = ROOT / "tests/workflow/tiny.yaml"
    assert "times the largest eigenvalue" in told(tiny, influence__damping_scale="relative")
    assert "by block Krylov" in told(tiny, influence__solvers=["full"])
    assert "the gradients that are stepped on;" in told(tiny, influence__span="perturbation")
    assert "cosine of influence" in told(tiny, influence__normalization="cosine")
    assert "on 24 × 24 cells and stored on 8 × 8" in told(tiny, data__refinement=3)


@pytest.mark.parametrize("name", SOLVERS)
def test_what_is_in_the_registry_of_solvers_can_be_asked_for_and_is_told(name: str) -> None:
    solver = SOLVERS[name]
    text = told(ROOT / "tests/workflow/tiny.yaml", influence__solvers=[name])
    assert f"Shown is {solver.title}: {solver.how.split(' {')[0]}" in text
    assert QUANTITIES[solver.metric] == solver.title
    assert "{" not in text
