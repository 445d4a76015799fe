"""What the jobs of a study take, counted in network passes, solver steps, contractions and bytes.

Each of those is timed on one core of this machine when it is first needed. `full` is counted to its last rung.
"""

import functools
import hashlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from surroscope.config import jobs
from surroscope.config.study import Study
from surroscope.data.pdegym import CELLS, SERIES
from surroscope.data.splits import split_counts
from surroscope.influence.krylov import CHECKED, inner
from surroscope.influence.responses import Response, Responses
from surroscope.models import surrogate
from surroscope.physics.initial_conditions import sample, start_time
from surroscope.physics.simulate import BATCH_CELLS, simulate
from surroscope.tools.jobs import Job, Work
from surroscope.training import loop

# Per-sample gradients over batched passes, a tangent and a product with the metric over a forward pass
# (`make bench-linearize`), and double over single precision.
GRADIENT, TANGENT, PRODUCT, DOUBLE = 1.2, 2.0, 4.0, 2.0
# Seconds of a stage beside its imports that do not grow with the study: first calls, graphs, drawing. And of a store
# that is opened, once for every batch.
FIXED = {"calibrate": 5.0, "tables": 5.0} | dict.fromkeys(
    ("gradients", "cross_gradients", "reduce", "figures", "influence", "sensitivity", "maps"), 1.0
)
OPENED = 0.05
# A byte that is written or read and verified, and a byte of raw data in its way to the store, in times of hashing it.
MOVED, INGESTED = 3.0, 15.0
TORCH = ("simulate", "train", "calibrate", "gradients", "cross_gradients", "full", "full_sweep", "orbits", "evaluate")
# Floating-point operations of what a machine is timed on: enough to tell, over within a second or two.
TIMED = 2e10
RAW_CHANNELS = {"CE": 5, "NS": 2}


@dataclass(frozen=True)
class Network:
    """Seconds and operations of a sample's forward pass, seconds of its share of a training step, and P."""

    forward: float
    step: float
    operations: float
    parameters: int


def timed(call: Callable[[], object], least: float = 0.2) -> float:
    """Processor seconds of a call, the shortest of those made in `least` seconds after a first one."""
    call()
    found: list[float] = []
    end = time.perf_counter() + least
    while not found or time.perf_counter() < end:
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return min(found)


class Model:
    """Counts what the jobs of a study take, in what is measured here when it is first needed."""

    def __init__(self, study: Study) -> None:
        self.study = study
        for measure in ("start", "trajectory", "network"):
            setattr(self, measure, functools.cache(getattr(self, measure)))

    @functools.cached_property
    def byte(self) -> float:
        """Seconds to hash a byte."""
        block = bytes(2**24)
        return timed(lambda: hashlib.sha256(block)) / len(block)

    @functools.cached_property
    def product(self) -> float:
        """Seconds of one operation of a contraction in float64."""
        rows = torch.randn(48, 2**17)
        return timed(lambda: inner(rows, rows)) / (2 * 48**2 * 2**17)

    def start(self, stage: str) -> float:
        """Processor seconds until a stage has imported what it needs."""
        before = os.times()
        subprocess.run([sys.executable, "-m", f"surroscope.stages.{stage}", "--help"], capture_output=True, check=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    def trajectory(self, ic: str) -> float:
        """Seconds to draw and solve a trajectory, from as much of its time as tells."""
        data = self.study.data
        cells = data.grid[1] * data.refinement
        indices = range(max(1, BATCH_CELLS // cells**2))
        drawing = timed(lambda: sample(ic, data.preset, data.seed, 0, cells), 0.05)
        until, begin = 1 / 40, start_time(ic)

        def solve() -> None:
            parts = simulate(
                ic,
                preset=data.preset,
                seed=data.seed,
                indices=indices,
                size=data.grid[1],
                factor=data.refinement,
                snapshots=2,
                final_time=until,
            )
            for _ in parts:
                pass

        while (taken := timed(solve, 0.0)) < 0.3 and until < 0.5:
            until *= 2
        solving = max(0.0, taken / len(indices) - drawing) * (1 - begin) / (until - begin)
        return drawing + solving

    def network(self, system: str, model: str) -> Network:
        chosen, shape = self.study.systems[system].models[model], self.shape(system)
        boundary = self.study.system(system).boundary
        network = surrogate.build(chosen.factory, chosen.options, shape=shape, boundary=boundary, seed=0)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.ones(1, *shape))
        operations = counter.get_total_flops()
        batch = max(1, min(chosen.training.batch, int(TIMED / max(3 * operations, 1))))
        draw = torch.Generator().manual_seed(0)
        states = 1 + 0.1 * torch.randn(2 * batch, 2, *shape, generator=draw)
        network.train()
        rule = {"seed": 0, "batch": batch, "learning_rate": 1e-9, "weight_decay": 0.0}
        steps = loop.epochs(network, states, states[:1], until=1000, **rule)  # type: ignore[arg-type]
        network.eval()
        with torch.no_grad():
            forward = timed(lambda: network(states[:batch, 0])) / batch
        step = max(timed(lambda: next(steps), 1.0) - forward, forward) / len(states)
        return Network(forward, step, operations, sum(p.numel() for p in network.parameters()))

    def shape(self, system: str) -> tuple[int, ...]:
        return len(self.study.system(system).channels), *self.study.data.grid

    def work(self, job: Job) -> Work:
        """What one job takes."""
        if job.rule == "all":
            return Work(0.0)
        kind = "train" if job.stage in TORCH else "figures" if job.stage == "figures" else "reduce"
        base = self.start(kind) + FIXED.get(job.stage, 0.0)
        count = getattr(self, f"_{job.stage}", None)
        if count is None:
            return Work(base)
        chosen = json.loads(jobs.settings(self.study, job.rule, **job.wildcards))
        found = count(chosen, **job.wildcards)
        return Work(base + found.seconds, found.operations, found.kind, found.size)

    def _simulate(self, chosen: dict[str, Any], system: str, ic: str, block: str) -> Work:
        count = chosen["stop"] - chosen["start"]
        size = 4.0 * count * chosen["snapshots"] * math.prod(self.shape(system))
        return Work(count * self.trajectory(ic), kind="raw", size=size)

    def _download(self, chosen: dict[str, Any], system: str, ic: str, file: str) -> Work:
        size = 4.0 * SERIES[ic].rows * 21 * RAW_CHANNELS[system] * CELLS**2
        return Work(MOVED * size * self.byte, kind="raw", size=size)

    def _ingest(self, chosen: dict[str, Any], system: str, ic: str) -> Work:
        size = 4.0 * chosen["trajectories"] * chosen["snapshots"] * math.prod(self.shape(system))
        return Work(INGESTED * size * self.byte, kind="store", size=size)

    def _split(self, chosen: dict[str, Any], system: str, seed: str) -> Work:
        mapped = self.study.data.reader == "mapped"
        return Work(0.0, kind="cache", size=self.trained(system) * mapped)

    def trained(self, system: str) -> float:
        """Bytes of the trajectories that a network is trained and validated on."""
        study = self.study
        counts = split_counts(study.systems[system].trajectories, study.split.train, study.split.validation)[:2]
        states = sum(counts) * len(study.classes(system)) * study.probe.snapshots
        return 4.0 * states * math.prod(self.shape(system))

    def _train(self, chosen: dict[str, Any], system: str, model: str, seed: str) -> Work:
        study, network = self.study, self.network(system, model)
        counts = split_counts(study.systems[system].trajectories, study.split.train, study.split.validation)
        train, validation = (n * len(study.classes(system)) * (chosen["snapshots"] - 1) for n in counts[:2])
        epoch = train * network.step + validation * network.forward
        operations = (3 * train + validation) * network.operations
        reading = MOVED * self.trained(system) * self.byte
        # Weights and moments of the probed epochs stand twice, and the state that is gone on from.
        size = 4.0 * network.parameters * (4 * len(chosen["save_epochs"]) + 3)
        return Work(reading + chosen["epochs"] * epoch, chosen["epochs"] * operations, "weights", size)

    def _calibrate(self, chosen: dict[str, Any], system: str, model: str) -> Work:
        passes, network = 60, self.network(system, model)
        return Work(passes * network.forward, passes * network.operations)

    def _evaluate(self, chosen: dict[str, Any], system: str, model: str, seed: str, epoch: str) -> Work:
        network, snapshots = self.network(system, model), self.study.data.snapshots
        classes = len(self.study.classes(system))
        samples = classes * chosen["probes"]
        passes = samples * (snapshots * (snapshots - 1) / 2 + snapshots - 1)
        passes += samples * (chosen["snapshots"] - 1) * len(chosen["actions"])
        size = 8.0 * classes * snapshots * math.prod(self.shape(system))
        return Work(passes * network.forward, passes * network.operations, size=size)

    def linearized(self, chosen: dict[str, Any], system: str) -> tuple[Responses, int, int]:
        """The gradients that are asked for, samples of a probe batch, and outputs of a sample."""
        times = -(-(chosen["snapshots"] - 1) // chosen.get("every", 1))
        rows = Responses([Response(**response) for response in chosen["responses"]])
        return rows, times * len(self.study.classes(system)), math.prod(self.shape(system))

    def _gradients(self, chosen: dict[str, Any], system: str, model: str, **checkpoint: str) -> Work:
        network = self.network(system, model)
        rows, n, outputs = self.linearized(chosen, system)
        pool = len(chosen["directions"])
        blocks = pool or (len(rows.names) if chosen["span"] == "joint" else rows.perturbations)
        batches = len(chosen["batches"])
        gradients, tangents = batches * (len(rows.names) + pool) * n, batches * blocks * n * n
        size = 4.0 * batches * (len(rows.names) * n * network.parameters + (blocks * n + 2) * n * outputs)
        seconds = GRADIENT * gradients * network.step + TANGENT * tangents * network.forward
        seconds += OPENED * len(self.study.classes(system)) * (batches + pool)
        operations = (3 * gradients + 2 * tangents) * network.operations
        return Work(seconds + MOVED * size * self.byte, operations, "shards", size)

    _cross_gradients = _gradients

    def _orbits(self, chosen: dict[str, Any], system: str, model: str, **checkpoint: str) -> Work:
        network = self.network(system, model)
        _, n, _ = self.linearized(chosen, system)
        probes, images = len(chosen["probes"]), len(chosen["actions"])
        gradients = probes * (1 + images) * n
        seconds = GRADIENT * gradients * network.step + DOUBLE * gradients * n * network.parameters * self.product
        return Work(seconds, 3 * gradients * network.operations, size=8.0 * probes * images * n * n)

    def _reduce(self, chosen: dict[str, Any], **checkpoint: str) -> Work:
        size, operations, kept = 0.0, 0.0, 0.0
        for shard in range(self.study.gradients.shards):
            settings = json.loads(jobs.settings(self.study, "gradients", shard=str(shard), **checkpoint))
            parameters = self.network(checkpoint["system"], checkpoint["model"]).parameters
            rows, n, outputs = self.linearized(settings, checkpoint["system"])
            r = len(rows.names) * n
            d = r if settings["span"] == "joint" else rows.perturbations * n
            # k and adam; b; and by sample, in front of it and elsewhere
            each = 4 * r**2 * parameters + (2 * d**2 + 2.2 * n**2) * n * outputs
            operations += len(settings["batches"]) * each
            kept += 8.0 * len(settings["batches"]) * (2 * r**2 + d**2 + 2 * n**3)
            size += self._gradients(settings, **checkpoint).size
        return Work(MOVED * size * self.byte + operations * self.product, size=kept)

    def _cross(self, chosen: dict[str, Any], **checkpoint: str) -> Work:
        settings = json.loads(jobs.settings(self.study, "cross_gradients", shard="0", **checkpoint))
        parameters = self.network(checkpoint["system"], checkpoint["model"]).parameters
        _, n, outputs = self.linearized(settings, checkpoint["system"])
        batches = len(settings["directions"])
        operations = (batches * n) ** 2 * (2 * parameters + 4 * batches * n * outputs)
        size = batches * self._gradients(settings, **checkpoint).size
        return Work(MOVED * size * self.byte + operations * self.product, size=8.0 * (batches * n) ** 2)

    def _full(self, chosen: dict[str, Any], system: str, model: str, **checkpoint: str) -> Work:
        network = self.network(system, model)
        _, n, _ = self.linearized(chosen, system)
        gradients = products = contracted = 0.0
        p, iterations = network.parameters, chosen["max_iterations"]
        for step in {response["step"] for response in chosen["responses"]}:
            rows = Responses([Response(**response) for response in chosen["responses"] if response["step"] == step])
            r = len(rows.names) * n
            gradients += r
            if "full" in chosen["solvers"]:
                products += n * (iterations * n + DOUBLE * CHECKED * len(chosen["dampings"]))
                # In iteration k: made orthogonal twice to a basis of k n, bordered, and the residuals.
                contracted += sum((12 * n + 2 * r) * k * n * p for k in range(1, iterations + 1))
            if "dense" in chosen["solvers"]:
                products += DOUBLE * n * p
                contracted += 10.0 * p**3
        probes = len(chosen["probes"])
        seconds = DOUBLE * GRADIENT * gradients * network.step + PRODUCT * products * network.forward
        seconds += contracted * self.product
        size = 16.0 * len(chosen["dampings"]) * len(chosen["responses"]) * n * n * probes
        return Work(probes * seconds, probes * (3 * gradients + 4 * products) * network.operations, size=size)

    _full_sweep = _full
