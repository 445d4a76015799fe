"""A tiny study on disk from data to shards, and its exact Jacobian."""

import dataclasses
from pathlib import Path
from typing import Any

import native
import numpy as np
import torch
from torch import Tensor, nn

from surroscope.config import jobs
from surroscope.config.sections import Dask, Method
from surroscope.cost_function import Observable, smse
from surroscope.data import transitions
from surroscope.influence.linearize import Linearization
from surroscope.influence.responses import Response
from surroscope.models import surrogate
from surroscope.observables.catalogue import factory_of
from surroscope.runtime import store
from surroscope.stages import gradients, reduce, train
from surroscope.system import COMPRESSIBLE_EULER, System

CLASSES, SNAPSHOTS, SIZE, CHANNELS = ["CE-RP", "CE-CRP"], 4, 8, 4
SAMPLES = len(CLASSES) * (SNAPSHOTS - 1)
OUTPUTS = CHANNELS * SIZE * SIZE
DAMPING = 1e-2
# What single-precision passes leave of the dense float64 influence of a batch whose gradients are nearly dependent.
SINGLE = 3e-5
FACTORY = f"{__name__}:build"
HERE = Dask()
RESPONSES = [Response("smse"), Response("mass"), Response("energy")]


def gated(system: System, below: float) -> Observable:
    """The squared error of the density, exactly zero for states whose mean density is below a bound."""
    return lambda prediction, target, state: torch.where(
        state[:, 0].mean((-2, -1)) < below, 0.0, (prediction - target)[:, 0].square().mean((-2, -1))
    )


class Mixing(nn.Module):
    """Adds a share of the batch's mean, none at first."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.share = network, nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x) + self.share * x.mean(dim=0)


def mixing(channels: int, size: int) -> nn.Module:
    return Mixing(build(channels, size))


def build(channels: int, size: int, hidden: int = 3, silent: bool = False) -> nn.Module:
    network = nn.Sequential(
        nn.Conv2d(channels, hidden, 3, padding=1, padding_mode="circular"),
        nn.SiLU(),
        nn.Conv2d(hidden, channels, 1),
    )
    return Silent(network) if silent else network


class Silent(nn.Module):
    """Says nothing about the density's mean, so that mass has no gradient."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        y = self.network(x)
        return torch.cat([x[:, :1], y[:, 1:]], dim=1)


@dataclasses.dataclass(frozen=True)
class Study:
    """A checkpoint with its data on disk."""

    folder: Path
    stores: list[Path]
    split: Path
    weights: Path

    @property
    def common(self) -> dict[str, Any]:
        return {
            "system": "CE",
            "equations": COMPRESSIBLE_EULER,
            "boundary": "periodic",
            "model": "net",
            "factory": FACTORY,
            "options": {},
            "seed": 1,
            "epoch": 2,
        } | {
            "observables": {name: factory_of(name, COMPRESSIBLE_EULER) for name in ("mass", "energy")},
            "snapshots": SNAPSHOTS,
            "method": Method(),
        }

    @property
    def inputs(self) -> dict[str, Any]:
        return {"stores": self.stores, "split": self.split, "weights": self.weights}

    def shard(self, name: str, batches: list, directions: list = [], **changes: Any) -> Path:  # noqa: B006
        settings = jobs.Gradients(
            **self.common
            | {"responses": RESPONSES, "batches": batches, "directions": directions, "every": 1, "span": "perturbation"}
            | changes
        )
        gradients.stage(settings, **self.inputs, shard=self.folder / name)
        return self.folder / name

    def exact(self, *batches: tuple[str, int]) -> tuple[np.ndarray, np.ndarray]:
        """G (N, P) of the cost and J (N, outputs, P) of the batches, in float64."""
        network = build(CHANNELS, SIZE)
        surrogate.load_weights(network, self.weights, 2)
        linear = Linearization(network.double())
        probes = transitions.probes(self.stores, self.split, list(batches), SNAPSHOTS)
        x, y = (
            torch.from_numpy(np.concatenate([getattr(p, k) for p in probes])).double() for k in ("inputs", "targets")
        )
        rows = torch.func.jacrev(lambda parameters: linear.predict(parameters, x))(linear.parameters)
        jacobian = torch.cat([rows[n].reshape(len(x), OUTPUTS, -1) for n in linear.parameters], dim=2)
        return linear.gradients(smse, x, y).numpy(), jacobian.detach().numpy()


def make(folder: Path) -> Study:
    """Random data and a network with random weights."""
    stores = []
    for number, name in enumerate(CLASSES):
        draw = np.random.default_rng(number)
        state = draw.uniform(1, 2, size=(9, SNAPSHOTS, CHANNELS, SIZE, SIZE)).astype(np.float32)
        stores.append(native.ingested(folder / f"{name}.zarr", state))
    native.divided(folder / "split.json", stores)
    save(folder / "weights", build(CHANNELS, SIZE))
    return Study(folder, stores, folder / "split.json", folder / "weights")


def retrained(study: Study, name: str, **model: Any) -> Study:
    """The study with another network, trained for two epochs. model: factory and options"""
    made = {key: study.common[key] for key in ("system", "boundary", "model", "seed", "snapshots")}
    rule = {"epochs": 2, "save_epochs": [2], "learning_rate": 1e-2, "batch": 6}
    train.stage(
        jobs.Train(**made | model | rule),
        stores=study.stores,
        split=study.split,
        weights=study.folder / name,
        history=study.folder / "history.csv",
        checkpoints=study.folder / "resume",
        mapping=study.folder / "cache",
    )
    return dataclasses.replace(study, weights=study.folder / name)


def save(path: Path, network: nn.Module) -> None:
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    draw = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.rand(2, CHANNELS, SIZE, SIZE, generator=draw)).square().mean().backward()
    optimizer.step()
    with store.writing(path, {}) as temporary:
        temporary.mkdir()
        surrogate.save_weights(network, surrogate.weights_of(temporary, 2))
        surrogate.save_moments(network, optimizer.state_dict(), surrogate.moments_of(temporary, 2))


def contracted(study: Study, *shards: Path, memory_mb: float = 100, threads: int = 1, at: Dask = HERE) -> Path:
    path = study.folder / "grams.zarr"
    options = {"threads": threads, "memory_mb": memory_mb, "dask": at}
    reduce.stage(jobs.Reduce(), shards=list(shards), grams=path, **options)
    return path


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
