"""A study of two files on a hub of its own, for the tests of listing and download."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants
from tests.hub_server import Hub

from surroscope.config import jobs
from surroscope.data import hub as client
from surroscope.stages import download, listing

REPO = "camlab-ethz/NS-BB"
LISTED = ["commits.json", "listing.json"]
FILES = ["velocity_0.nc", "velocity_1.nc"]
CONTENT = {name: np.random.default_rng(seed).bytes(600_000 + seed) for seed, name in enumerate(FILES)}


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[Hub]:
    """A hub with the files, and this process its client: huggingface_hub reads its environment when it is imported."""
    with Hub() as hub:
        hub.publish(REPO, {**CONTENT, "README.md": b"# NS-BB"})
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + template)
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        monkeypatch.setattr(client, "WAIT", 0.001)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("no_proxy", "*")
        huggingface_hub.close_session()
        yield hub


@contextmanager
def disk(folder: Path) -> Iterator[Path]:
    """A file system of 1 MB; skips the test where none may be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1000k", "tmpfs", str(folder)]
    mount = subprocess.run(command, capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"no file system may be mounted here: {mount.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def list_files(folder: Path, files: list[str] = FILES, repo: str = REPO, revision: str = "main") -> Path:
    listing.stage(jobs.Listing(ic="NS-BB", repo=repo, revision=revision, files=files), listing=folder / "listing.json")
    return folder / "listing.json"


def fetch(folder: Path, name: str = FILES[0]) -> Path:
    download.stage(
        jobs.Download(ic="NS-BB", file=name, revision="main"), listing=folder / "listing.json", raw=folder / name
    )
    return folder / name


def names(folder: Path) -> list[str]:
    """But for what stands beside each file that a job wrote."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".made.json"))


def start(stage: str, settings: dict, environment: dict[str, str], **paths: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", f"surroscope.stages.{stage}", "--settings", json.dumps(settings)]
    for name, path in paths.items():
        command += [f"--{name}", str(path)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
