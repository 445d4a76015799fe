"""Networks of other packages, trained and saved by the packages' own habits, are audited by configuration alone."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import Tensor, nn

from surroscope.config.networks import Call
from surroscope.diagnostics.rollout import rollout
from surroscope.models import context, surrogate
from surroscope.runtime import store
from tests.surrogates.cases import CASES, SHAPE, SIZE, Case, installed, predicted
from tests.workflow.conftest import TINY, Project, fresh

STUDY = {
    **{
        "study": "wild",
        "data": {"dataset": "wild", "seed": 0, "size": SIZE, "refinement": 1, "snapshots": 9, "block": 6},
    },
    **{"probe": {"batches": 2, "snapshots": 8}, "gradients": {"shards": 1}},
}
STORES = [f"data/store/wild/NS/{ic}.zarr" for ic in ("NS-BB", "NS-Sines")]
RESULTS = "results/wild/NS"


@dataclass(frozen=True)
class Wild:
    """One study of every network that can be installed here, and the networks as their packages trained them.

    states: (N, S, F, Y, X); mean, std: of states; change, spread: of what they change by
    """

    project: Project
    states: Tensor
    mean: Tensor
    std: Tensor
    change: Tensor
    spread: Tensor
    networks: dict[str, nn.Module]

    def said(self, case: Case) -> dict[str, Any]:
        """Of `call`."""
        scales = {"mean": self.mean, "std": self.std}
        scales |= {"output_mean": self.change, "output_std": self.spread} if case.delta else {}
        return case.call | {name: scale.flatten().tolist() for name, scale in scales.items()}

    def pairs(self, case: Case) -> tuple[Tensor, Tensor]:
        """What the network is given and is to give, both as it knows them."""
        normal = (self.states - self.mean) / self.std
        windows = normal.unfold(1, case.history, 1)[:, :-1].movedim(-1, 2)
        later = (self.states.diff(dim=1) - self.change) / self.spread if case.delta else normal[:, 1:]
        return windows.flatten(0, 1).flatten(1, 2), later[:, case.history - 1 :].flatten(0, 1)

    def rolled_out(self, name: str, steps: int) -> Tensor:
        """States after the first snapshots, (N, steps, F, Y, X), by the package's network alone."""
        case, snapshots = CASES[name], list(self.states.unbind(1))[: CASES[name].history]
        for _ in range(steps):
            given = torch.cat([(part - self.mean) / self.std for part in snapshots[-case.history :]], dim=1)
            with torch.no_grad():
                found = predicted(self.networks[name], given, case.call)
            scaled = self.change + self.spread * found if case.delta else self.mean + self.std * found
            snapshots.append(snapshots[-1] + scaled if case.delta else scaled)
        return torch.stack(snapshots[case.history :], dim=1)


def moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Of each field, (F, 1, 1)."""
    return values.mean(dim=(0, 1, 3, 4))[:, None, None], values.std(dim=(0, 1, 3, 4))[:, None, None]


@pytest.fixture(scope="module")
def wild(tmp_path_factory: pytest.TempPathFactory) -> Wild:
    project = fresh(tmp_path_factory.mktemp("audit") / "project", TINY)
    shutil.copy(Path(__file__).with_name("own_module.py"), project.folder)
    config = yaml.safe_load((project.folder / TINY).read_text()) | STUDY
    (project.folder / "data.yaml").write_text(yaml.safe_dump(config))
    Project(project.folder, "data.yaml").run(*STORES)
    states = torch.from_numpy(np.concatenate([store.read(project.folder / path)["state"].values for path in STORES]))
    made = Wild(Project(project.folder, "wild.yaml"), states, *moments(states), *moments(states.diff(dim=1)), {})
    models = config["systems"]["NS"]["models"] = {}
    for name in installed():
        case = CASES[name]
        torch.manual_seed(0)
        made.networks[name] = case.made()
        saved = case.train(made.networks[name], *made.pairs(case), project.folder / "saved" / name)
        made.networks[name].eval()
        models[name] = {"factory": case.factory, "weights": str(saved.relative_to(project.folder))}
        # What was saved by save_pretrained has its options beside it.
        models[name] |= {} if (saved / "config.json").exists() else {"options": case.options}
        models[name]["call"] = made.said(case)
    (project.folder / "wild.yaml").write_text(yaml.safe_dump(config))
    return made


@pytest.fixture(scope="module")
def audited(wild: Wild) -> Wild:
    assert "train" not in wild.project.planned()
    wild.project.run()
    assert wild.project.planned() == {}
    return wild


@pytest.mark.parametrize("name", installed())
def test_it_is_the_network_that_the_package_trained(audited: Wild, name: str) -> None:
    folder, case = audited.project.folder / RESULTS, CASES[name]
    (epoch,) = pd.read_csv(folder / name / "seed10/history.csv").to_dict("records")
    verdict = json.loads((folder / "tables/verdict.json").read_text())[name]
    print(f"{name}: error {epoch['validation']:.3g}, of no change {epoch['persistence']:.3g}; {verdict['label']}")
    assert epoch["validation"] < epoch["persistence"]

    call = Call.model_validate(audited.said(case), strict=False).model_dump(exclude_defaults=True)
    adopted = surrogate.build(case.factory, case.options, shape=SHAPE, seed=0, call=call)
    surrogate.load_weights(adopted, folder / name / "seed10/epoch1/weights", 1)
    found = rollout(adopted.eval(), context.of(adopted, audited.states[:, : case.history]), 4)
    expected = audited.rolled_out(name, 4)
    assert (found - expected).norm() / expected.norm() < 1e-5
