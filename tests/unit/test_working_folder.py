"""The working folder is searched for modules last, and a user's own are found there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from surroscope.runtime import environment, fingerprint

ROOT = Path(__file__).parents[2]
# A stage of a test's own, which takes what the user's factory gives.
STAGE = """
import tqdm, pydantic, torch
from surroscope.importing import imported
from surroscope.runtime import cli, fingerprint
class Settings(pydantic.BaseModel):
    factory: str
def stage(settings: Settings) -> None:
    print(imported(settings.factory, "factory"), fingerprint.of_code("mine") != "", tqdm.__name__)
if __name__ == "__main__":
    cli.run(stage)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a user's own module, and others that stop whoever imports them."""
    here = tmp_path / "working"
    here.mkdir()
    (here / "mine.py").write_text("NAME = 'a network'\n")
    for name in ("tqdm", "dask", "torch", "pydantic"):
        (here / f"{name}.py").write_text(f"raise SystemExit('the working folder has {name}')\n")
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "its_stage.py").write_text(STAGE)
    monkeypatch.chdir(here)
    for name in ("PYTHONPATH", "PATH", "PYTHONSAFEPATH", environment.HEAD, *environment.FIXED):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "installed"))
    return here


def run(*words: str) -> str:
    command = [sys.executable, *words, "--settings", '{"factory": "mine:NAME"}']
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.usefixtures("folder")
def test_a_job_imports_libraries_from_elsewhere_and_factories_from_the_working_folder() -> None:
    environment.prepare(ROOT / "workflow", alone=True)
    assert run("-m", "its_stage") == "a network True tqdm\n"


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("processes", ["1", "2"])
def test_so_does_what_is_launched_though_the_environment_is_anothers(processes: str) -> None:
    environment.prepare(ROOT / "workflow", alone=False)
    assert os.environ["PYTHONSAFEPATH"] == ""
    words = ("-P", "-m", "surroscope.runtime.launch", "--processes", processes, "--", "its_stage")
    assert run(*words) == "a network True tqdm\n" * int(processes)


# A stage that needs what libraries take from the environment.
LIBRARIES = """
import sys, warnings, matplotlib, pydantic, zarr
from surroscope.runtime import cli, fingerprint
class Settings(pydantic.BaseModel):
    factory: str
def stage(settings: Settings) -> None:
    warnings.warn("harmless", DeprecationWarning)
    matplotlib.use(matplotlib.get_backend())
    print(zarr.config.get("default_zarr_format"), sys.stdout.encoding, fingerprint.of_code("surroscope.physics.euler"))
if __name__ == "__main__":
    cli.run(stage)
"""


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "setting",
    [
        "MPLBACKEND=module://matplotlib_inline.backend_inline",
        "ZARR_DEFAULT_ZARR_FORMAT=2",
        "PYTHONWARNINGS=error",
        "PYTHONIOENCODING=ascii",
        "LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0",
    ],
)
def test_settings_of_libraries_are_not_inherited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    (tmp_path / "installed" / "its_stage.py").write_text(LIBRARIES)
    for entry in setting.split():
        monkeypatch.setenv(*entry.split("=", 1))
    environment.prepare(ROOT / "workflow", alone=True)
    assert run("-m", "its_stage") == f"3 utf-8 {fingerprint.of_code('surroscope.physics.euler')}\n"
    assert environment.FIXED.items() <= os.environ.items()
