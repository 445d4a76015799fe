"""Solve for the influence in the full parameter space of one checkpoint -> matrices with their error bounds."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from surroscope import device
from surroscope.config import jobs, memory
from surroscope.data import transitions
from surroscope.errors import UserError
from surroscope.influence import dense, krylov
from surroscope.influence.linearize import Linearization, Method
from surroscope.influence.responses import MATRIX, Response, Responses
from surroscope.runtime import cli, progress, store
from surroscope.stages.checkpoint import (
    functions_of,
    gradients,
    inputs,
    linearization,
    linearizing,
    method_of,
    probe_batches,
    require_finite,
)


def stage(
    settings: jobs.Full,
    *,
    stores: list[Path],
    split: Path,
    weights: Path,
    solved: cli.Output,
    calibration: Path | None = None,
) -> None:
    place = device.pick()
    batches = probe_batches(settings, stores, split, settings.probes)
    linear = linearization(settings, weights, batches[0], place)
    require_memory(settings, linear.size, len(batches[0].inputs), place)
    method = method_of(settings, calibration, linear, batches[0])
    shape = (len(batches[0].classes), len(batches[0].times))
    lead = (len(settings.solvers), len(settings.dampings), len(settings.responses), len(batches))
    influence = np.full((*lead, *shape, *shape), np.nan)
    # Of dense algebra there are none of these.
    certificate = np.full(influence.shape[1:], np.nan)
    relative, iterations = np.full(lead[1:], np.nan), np.zeros(lead[1:], int)
    absolute = np.empty(lead[1::2])
    with progress.bar(
        f"iterations of {settings.model} epoch {settings.epoch}", settings.max_iterations * len(batches), "iteration"
    ) as bar:
        for b, probe in enumerate(batches):
            problem = Problem(settings, weights, probe, place, method)
            with linearizing(settings.model, settings.system):
                absolute[:, b] = dampings = problem.dampings()
            for step in dict.fromkeys(response.step for response in settings.responses):
                chosen = [r for r, response in enumerate(settings.responses) if response.step == step]
                with linearizing(
                    f"{settings.model}, probe batch {settings.probes[b]}, step on {step}", settings.system
                ):
                    rows, gradients = problem.rows([settings.responses[r] for r in chosen])
                    exact = problem.dense(gradients, dampings) if "dense" in settings.solvers else []
                    found = []
                    if "full" in settings.solvers:
                        found = problem.full(gradients, dampings, lambda *at: report(bar, *at))
                for r in chosen:
                    response = settings.responses[r]
                    own = rows.place(response.observable, problem.samples)
                    for d, solution in enumerate(found):
                        influence[settings.solvers.index("full"), d, r, b] = solution.influence[own].reshape(*shape * 2)
                        certificate[d, r, b] = solution.certificate[own].reshape(*shape * 2)
                        relative[d, r, b], iterations[d, r, b] = solution.relative, solution.iterations
                    for d, matrix in enumerate(exact):
                        influence[settings.solvers.index("dense"), d, r, b] = matrix[own].reshape(*shape * 2)
    names = [str(name) for name in batches[0].classes]
    lead_names = ("damping", "response", "probe")
    dataset = xr.Dataset(
        {
            "influence": (("solver", *lead_names, *MATRIX), influence),
            "certificate": ((*lead_names, *MATRIX), certificate),
            "relative": (lead_names, relative),
            "iterations": (lead_names, iterations),
            "converged": (lead_names, relative <= settings.tolerance),
            "absolute_damping": (("damping", "probe"), absolute),
        },
        coords={
            "probe": settings.probes,
            "damping": settings.dampings,
            "solver": store.names("solver", settings.solvers),
        }
        | {f"{kind}_class": store.names(f"{kind}_class", names) for kind in ("response", "perturbation")}
        | {f"{kind}_time": list(batches[0].times) for kind in ("response", "perturbation")},
        attrs={key: getattr(settings, key) for key in ("system", "model", "seed", "epoch", "tolerance")},
    )
    made = cli.provenance("full", settings) | {"method": str(method)}
    with store.writing(solved, made) as temporary:
        dataset.to_zarr(temporary, zarr_format=3, consolidated=False)


def require_memory(settings: jobs.Full, parameters: int, samples: int, place: torch.device) -> None:
    """Raise UserError if the iterations that the settings allow need more memory than there is."""
    needed, there = memory.full(parameters, samples, settings.responses, settings.max_iterations), memory_of(place)
    if "full" in settings.solvers and needed > there:
        raise UserError(
            f"{settings.model} on {settings.system}: up to {settings.max_iterations} iterations with {samples} samples "
            f"of {parameters:,} parameters hold {needed / 1e9:,.0f} GB, but {place} has {there / 1e9:,.0f} GB. Lower "
            "influence.max_iterations (of a sweep, sensitivity.max_iterations), probe.snapshots or the observables"
        )


def memory_of(place: torch.device) -> int:
    """Bytes of memory of a GPU, or of this machine, of which SLURM may have given the job a part."""
    if place.type == "cuda":
        return torch.cuda.get_device_properties(place).total_memory
    given = int(os.environ.get("SLURM_MEM_PER_NODE") or 0) * 2**20
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(given, whole) if given else whole


def report(bar: Any, iteration: int, bound: float) -> None:
    bar.set_postfix(iteration=iteration, bound=f"{bound:.1e}")
    bar.update(1)


class Problem:
    """The linear systems of one probe batch: gradients in float64, products with the metric in both precisions."""

    def __init__(
        self, settings: jobs.Full, weights: Path, probe: transitions.Probe, place: torch.device, method: Method
    ) -> None:
        self.settings, self.probe, self.place, self.method = settings, probe, place, method
        self.single = linearization(settings, weights, probe, place)
        self.double = linearization(settings, weights, probe, place, torch.float64)
        self.system = settings.equations
        self.samples = len(probe.inputs)

    def rows(self, responses: list[Response]) -> tuple[Responses, Tensor]:
        """Gradients in float64 (R, P): those that are stepped on, which are the same for all, then the responses'."""
        rows = Responses(responses)
        functions = functions_of(rows, self.settings.observables, self.system, self.probe)
        found = gradients(self.double, self.probe, rows.names, functions, self.place, self.method, torch.float64)
        parts = []
        for name, values in zip(rows.names, found, strict=True):
            require_finite(values, "gradients", self.settings, self.probe, name, zero=False)
            parts.append(values)
        return rows, torch.cat(parts)

    def metric(self, linear: Linearization) -> Callable[[Tensor], Tensor]:
        dtype = next(iter(linear.parameters.values())).dtype
        states = inputs(linear.network, self.probe, self.place, dtype)
        return lambda directions: linear.metric(states, directions, self.method)

    def dampings(self) -> list[float]:
        """Absolute dampings; a relative one is a multiple of the metric's largest eigenvalue in the cost's span."""
        if self.settings.damping_scale == "absolute":
            return self.settings.dampings
        space = krylov.Krylov(self.metric(self.single), self.rows([Response("smse")])[1], torch.float32)
        space.grow(space.rows)
        largest = float(np.linalg.eigvalsh(space.projected)[-1])
        return [damping * largest for damping in self.settings.dampings]

    def full(
        self, rows: Tensor, dampings: list[float], progress: Callable[[int, float], None]
    ) -> list[krylov.FullResponse]:
        return krylov.solve(
            self.metric(self.single),
            rows,
            self.samples,
            dampings=dampings,
            tolerance=self.settings.tolerance,
            max_iterations=self.settings.max_iterations,
            dtype=torch.float32,
            exact=self.metric(self.double),
            progress=progress,
        )

    def dense(self, rows: Tensor, dampings: list[float]) -> list[np.ndarray]:
        return dense.solve(self.metric(self.double), rows, self.samples, dampings=dampings)


if __name__ == "__main__":
    cli.run(stage)
