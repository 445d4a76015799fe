"""The project's own files agree with each other."""

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "workflow" / "surroscope"
CONDA_NAMES = {"pytorch": "torch"}


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return {name.lower(): version for name, version in (line.split("==") for line in lines if "==" in line)}


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda path: path.stem)
def test_conda_environments_hold_the_locked_versions(path: Path) -> None:
    for entry in yaml.safe_load(path.read_text())["dependencies"]:
        name, version = entry.split(" ", 1)
        if name != "python":
            assert version == f"={locked()[CONDA_NAMES.get(name, name)]}", name


def test_the_lock_satisfies_the_declared_minimum_versions() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    found = re.findall(r'"([\w-]+)(?:\[\w+\])?>=([\d.]+)"', text.split("[project.optional-dependencies]")[0])
    assert len(found) > 10
    for name, minimum in found:
        if name == "setuptools":
            continue
        parts = [[int(part) for part in re.findall(r"\d+", version)] for version in (locked()[name.lower()], minimum)]
        assert parts[0] >= parts[1], name


# From the ground up: a module imports rooms below its own, and its own.
ROOMS = (
    *(
        "",
        "observables",
        "runtime",
        "physics",
        "data",
        "models",
        "training",
        "influence",
        "diagnostics",
        "tables",
        "report",
        "plots",
    ),
    *("config", "stages", "tools"),
)
# What opens a finished study stands beside the words that everyone uses, and above the rooms that it needs.
ABOVE = {"results.py"}


def imported(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


def room(name: str) -> str | None:
    """The room of a module of the package, "" for one that is in none; None for other packages and for the package."""
    parts = name.split(".")
    if parts[0] != "surroscope" or len(parts) == 1:
        return None
    return parts[1] if (PACKAGE / parts[1]).is_dir() else ""


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    own = path.parent.relative_to(PACKAGE).as_posix().replace(".", "")
    for name in imported(path):
        if (other := room(name)) is not None and path.name not in ABOVE:
            assert ROOMS.index(other) <= ROOMS.index(own), f"{path.name} imports {name}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "stages").glob("*.py")), ids=lambda path: path.stem)
def test_no_stage_imports_another_stage(path: Path) -> None:
    others = {name.split(".")[2] for name in imported(path) if name.startswith("surroscope.stages.")}
    assert others <= {"checkpoint", "shards"}


@pytest.mark.parametrize("path", sorted((PACKAGE / "runtime").glob("*.py")), ids=lambda path: path.stem)
def test_runtime_computes_nothing(path: Path) -> None:
    libraries = {name.partition(".")[0] for name in imported(path)}
    assert "numpy" not in libraries
    assert path.stem == "torchrun" or "torch" not in libraries


@pytest.mark.parametrize(
    "name",
    [
        "figures",
        "report",
        "tables",
        "sensitivity",
        "influence",
        "reduce",
        "cross",
        "maps",
        "ingest",
        "split",
        "listing",
        "download",
    ],
)
def test_stages_that_need_no_network_import_no_torch(name: str) -> None:
    seen, queue = set(), [f"surroscope.stages.{name}"]
    while queue:
        module = queue.pop()
        file = PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")
        if module in seen or not file.is_file():
            continue
        seen.add(module)
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                assert node.module.partition(".")[0] != "torch", module
                queue += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                assert all(alias.name.partition(".")[0] != "torch" for alias in node.names), module
