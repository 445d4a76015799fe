"""What all parts of the configuration share."""

import itertools
import math
import re
import sys
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from surroscope.errors import UserError

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
# Of files that lie beside the folders of studies and systems: report.html, provenance.json, default.tar.gz, ...
OF_FILES = (".html", ".json", ".log", ".tsv", ".tar.gz")
# Above what any study counts, and below what would keep a plan busy for hours.
MOST = 10**6
# Every float64 holds whole numbers up to here, and so does every reader of JSON.
LARGEST = 2**53
Count = Annotated[int, Field(ge=1, le=MOST)]
Natural = Annotated[int, Field(ge=0, le=MOST)]
Seed = Annotated[int, Field(ge=0, le=LARGEST)]
# Their squares are finite in float32, and the schema needs no exponent, which YAML would read as text.
Positive = Annotated[float, Field(gt=0, le=1e15, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]


def once(entries: list[Any]) -> list[Any]:
    """The entries. Raises ValueError for one that stands twice."""
    for entry in entries:
        if entries.count(entry) > 1:
            raise ValueError(f"{entry!r} stands twice; list each once")
    return entries


def alike(names: Iterable[str]) -> list[str]:
    """The first of the names that are one but for case and punctuation, as the page's links have them; or none."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(re.sub(r"[^a-z0-9]+", "-", name.lower()), []).append(name)
    return next((group for group in groups.values() if len(group) > 1), [])


def _no_file(name: str) -> str:
    if name.lower().endswith(OF_FILES):
        raise ValueError(f"a folder of results has this name, where files end in {', '.join(OF_FILES)}; rename it")
    return name


Folder = Annotated[Name, AfterValidator(_no_file)]
Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(once)]

#  Import paths of the release before this one; they go with the next.
MOVED = {"surroscope.observables:spectral_band": "surroscope.observables.spectral:spectral_band"}


def _import_path(factory: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", factory):
        raise ValueError("expected 'package.module:function'")
    return MOVED.get(factory, factory)


ImportPath = Annotated[str, AfterValidator(_import_path)]


ENTRIES, DEPTH = 100_000, 50


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, and nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def require_bounded(config: dict[str, Any], source: str) -> None:
    """Raise UserError for more entries, or deeper ones, than anyone writes: aliases of aliases grow without end."""
    stack: list[tuple[Any, int]] = [(config, 0)]
    for count in itertools.count():
        if not stack:
            return
        entry, depth = stack.pop()
        if count > ENTRIES or depth > DEPTH:
            raise UserError(
                f"{source}: holds more than {ENTRIES} entries, or lists more than {DEPTH} deep, counting what an alias "
                "(*name) stands for; write less"
            )
        if isinstance(entry, dict | list | tuple | set):
            stack += [(part, depth + 1) for part in (entry.values() if isinstance(entry, dict) else entry)]


def plain(options: dict[str, Any], key: str = "") -> dict[str, Any]:
    """The options of a factory. Raises ValueError, naming the key, for what JSON does not hold as it is."""
    parts: list[tuple[str, Any]] = [(f"{key}{name}", part) for name, part in options.items()]
    for name, part in parts:
        if isinstance(part, list):
            parts += [(f"{name}.{number}", entry) for number, entry in enumerate(part)]
        elif isinstance(part, dict) and all(isinstance(entry, str) for entry in part):
            plain(part, f"{name}.")
        elif isinstance(part, int) and abs(part) > LARGEST:
            raise ValueError(f"{name} is beyond 2**53; write a smaller number, or put it in quotes")
        elif isinstance(part, float) and not math.isfinite(part):
            raise ValueError(f"{name} is {part}, which JSON does not hold; put it in quotes")
        elif not isinstance(part, str | int | float | None):
            raise ValueError(
                f"{name} is of type {type(part).__name__}, expected text, numbers, true, false, null, lists, and keys "
                "that are text; put it in quotes"
            )
    return options


# (Section, key, value or None for any, new name), of the release before this one; they go with the next.
RENAMED = (
    ("influence", "rungs", None, "max_iterations"),
    ("sensitivity", "rungs", None, "max_iterations"),
    ("influence", "span", "ket", "perturbation"),
)


def renamed(config: dict[str, Any], source: str) -> dict[str, Any]:
    """The configuration with names of the last release replaced by today's, and a line printed for each."""
    for name, key, value, new in RENAMED:
        section = config.get(name)
        both = isinstance(section, dict) and value is None and new in section  # the old one is an unknown key then
        if not isinstance(section, dict) or both or key not in section or value not in (None, section[key]):
            continue
        old = f"{name}.{key}" if value is None else f"{name}.{key}: {value}"
        print(
            f"{source}: {old} is now called {new}; rename it, the old name goes with the next release", file=sys.stderr
        )
        rest = {other: entry for other, entry in section.items() if other != key}
        config = config | {name: rest | ({new: section[key]} if value is None else {key: new})}
    return config


def require_known(key: str, found: list[str] | None, known: tuple[str, ...]) -> None:
    """Raise ValueError, naming the key, for a name that is not among the known ones."""
    for name in found or ():
        if name not in known:
            raise ValueError(f"{key} holds {name!r}; choose from {', '.join(known)}")
