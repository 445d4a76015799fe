"""The notebook that needs no study runs, and prints the words it was kept with; tests/workflow runs the other one."""

import json
import re
from pathlib import Path

import pytest
import yaml
from tests import notebooks

from surroscope.config.study import Study

FOLDER = Path(__file__).parents[2] / "docs/notebooks"
NAMES = ("audit_your_checkpoint", "make_your_own_figure")


def words(outputs: list[list[dict]]) -> list[str]:
    """What was printed, without numbers, which may differ between machines; of a figure that it is one."""
    texts = ["".join(output.get("text", [output["output_type"]])) for cell in outputs for output in cell]
    return [re.sub(r"-?\d[\d.e-]*", "0", text) for text in texts]


def test_the_audit_of_a_checkpoint_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = json.loads((FOLDER / "audit_your_checkpoint.ipynb").read_text())
    monkeypatch.chdir(tmp_path)
    found = notebooks.run(notebook)
    kept = [cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert words(found) == words(kept)
    assert "display_data" in words(found)
    assert {path.name for path in tmp_path.iterdir()} >= {"long.nc", "short.nc", "mine.pt", "mine.py", "mine.yaml"}
    study = Study.model_validate(yaml.safe_load(Path("mine.yaml").read_text()))
    assert study.seeds == [0]


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_are_small_and_of_no_machine(name: str) -> None:
    text = (FOLDER / f"{name}.ipynb").read_text()
    assert len(text) < 150_000
    assert not re.search(r"(?<![\w.])/(tmp|home|work|root|Users)\b", text)
    assert all(cell["outputs"] is not None for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")
