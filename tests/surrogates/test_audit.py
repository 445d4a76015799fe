"""Networks of other packages, trained and saved by the packages' own habits, are audited by configuration alone."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import Tensor, nn

from surroscope.config.networks import Call
from surroscope.models import surrogate
from surroscope.runtime import store
from tests.surrogates.cases import CASES, SHAPE, installed, predicted
from tests.workflow.conftest import TINY, Project, fresh

STORES = [f"data/store/tiny/NS/{ic}.zarr" for ic in ("NS-BB", "NS-Sines")]
RESULTS = "results/wild/NS"


@dataclass(frozen=True)
class Wild:
    """One study of every network that can be installed here, and the networks as their packages trained them."""

    project: Project
    states: Tensor
    mean: Tensor
    std: Tensor
    networks: dict[str, nn.Module]

    @property
    def normal(self) -> Tensor:
        return (self.states - self.mean) / self.std


@pytest.fixture(scope="module")
def wild(tmp_path_factory: pytest.TempPathFactory) -> Wild:
    project = fresh(tmp_path_factory.mktemp("audit") / "project", TINY)
    project.run(*STORES)
    states = torch.from_numpy(np.concatenate([store.read(project.folder / path)["state"].values for path in STORES]))
    mean, std = (part[:, None, None] for part in (states.mean(dim=(0, 1, 3, 4)), states.std(dim=(0, 1, 3, 4))))
    shutil.copy(Path(__file__).with_name("own_module.py"), project.folder)
    made = Wild(project, states, mean, std, {})
    given, after = made.normal[:, :-1].flatten(0, 1), made.normal[:, 1:].flatten(0, 1)
    config = yaml.safe_load((project.folder / TINY).read_text()) | {"study": "wild", "gradients": {"shards": 1}}
    models = {}
    for name in installed():
        case = CASES[name]
        torch.manual_seed(0)
        network = case.made()
        saved = case.train(network, given, after - given if case.delta else after, project.folder / "saved" / name)
        made.networks[name] = network.eval()
        models[name] = {"factory": case.factory, "weights": str(saved.relative_to(project.folder))}
        # What was saved by save_pretrained has its options beside it.
        models[name] |= {} if (saved / "config.json").exists() else {"options": case.options}
        models[name]["call"] = case.call | {"mean": mean.flatten().tolist(), "std": std.flatten().tolist()}
    config["systems"]["NS"]["models"] = models
    (project.folder / "wild.yaml").write_text(yaml.safe_dump(config))
    return replace(made, project=Project(project.folder, "wild.yaml"))


@pytest.fixture(scope="module")
def audited(wild: Wild) -> Wild:
    assert "train" not in wild.project.planned()
    wild.project.run()
    assert wild.project.planned() == {}
    return wild


@pytest.mark.parametrize("name", installed())
def test_it_is_the_network_that_the_package_trained(audited: Wild, name: str) -> None:
    folder = audited.project.folder / RESULTS
    (epoch,) = pd.read_csv(folder / name / "seed10/history.csv").to_dict("records")
    print(f"{name}: one-step error {epoch['validation']:.3g}, of no change {epoch['persistence']:.3g}")
    assert epoch["validation"] < epoch["persistence"]
    assert json.loads((folder / "tables/verdict.json").read_text())[name]["label"]

    case = CASES[name]
    call = Call(**case.call, mean=audited.mean.flatten().tolist(), std=audited.std.flatten().tolist()).model_dump()
    adopted = surrogate.build(case.factory, case.options, shape=SHAPE, seed=0, call=call)
    surrogate.load_weights(adopted, folder / name / "seed10/weights", 1)
    states = audited.states[:2].flatten(0, 1)
    with torch.no_grad():
        found = predicted(audited.networks[name], audited.normal[:2].flatten(0, 1), **case.call)
        found = found + audited.normal[:2].flatten(0, 1) * case.delta
        assert torch.allclose(adopted.eval()(states), audited.mean + audited.std * found, rtol=1e-4, atol=1e-5)
