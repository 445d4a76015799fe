"""`make` works wherever the project lies, with files of any name."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# In place of Python: makes an environment of commands that write down what they were called with.
PYTHON = r"""#!/bin/sh
[ "$1 $2" = "-m venv" ] || exit 0
mkdir -p "$3/bin"
for name in pip snakemake python; do
  printf '#!/bin/sh\nprintf "%%s|" %s "$@" >> "$CALLS"; echo >> "$CALLS"\n' "$name" > "$3/bin/$name"
  chmod +x "$3/bin/$name"
done
"""


@pytest.mark.parametrize("name", ["plain", "my folder", "it's (a) $copy & more"])
def test_make_sets_up_and_runs_in_any_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "requirements.lock").touch()
    python = folder / "python 3"
    python.write_text(PYTHON)
    python.chmod(0o755)
    environment = os.environ | {"CALLS": str(folder / "calls"), "MAKEFLAGS": ""}
    for target in ("run", "verify", "archive", "estimate"):
        config = [] if target == "run" else ["CONFIG=my study.yaml"]
        command = ["make", target, "PYTHON=./python 3", "CORES=2", *config]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert ("once: the Python packages" in done.stdout) == ("14 minutes" in done.stdout) == (target == "run")
    calls = (folder / "calls").read_text().splitlines()
    assert calls[:2] == [
        "pip|install|--quiet|--disable-pip-version-check|-r|requirements.lock|",
        "pip|install|--quiet|--disable-pip-version-check|--no-deps|--no-build-isolation|--editable|.|",
    ]
    assert calls[2:] == [
        "snakemake|--cores|2|",
        "python|-P|-m|surroscope.tools.verify|my study.yaml|",
        "python|-P|-m|surroscope.tools.archive|my study.yaml|",
        "python|-P|-m|surroscope.tools.estimate|my study.yaml|--cores|2|",
    ]
