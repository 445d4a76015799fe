"""Which of one class's trajectories train, validate and test: how many, and what was trained on elsewhere."""

import functools
import json
import re
from pathlib import Path
from typing import Any

# Of each class the numbers of trajectories, as a list or as text.
Listed = dict[str, str | list[int]]
EXPECTED = "of each class its trajectories, as [0, 1, 2] or as 0-99, 120"


def split_counts(
    trajectories: int, train: float, validation: float, trained: int | None = None
) -> tuple[int, int, int]:
    """(train, validation, test) counts from fractions: rounded, at least one of each.

    trained: on how many a network was trained elsewhere; as many validate as the fraction says, and the others test,
    of which there may be none, or fewer than none
    """
    if trained is not None:
        n_validation = max(1, round(validation * trajectories))
        return trained, n_validation, trajectories - trained - n_validation
    n_train = min(max(1, round(train * trajectories)), trajectories - 2)
    n_validation = min(max(1, round(validation * trajectories)), trajectories - n_train - 1)
    return n_train, n_validation, trajectories - n_train - n_validation


def numbers(listed: Any) -> set[int]:
    """Numbers of trajectories, from a list or from text. Raises ValueError for what is neither."""
    if isinstance(listed, list) and all(type(number) is int and number >= 0 for number in listed):
        return set(listed)
    found: set[int] = set()
    for part in listed.split(",") if isinstance(listed, str) else [""]:
        match = re.fullmatch(r"(\d{1,6})(?: *- *(\d{1,6}))?", part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first:
            raise ValueError(f"found {part or listed!r}; expected {EXPECTED}")
        found.update(range(first, last + 1))
    return found


def require_listed(found: Any) -> Listed:
    """What was found, if it lists trajectories. Raises ValueError, naming the class."""
    if not isinstance(found, dict) or not all(isinstance(ic, str) for ic in found):
        raise ValueError(f"expected {EXPECTED}")
    for ic, listed in found.items():
        try:
            numbers(listed)
        except ValueError as error:
            raise ValueError(f"{ic}: {error}") from None
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name in (names := [name for name, _ in pairs]):
        if names.count(name) > 1:
            raise ValueError(f"lists {name} twice; say all of it at once")
    return dict(pairs)


@functools.cache
def read(path: Path) -> Listed:
    """What a JSON file lists. Raises ValueError, naming the file."""
    try:
        return require_listed(json.loads(path.read_bytes(), object_pairs_hook=_once))
    except OSError:
        raise ValueError(f"{path}: no such file; mend the path") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
