"""`pip install .` into an environment of one's own: what the wheel holds, and what it asks for."""

import shutil
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("packaging")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, folder)
    shutil.copytree(ROOT / "workflow", folder / "workflow", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "."]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def test_the_wheel_holds_the_whole_package(wheel: zipfile.ZipFile) -> None:
    above = ROOT / "workflow"
    packages = [
        path for name in ("surroscope", "snakemake_logger_plugin_surroscope") for path in (above / name).rglob("*")
    ]
    sources = {path for path in packages if path.is_file() and path.suffix != ".pyc"}
    assert {path.suffix for path in sources} >= {".py", ".j2", ".js", ".mplstyle"}
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == {str(path.relative_to(above)) for path in sources}


def test_it_asks_for_the_oldest_that_will_do_and_pins_nothing(metadata: Message) -> None:
    asked = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    library = [entry for entry in asked if entry.marker is None]
    assert len(library) > 20
    for entry in library:
        assert [bound.operator for bound in entry.specifier] == [">="], entry
    assert next(entry for entry in library if entry.name == "torch").specifier.contains("2.9.0")


def test_it_says_for_which_pythons_it_is(metadata: Message) -> None:
    assert metadata["Requires-Python"] == ">=3.11"
    said = metadata.get_all("Classifier", [])
    for version in ("3.11", "3.12", "3.13"):
        assert f"Programming Language :: Python :: {version}" in said
    assert metadata["License-Expression"] == "MIT"
