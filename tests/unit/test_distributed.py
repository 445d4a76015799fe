"""Training in two processes by torchrun: the weights of one; no hang, no half output and no loss after a kill."""

import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import native
import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from torch import nn

from surroscope.config import jobs
from surroscope.config.networks import Factory
from surroscope.models import surrogate
from surroscope.runtime import launch
from surroscope.system import SYSTEMS

ROOT = Path(__file__).parents[2]
STAGE = "surroscope.stages.train"
SETTINGS = jobs.Train(
    system="CE",
    boundary="periodic",
    model="net",
    factory="surroscope.models.vit:build",
    options={"patch": 4, "width": 8, "depth": 1, "heads": 2},
    seed=1,
    snapshots=4,
    epochs=15,
    save_epochs=[15],
    learning_rate=1e-3,
    weight_decay=1e-4,
    batch=7,
)
UNET = {"width": 4, "stages": 1, "kernels": [3, 3, 3], "heads": 2, "blocks": 1}
SECONDS = 180


def build_in_the_first_process_only(channels: int, size: int) -> nn.Module:
    if os.environ.get("RANK", "0") != "0":
        raise ValueError("not here")
    return nn.Conv2d(channels, channels, 1)


@dataclass(frozen=True)
class Job:
    """A training and its files."""

    settings: jobs.Train
    stores: list[Path]
    split: Path
    folder: Path

    @property
    def paths(self) -> dict[str, Path]:
        return {name: self.folder / name for name in ("weights", "history", "checkpoints", "mapping")}

    def start(self, processes: int = 2) -> subprocess.Popen[str]:
        """On the CPU."""
        words = ["--settings", self.settings.model_dump_json(), "--split", str(self.split), "--reader", "memory"]
        words += ["--stores", *map(str, self.stores)]
        for name, path in self.paths.items():
            words += [f"--{name}", str(path)]
        found = os.pathsep.join(str(ROOT / folder) for folder in ("workflow", "tests/unit", "."))
        return subprocess.Popen(
            launch.command(STAGE, words, processes),
            env=os.environ | {"PYTHONPATH": found, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, processes: int = 2) -> str:
        """Its log."""
        job = self.start(processes)
        log, _ = job.communicate(timeout=SECONDS)
        assert job.returncode == 0, log
        return log

    def weights(self, epoch: int | None = None) -> dict[str, torch.Tensor]:
        """Of the last epoch, or of this one."""
        path = surrogate.weights_of(self.paths["weights"], self.settings.epochs if epoch is None else epoch)
        return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Job]:
    """Makes jobs on the same data."""
    folder = tmp_path_factory.mktemp("data")
    classes = ["CE-RP", "CE-CRP"]
    draw = np.random.default_rng(0)
    states = [draw.uniform(1, 2, size=(9, 4, 4, 8, 8)).astype(np.float32) for _ in classes]
    stores = [native.ingested(folder / f"{name}.zarr", own) for name, own in zip(classes, states, strict=True)]
    native.divided(folder / "split.json", stores)
    return lambda path, **changes: Job(SETTINGS.model_copy(update=changes), stores, folder / "split.json", path)


@pytest.mark.parametrize(
    "network",
    [
        {},
        # Two forwards before a backward.
        {
            **{"factory": "surroscope.models.unet:build", "options": UNET},
            "strategy": Factory(factory="surroscope.training.strategies.unrolled:build"),
            "equations": SYSTEMS["CE"],
            **{"clip": 1.0, "average": 0.9, "warmup": 0.1, "schedule": "cosine"},
        },
    ],
    ids=["ViT", "UNet, unrolled"],
)
def test_two_processes_train_the_weights_of_one(
    make: Callable[..., Job], tmp_path: Path, network: dict[str, Any]
) -> None:
    one, two = (make(tmp_path / name, **network) for name in ("one", "two"))
    one.run(processes=1)
    log = two.run()
    assert "in 2 processes" in log
    assert log.count("transitions per second over 15 epochs; peak memory of the first process") == 1
    expected, found = one.weights(), two.weights()
    assert list(found) == list(expected)
    both = [torch.cat([tensor.flatten() for tensor in weights.values()]) for weights in (expected, found)]
    assert (both[1] - both[0]).norm() < 1e-5 * both[0].norm()
    rows, others = (pd.read_csv(job.paths["history"]).drop(columns="seconds") for job in (one, two))
    pd.testing.assert_frame_equal(others, rows, rtol=1e-5)


def ranks(job: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes that train, in the order of their numbers."""
    found = psutil.Process(job.pid).children()
    return sorted(found, key=lambda process: int(process.environ()["RANK"]))


def wait_until(true: Callable[[], bool], job: subprocess.Popen[str]) -> None:
    until = time.monotonic() + SECONDS
    while not true():
        assert job.poll() is None, job.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.slow
def test_a_killed_process_ends_the_job_and_the_next_run_resumes_bit_by_bit(
    make: Callable[..., Job], tmp_path: Path
) -> None:
    epochs = [0, 60]
    long = {"epochs": 60, "save_epochs": epochs}
    undisturbed, killed = (make(tmp_path / name, **long) for name in ("undisturbed", "killed"))
    undisturbed.run()

    latest = killed.paths["checkpoints"] / "latest.pt"
    for victim in ("process", "torchrun"):
        before = latest.stat().st_mtime_ns if latest.exists() else 0
        job = killed.start()
        wait_until(lambda before=before: latest.exists() and latest.stat().st_mtime_ns > before, job)
        training = ranks(job)
        assert len(training) == 2
        (training[1] if victim == "process" else job).kill()
        log, _ = job.communicate(timeout=SECONDS)
        assert job.returncode != 0
        assert not psutil.wait_procs(training, timeout=SECONDS)[1]
        assert not killed.paths["weights"].exists()
        assert not killed.paths["history"].exists()
        assert ("resuming after epoch" in log) == (before > 0)

    assert "resuming after epoch" in killed.run()
    for epoch in epochs:
        for name, tensor in undisturbed.weights(epoch).items():
            assert torch.equal(killed.weights(epoch)[name], tensor), name


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"batch": 1}, "error: training: a batch of 1 transitions for 2 processes; expected one or more for each"),
        ({"factory": f"{__name__}:build_in_the_first_process_only", "options": {}}, "error: factory .*: not here"),
    ],
    ids=["of every process", "of one process"],
)
def test_an_error_ends_the_job_in_one_line(
    make: Callable[..., Job], tmp_path: Path, changes: dict[str, Any], line: str
) -> None:
    failing = make(tmp_path, **changes)
    job = failing.start()
    log, _ = job.communicate(timeout=SECONDS)
    assert job.returncode == 1
    errors = [text[text.index("error: ") :] for text in log.splitlines() if "error: " in text]
    assert len(errors) == 2, log
    assert re.match(line, errors[0])
    assert "ended with exit code 1" in errors[1]
    assert "Traceback" not in log
    assert not failing.paths["weights"].exists()
