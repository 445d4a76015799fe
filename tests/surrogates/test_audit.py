"""A network of another package, trained and saved by the package's own habits, is audited by configuration alone."""

import json

import numpy as np
import pytest
import torch
import yaml

from surroscope.runtime import store
from tests.workflow.conftest import TINY, Project, fresh

models = pytest.importorskip("neuralop.models")
OPTIONS = {"n_modes": [4, 4], "in_channels": 2, "out_channels": 2, "hidden_channels": 8, "n_layers": 2}
STORES = [f"data/store/tiny/NS/{ic}.zarr" for ic in ("NS-BB", "NS-Sines")]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The tiny data, and beside them a Fourier neural operator of normalised states, saved as neuraloperator does."""
    project = fresh(tmp_path_factory.mktemp("audit") / "project", TINY)
    project.run(*STORES)
    states = torch.from_numpy(np.concatenate([store.read(project.folder / path)["state"].values for path in STORES]))
    mean, std = states.mean(dim=(0, 1, 3, 4)), states.std(dim=(0, 1, 3, 4))
    normal = (states - mean[:, None, None]) / std[:, None, None]
    given, wanted = normal[:, :-1].flatten(0, 1), normal[:, 1:].flatten(0, 1)
    torch.manual_seed(0)
    network = models.FNO(**OPTIONS)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        (network(given) - wanted).square().mean().backward()
        optimizer.step()
    network.save_checkpoint(project.folder / "saved", "fno")
    (project.folder / "call.json").write_text(json.dumps({"mean": mean.tolist(), "std": std.tolist()}))
    return project


def audit(project: Project, study: str, **model: object) -> Project:
    config = yaml.safe_load((project.folder / TINY).read_text()) | {"study": study, "gradients": {"shards": 1}}
    about = {"factory": "neuralop.models:FNO", "options": OPTIONS, "weights": "saved/fno_state_dict.pt"}
    config["systems"]["NS"]["models"] = {"fno": about | model}
    (project.folder / f"{study}.yaml").write_text(yaml.safe_dump(config))
    return Project(project.folder, f"{study}.yaml")


def test_a_neural_operator_is_audited_without_training(project: Project) -> None:
    called = audit(project, "called", call=json.loads((project.folder / "call.json").read_text()))
    assert "train" not in called.planned()
    called.run()
    assert called.planned() == {}
    (verdict,) = json.loads((project.folder / "results/called/NS/tables/verdict.json").read_text()).values()
    assert verdict["label"].startswith("times ")
