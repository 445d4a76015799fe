"""Settings of the jobs that train a network; `jobs` has the others."""

from typing import Any, Self

from surroscope.config import networks
from surroscope.config.job import Network, network, strategic
from surroscope.config.retraining import ALL, Group, members
from surroscope.config.study import Study
from surroscope.system import System


class Train(networks.Training, Network):
    """without: class, first and last time of transitions that are held out; equations: for a strategy"""

    seed: int
    snapshots: int
    save_epochs: list[int]
    without: list[tuple[str, int, int]] = []
    equations: System | None = None

    @classmethod
    def of(cls, study: Study, system: str, model: str, seed: str) -> Self:
        trained = study.systems[system].models[model]
        assert trained.training
        values = network(study, system, model) | {"seed": seed, "save_epochs": trained.probe_epochs}
        values |= {"without": study.unseen(system), "equations": strategic(study, system, model)}
        return cls.take(study.probe, trained.training, **values)

    @property
    def recipe(self) -> dict[str, Any]:
        """Of `training.recipe.Recipe`."""
        return {name: getattr(self, name) for name in networks.RECIPE}


class Retrain(Train):
    """left_out: (class, first time, last time) of transitions that are not trained on"""

    member: str
    left_out: list[Group]

    @classmethod
    def of(cls, study: Study, system: str, model: str, seed: str, member: str = ALL) -> Self:
        whole = Train.of(study, system, model, seed).model_dump() | {"save_epochs": []}
        return cls(**whole, member=member, left_out=members(study, system, model)[member])
