"""The project's own files agree with each other."""

import ast
import re
import sys
from pathlib import Path

import pytest
import yaml
import yte

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "workflow" / "surroscope"
# What is installed by that name -> what is imported.
CONDA_NAMES = {"pytorch": "torch", "pyyaml": "yaml", "pillow": "PIL", "dask-jobqueue": "dask_jobqueue"}


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return {name.lower(): version for name, version in (line.split("==") for line in lines if "==" in line)}


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda path: path.stem)
def test_conda_environments_hold_the_locked_versions(path: Path) -> None:
    for entry in yaml.safe_load(path.read_text())["dependencies"]:
        name, version = entry.split(" ", 1)
        if name != "python":
            assert version == f"={locked()['torch' if name == 'pytorch' else name]}", name


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
    *("", "observables", "runtime", "physics", "data", "models", "training", "influence", "diagnostics", "tables"),
    *("plots", "report", "config", "stages", "tools"),
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
    own = (path.relative_to(PACKAGE).parts[:-1] or ("",))[0]
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


def libraries(stage: str) -> set[str]:
    """What a stage imports of other packages, itself or by what it imports."""
    seen: set[str] = set()
    queue = [f"surroscope.stages.{stage}"]
    while queue:
        module = queue.pop()
        file = PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")
        if module not in seen and (file.is_file() or "surroscope" not in module):
            seen.add(module)
            queue += imported(file) if file.is_file() else []
    return {name.partition(".")[0] for name in seen} - {"surroscope", *sys.stdlib_module_names}


# Stage -> the environment of its rule. Only torch.yaml has PyTorch: what needs no network starts without it.
STAGES = {
    stage: environment
    for path in (ROOT / "workflow" / "rules").glob("*.smk")
    for environment, stage in re.findall(
        r"envs/(\w+)\.yaml(?:(?!\nrule).)*?command\(\s*\"(\w+)", path.read_text(), re.DOTALL
    )
}


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_the_environment_of_a_rule_holds_what_its_stage_imports(stage: str) -> None:
    entries = yaml.safe_load((ROOT / "envs" / f"{STAGES[stage]}.yaml").read_text())["dependencies"]
    held = {CONDA_NAMES.get(name, name) for name in (entry.split(" ")[0] for entry in entries)}
    assert libraries(stage) <= held | {"markupsafe"}  # a part of jinja2


def test_every_stage_has_a_rule() -> None:
    rooms = {"__init__", "checkpoint", "shards"}
    assert set(STAGES) == {path.stem for path in (PACKAGE / "stages").glob("*.py")} - rooms


def test_both_profiles_give_every_rule_with_a_network_a_gpu() -> None:
    rules = "\n".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    stages = set(re.findall(r"command\(\s*\"(\w+)\",\s*launch=(?:GPUS|f\"\{GPUS\})", rules))
    given = [
        yte.process_yaml((ROOT / "profiles" / name / "config.yaml").read_text())["set-resources"]
        for name in ("slurm", "workstation")
    ]
    assert len(stages) == 10
    assert stages < set(given[0]) == set(given[1])
    assert {asked["gpu"] for profile in given for asked in profile.values()} == {1}
