"""Which version this is, installed or run from a checkout."""

import tomllib
from importlib import metadata
from pathlib import Path

# Of a checkout, which may be another than an installed one: what runs is what counts.
PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def version(project: Path = PROJECT) -> str:
    """What the project's own pyproject.toml says, and where there is none, what was installed.

    Raises importlib.metadata.PackageNotFoundError of a copy of the package alone.
    """
    about = tomllib.loads(project.read_text())["project"] if project.is_file() else {}
    return about["version"] if about.get("name") == "surroscope" else metadata.version("surroscope")


__version__ = version()
