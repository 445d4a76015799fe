"""What the jobs of a study take, counted in network passes, solver steps, contractions and bytes.

Each of those is timed on one core of this machine when it is first needed. `full` is counted to its last iteration.
"""

import functools
import hashlib
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from surroscope.config import jobs
from surroscope.config.checkpoint_jobs import Linearized
from surroscope.config.study import Study
from surroscope.data.pdegym import CELLS, SERIES
from surroscope.influence.krylov import CHECKED, inner
from surroscope.influence.responses import Responses
from surroscope.models import context, surrogate
from surroscope.physics.initial_conditions import sample, start_time
from surroscope.physics.simulate import BATCH_CELLS, simulate
from surroscope.tools.schedule import Job, Work
from surroscope.training import loop
from surroscope.training.recipe import Recipe
from surroscope.training.strategy import WITH_BACKWARD, asked_for, history_of, price

# Per-sample gradients over batched passes, a tangent and a product with the metric over a forward pass
# (`make bench-linearize`), and double over single precision.
GRADIENT, TANGENT, PRODUCT, DOUBLE = 1.2, 2.0, 4.0, 2.0
# Seconds of a stage beside its imports that do not grow with the study: first calls, graphs, drawing. And of a store
# that is opened, once for every batch.
# The figures of a system are some thirty, a second each.
FIXED = {"calibrate": 5.0, "tables": 5.0, "figures": 30.0} | dict.fromkeys(
    ("gradients", "cross_gradients", "reduce", "influence", "sensitivity", "maps"), 1.0
)
OPENED = 0.05
# Gradients of a whole batch that the proximal problem takes, for each of its two sizes.
MINIMISED = 60
# A byte that is written or read and verified, and a byte of raw data in its way to the store, in times of hashing it.
MOVED, INGESTED = 3.0, 15.0
TORCH = (
    "simulate",
    "contract",
    "train",
    "retrain",
    "adopt",
    "validate",
    "calibrate",
    "gradients",
    "cross_gradients",
    "coupling",
    "full",
    "full_sweep",
    "orbits",
    "fidelity",
    "leads",
    "evaluate",
)
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
    shortest, end = math.inf, time.perf_counter() + least
    while shortest == math.inf or time.perf_counter() < end:
        start = time.process_time()
        call()
        shortest = min(shortest, time.process_time() - start)
    return shortest


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
        return sum(os.times()[2:4]) - sum(before[2:4])

    def trajectory(self, ic: str) -> float:
        """Seconds to draw and solve a trajectory, from as much of its time as tells."""
        data = self.study.data
        cells = data.grid[1] * data.refinement
        indices = range(max(1, BATCH_CELLS // cells**2))
        drawing = timed(lambda: sample(ic, data.preset, data.seed, 0, cells), 0.05)
        until, begin = 1 / 40, start_time(ic)
        grid: dict[str, Any] = {"size": data.grid[1], "factor": data.refinement, "snapshots": 2}

        def solve() -> None:
            list(simulate(ic, preset=data.preset, seed=data.seed, indices=indices, final_time=until, **grid))

        while (taken := timed(solve, 0.0)) < 0.3 and until < 0.5:
            until *= 2
        return drawing + max(0.0, taken / len(indices) - drawing) * (1 - begin) / (until - begin)

    def network(self, system: str, model: str) -> Network:
        architecture, shape = self.study.systems[system].models[model], self.shape(system)
        network = surrogate.build(**jobs.Calibrate.of(self.study, system, model).network, shape=shape, seed=0)
        history = history_of(network)
        given = context.of(network, torch.ones(1, history, *shape), torch.zeros(1, context.LABELS))
        operations = loop.flops(network, given)
        batch = max(
            1, min(architecture.training.batch if architecture.training else 1, int(TIMED / max(3 * operations, 1)))
        )
        draw = torch.Generator().manual_seed(0)
        states = 1 + 0.1 * torch.randn(2 * batch, history + 1, *shape, generator=draw)
        network.train()
        rule = Recipe(batch=batch, learning_rate=1e-9, weight_decay=0.0)
        steps = loop.Training(network, states, states[:1], rule, seed=0, until=1000).epochs()
        network.eval()
        with torch.no_grad():
            given = context.of(network, states[:batch, :history], torch.zeros(batch, context.LABELS))
            forward = timed(lambda: network(given)) / batch
        step = max(timed(lambda: next(steps), 1.0) - forward, forward) / len(states)
        return Network(forward, step, operations, surrogate.size(network))

    def shape(self, system: str) -> tuple[int, ...]:
        """Of a snapshot in the store."""
        return len(self.study.system(system).stored), *self.study.data.grid

    def work(self, job: Job) -> Work:
        if job.rule == "all":
            return Work(0.0)
        kind = "train" if job.stage in TORCH else "figures" if job.stage == "figures" else "reduce"
        base = self.start(kind) + FIXED.get(job.stage, 0.0)
        count = getattr(self, f"_{job.stage}", None)
        if count is None:
            return Work(base)
        work = count(jobs.JOBS[job.rule].of(self.study, **job.wildcards), **job.wildcards)
        return replace(work, seconds=base + work.seconds)

    def _simulate(self, job: jobs.Simulate, system: str, ic: str, **_: str) -> Work:
        count = job.stop - job.start
        size = 4.0 * count * job.snapshots * math.prod(self.shape(system))
        return Work(count * self.trajectory(ic), kind="raw", size=size)

    def _download(self, job: jobs.Download, system: str, ic: str, **_: str) -> Work:
        size = 4.0 * SERIES[ic].rows * 21 * RAW_CHANNELS[system] * CELLS**2
        return Work(MOVED * size * self.byte, kind="raw", size=size)

    def _ingest(self, job: jobs.Ingest, system: str, **_: str) -> Work:
        size = 4.0 * job.trajectories * job.snapshots * math.prod(self.shape(system))
        return Work(INGESTED * size * self.byte, kind="store", size=size)

    def trajectories(self, system: str) -> tuple[int, int]:
        """How many of all classes a network is trained and validated on."""
        train, validation, _ = zip(*self.study.counts(system).values(), strict=True)
        return sum(train), sum(validation)

    def trained(self, system: str) -> float:
        """Bytes of those trajectories."""
        return 4.0 * sum(self.trajectories(system)) * self.study.probe.snapshots * math.prod(self.shape(system))

    def _split(self, job: jobs.Split, system: str, **_: str) -> Work:
        return Work(0.0, kind="cache", size=self.trained(system) * (self.study.data.reader == "mapped"))

    def _train(self, job: jobs.Train, **_: str) -> Work:
        network = self.network(job.system, job.model)
        train, validation = (n * (job.snapshots - 1) for n in self.trajectories(job.system))
        spent = job.budget or job.epochs * train * self.price(job)
        seconds = spent / WITH_BACKWARD * network.step + job.epochs * validation * network.forward
        # Weights and moments of the probed epochs stand twice, and the state that is gone on from.
        size = 4.0 * network.parameters * (4 * len(job.save_epochs) + 3)
        operations = (spent + job.epochs * validation) * network.operations
        return Work(MOVED * self.trained(job.system) * self.byte + seconds, operations, "weights", size)

    def price(self, job: jobs.Train) -> float:
        """Forwards of one sample that a window costs in training."""
        if job.strategy is None:
            return WITH_BACKWARD
        shape = self.shape(job.system)
        return price(asked_for(job), surrogate.build(**job.network, shape=shape, seed=0), shape)

    def _retrain(self, job: jobs.Retrain, **_: str) -> Work:
        work = self._train(job)
        times, classes = job.snapshots - job.given["history"], self.study.classes(job.system)
        missing = sum(last - first + 1 for _, first, last in job.left_out) / (times * len(classes))
        if job.strategy is not None:  # all windows go through the network, so that what is drawn is the same
            missing = 0.0
        return Work((1 - missing) * work.seconds, (1 - missing) * work.operations, size=2e4)

    def _adopt(self, job: jobs.Adopt, **_: str) -> Work:
        size = 4.0 * self.network(job.system, job.model).parameters
        return Work(MOVED * size * self.byte, kind="weights", size=size)

    def _validate(self, job: jobs.Validate, **_: str) -> Work:
        network, validation = self.network(job.system, job.model), self.trajectories(job.system)[1]
        passes = len(job.epochs) * validation * (job.snapshots - 1)
        return Work(passes * network.forward, passes * network.operations)

    def _calibrate(self, job: jobs.Calibrate, **_: str) -> Work:
        passes, network = 60, self.network(job.system, job.model)
        return Work(passes * network.forward, passes * network.operations)

    def _evaluate(self, job: jobs.Evaluate, **_: str) -> Work:
        network, snapshots = self.network(job.system, job.model), self.study.data.snapshots
        classes = len(self.study.classes(job.system))
        passes = (job.probes + job.further) * (snapshots * (snapshots - 1) / 2 + snapshots - 1)
        passes = classes * (passes + job.probes * (job.snapshots - 1) * len(job.actions))
        size = 8.0 * classes * snapshots * math.prod(self.shape(job.system))
        return Work(passes * network.forward, passes * network.operations, size=size)

    def linearized(self, job: Linearized, every: int = 1) -> tuple[Network, int, int]:
        """The network, and samples of a probe batch and outputs of a sample."""
        samples = -(-(job.snapshots - job.given["history"]) // every) * len(self.study.classes(job.system))
        outputs = len(self.study.system(job.system).channels) * math.prod(self.study.data.grid)
        return self.network(job.system, job.model), samples, outputs

    def _gradients(self, job: jobs.Gradients, **_: str) -> Work:
        (network, n, outputs), rows = self.linearized(job, job.every), Responses(job.responses)
        pool, batches = len(job.directions), len(job.batches)
        blocks = pool or (len(rows.names) if job.span == "joint" else rows.perturbations)
        gradients, tangents = batches * (len(rows.names) + pool) * n, batches * blocks * n * n
        size = 4.0 * batches * (len(rows.names) * n * network.parameters + (blocks * n + 2) * n * outputs)
        seconds = GRADIENT * gradients * network.step + TANGENT * tangents * network.forward
        seconds += OPENED * len(self.study.classes(job.system)) * (batches + pool)
        operations = (3 * gradients + 2 * tangents) * network.operations
        return Work(seconds + MOVED * size * self.byte, operations, "shards", size)

    _cross_gradients = _gradients

    def _coupling(self, job: jobs.Coupling, **_: str) -> Work:
        network, n, _outputs = self.linearized(job)
        probes, rows = len(job.probes) + job.untrained_probes, n * (job.draws + job.patterns)
        seconds = GRADIENT * rows * network.step + MOVED * 4 * rows * network.parameters * self.byte
        seconds += rows**2 * network.parameters * self.product
        operations = 3 * probes * rows * network.operations
        return Work(probes * seconds, operations, size=8.0 * probes * 5 * 16 * n * n)

    def _orbits(self, job: jobs.Orbits, **_: str) -> Work:
        network, n, _outputs = self.linearized(job)
        probes, images = len(job.probes), len(job.actions)
        gradients = probes * (1 + images) * n
        seconds = GRADIENT * gradients * network.step + DOUBLE * gradients * n * network.parameters * self.product
        return Work(seconds, 3 * gradients * network.operations, size=8.0 * probes * images * n * n)

    def _reduce(self, job: jobs.Reduce, **checkpoint: str) -> Work:
        moved = operations = size = 0.0
        for number in range(self.study.gradients.shards):
            shard = jobs.Gradients.of(self.study, shard=str(number), **checkpoint)
            (network, n, outputs), rows = self.linearized(shard), Responses(shard.responses)
            r = len(rows.names) * n
            d = r if shard.span == "joint" else rows.perturbations * n
            # k and adam; b; and by sample, in front of it and elsewhere
            each = 4 * r**2 * network.parameters + (2 * d**2 + 2.2 * n**2) * n * outputs
            operations += len(shard.batches) * each
            size += 8.0 * len(shard.batches) * (2 * r**2 + d**2 + 2 * n**3)
            moved += self._gradients(shard).size
        return Work(MOVED * moved * self.byte + operations * self.product, size=size)

    def _cross(self, job: jobs.Cross, **checkpoint: str) -> Work:
        shard = jobs.CrossGradients.of(self.study, shard="0", **checkpoint)
        network, n, outputs = self.linearized(shard, shard.every)
        batches = len(shard.directions)
        operations = (batches * n) ** 2 * (2 * network.parameters + 4 * batches * n * outputs)
        moved = batches * self._gradients(shard).size
        return Work(MOVED * moved * self.byte + operations * self.product, size=8.0 * (batches * n) ** 2)

    def _full(self, job: jobs.Full, **_: str) -> Work:
        network, n, _outputs = self.linearized(job)
        gradients = products = contracted = 0.0
        p, iterations = network.parameters, job.max_iterations
        for step in {response.step for response in job.responses}:
            r = len(Responses([response for response in job.responses if response.step == step]).names) * n
            gradients += r
            if "full" in job.solvers:
                products += n * (iterations * n + DOUBLE * CHECKED * len(job.dampings))
                # In iteration k: made orthogonal twice to a basis of k n, bordered, and the residuals.
                contracted += sum((12 * n + 2 * r) * k * n * p for k in range(1, iterations + 1))
            if "dense" in job.solvers:
                products += DOUBLE * n * p
                contracted += 10.0 * p**3
        probes = len(job.probes)
        seconds = DOUBLE * GRADIENT * gradients * network.step + PRODUCT * products * network.forward
        seconds += contracted * self.product
        size = 16.0 * len(job.dampings) * len(job.responses) * n * n * probes
        return Work(probes * seconds, probes * (3 * gradients + 4 * products) * network.operations, size=size)

    _full_sweep = _full

    def _leads(self, job: jobs.Leads, **_: str) -> Work:
        network, n, outputs = self.linearized(job)
        n, probes = n * len(job.steps), len(job.probes)
        seconds = GRADIENT * n * network.step + TANGENT * n**2 * network.forward
        seconds += n**2 * (network.parameters + n * outputs) * self.product
        operations = (3 * n + 2 * n**2) * network.operations
        return Work(probes * seconds, probes * operations, size=8.0 * probes * n**2)

    def _fidelity(self, job: jobs.Fidelity, **_: str) -> Work:
        network, n, _outputs = self.linearized(job)
        stepped = -(-(job.snapshots - 1) // job.every) * (n // (job.snapshots - 1))
        sized = len([kind for kind in job.kinds if kind != "adamw"]) * len(job.falls)
        optimised = 2 if "adamw" in job.kinds else 0
        passes = n * (1 + stepped * (sized + optimised) + optimised)
        gradients = n + stepped * 11 * bool(optimised)
        products = contracted = 0.0
        if "full" in job.kinds or job.pbrf:
            products = float(n * stepped * job.max_iterations)
            contracted = sum(14 * stepped**2 * k * network.parameters for k in range(1, job.max_iterations + 1))
        solved = DOUBLE * GRADIENT * job.pbrf * 2 * MINIMISED * n
        seconds = passes * network.forward + (GRADIENT * gradients + solved) * network.step
        seconds += PRODUCT * products * network.forward + contracted * self.product
        operations = (passes + 3 * gradients + 4 * products + 3 * job.pbrf * 2 * MINIMISED * n) * network.operations
        probes = len(job.batches)
        return Work(probes * seconds, probes * operations, size=16.0 * probes * stepped * n * (sized + optimised))
