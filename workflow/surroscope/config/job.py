"""What all jobs share: their settings, filled in from sections of the configuration by the names of the fields."""

from dataclasses import replace
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from surroscope.config.base import Section
from surroscope.config.study import Study
from surroscope.system import System


class Job(Section):
    """Settings of a stage."""

    model_config = ConfigDict(strict=False)

    @classmethod
    def take(cls, *sources: BaseModel, **values: Any) -> Self:
        """Fields by their names from sections of the configuration, the later ones first, and from `values`."""
        named = {name: value for source in sources for name, value in source if name in cls.model_fields}
        return cls(**named | values)


class Network(Job):
    """A stage that builds a network."""

    system: str
    boundary: str
    model: str
    factory: str
    options: dict[str, Any]
    call: dict[str, Any] | None = None

    @property
    def network(self) -> dict[str, Any]:
        """What `models.surrogate.build` is told of it, but for the shape of states and the seed."""
        return {name: getattr(self, name) for name in ("factory", "options", "boundary", "call")}

    @property
    def given(self) -> dict[str, int]:
        """How many snapshots the network is given, and how many channels that it does not predict, the last ones."""
        call = self.call or {}
        return {"history": call.get("history", 1), "constants": call.get("constants", 0)}


def network(study: Study, system: str, model: str) -> dict[str, Any]:
    architecture = study.systems[system].models[model]
    call = architecture.call.model_dump(exclude_defaults=True) if architecture.call else {}
    if constants := len(study.system(system).constants):
        call["constants"] = constants
    made = {"factory": architecture.factory, "options": architecture.made_with, "call": call or None}
    return {"system": system, "boundary": study.system(system).boundary, "model": model} | made


def strategic(study: Study, system: str, model: str) -> System | None:
    """The equations, for a network whose training has a strategy, which may look at them."""
    training = study.systems[system].models[model].training
    if training is None or training.strategy is None:
        return None
    # Its title and units are of messages and of the store.
    return replace(study.system(system), title=system, units="")
