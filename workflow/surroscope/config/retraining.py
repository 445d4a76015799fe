"""The bank of trainings without groups of transitions: its members, and what each of them leaves out.

A group is a class and a window of consecutive times. Nothing here is drawn at random, so that a bank grows with the
number of its subsets without a change of the members that there are.
"""

import hashlib
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from surroscope.config.base import Count, Name, Section, Seeds, once, require_known

if TYPE_CHECKING:
    from surroscope.config.content import Content

# A class, and the first and the last time of its transitions.
Group = tuple[str, int, int]
ALL = "all"


class Retraining(Section):
    """Trainings without groups of transitions, a group being a class and `window` consecutive times."""

    seeds: Seeds
    models: Annotated[list[Name], Field(min_length=1), AfterValidator(once)] | None = None
    window: Count = 4
    subsets: Annotated[int, Field(ge=0, le=10_000)] = 50


def windows(study: "Content", system: str, model: str) -> list[tuple[int, int]]:
    """First and last time of each window of the transitions of a network; the last window takes what is left over."""
    assert study.retraining
    length, call = study.retraining.window, study.systems[system].models[model].call
    start, last = (call.history if call else 1) - 1, study.probe.snapshots - 2
    count = max(1, (last + 1 - start) // length)
    firsts = [start + number * length for number in range(count)]
    return [*((first, first + length - 1) for first in firsts[:-1]), (firsts[-1], last)]


def groups(study: "Content", system: str, model: str) -> dict[str, Group]:
    """The groups by name, class by class."""
    times = list(enumerate(windows(study, system, model)))
    return {f"{ic}_{number}": (ic, *window) for ic in study.classes(system) for number, window in times}


def members(study: "Content", system: str, model: str) -> dict[str, list[Group]]:
    """The members by name: what each leaves out.

    all: nothing; without_{group}: one group; class_{class}, window_{number}: a whole one; subset_{n}: half of the
    groups, the first half in the order of the SHA-256 of "n/group" being trained on
    """
    assert study.retraining
    every, times = groups(study, system, model), windows(study, system, model)
    classes = study.classes(system)
    found: dict[str, list[Group]] = {ALL: []} | {f"without_{name}": [group] for name, group in every.items()}
    if len(classes) > 1:
        found |= {f"class_{ic}": [(ic, times[0][0], times[-1][1])] for ic in classes}
    if len(times) > 1:
        found |= {f"window_{number}": [(ic, *window) for ic in classes] for number, window in enumerate(times)}
    for number in range(study.retraining.subsets):
        kept = set(sorted(every, key=lambda name: _order(f"{number}/{name}"))[: len(every) // 2])
        found[f"subset_{number}"] = [group for name, group in every.items() if name not in kept]
    return found


def require_trainable(study: "Content") -> None:
    """Raise ValueError where retraining is asked for without networks and groups for it, or without `cross` beside."""
    asked, cross = study.retraining, study.cross
    if asked is None:
        return
    if cross is None:
        raise ValueError("retraining is compared with influence of training transitions; ask for cross too")
    if cross.every > asked.window:
        raise ValueError(
            f"cross.every is {cross.every}, above retraining.window, {asked.window}: some windows would have none of "
            "the transitions; lower it"
        )
    here = {label for system in study.systems.values() for label, model in system.models.items() if model.training}
    require_known("retraining.models", asked.models, tuple(sorted(here)))
    if not here:
        raise ValueError("retraining asks for networks that are trained here; give one training, or drop it")
    for name, system in study.systems.items():
        for label in study.models_of("retraining", name):
            where, training = f"systems.{name}.models.{label}", system.models[label].training
            if training and training.budget:
                raise ValueError(
                    f"retraining takes as many steps whatever is left out, but {where}.training.budget is of forwards; "
                    "say epochs alone"
                )
            if len(groups(study, name, label)) < 2:
                raise ValueError(
                    f"retraining.window is {asked.window}, which makes one group of all that {where} is trained on; "
                    "lower it"
                )


def _order(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
