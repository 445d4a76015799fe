"""Memory of the stages that differentiate a network: what is foreseen against what is held, and what cannot fit."""

import subprocess
import sys

import pytest
import torch
from response_study import DAMPING, RESPONSES, Study

from surroscope.config import jobs, memory
from surroscope.errors import UserError
from surroscope.influence.responses import Response
from surroscope.stages import full

SOLVE = """
import re, torch
from surroscope.influence import krylov
torch.set_num_threads(1)
parameters, samples, iterations = {sizes}

def solve(size, most):
    scale = torch.logspace(0, -6, size)
    rows = torch.cat([torch.randn(samples, size, dtype=torch.float64) for _ in range(3)])
    metric = lambda v: v * scale.to(v.dtype)
    options = dict(dampings=[1e-5], tolerance=1e-12, max_iterations=most, dtype=torch.float32, exact=metric)
    return krylov.solve(metric, rows, samples, **options)[0].iterations

def peak():
    # Not ru_maxrss, which begins at what the process that started this one held.
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

solve(1000, 2)
before = peak()
assert solve(parameters, iterations) == iterations
print((peak() - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is of Linux alone")
def test_what_full_holds_is_what_is_foreseen() -> None:
    # So many iterations that the basis, which is kept, outweighs what comes and goes.
    sizes = (200_000, 16, 12)
    ran = subprocess.run([sys.executable, "-c", SOLVE.format(sizes=sizes)], capture_output=True, text=True, check=True)
    parameters, samples, iterations = sizes
    responses = [Response("smse"), Response("mass"), Response("energy")]
    assert 0.6 < int(ran.stdout) / memory.full(parameters, samples, responses, iterations) < 1.1


def test_what_cannot_fit_is_refused_before_anything_is_computed(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full, "memory_of", lambda place: 10**5)
    options = {"probes": [0], "dampings": [DAMPING], "damping_scale": "absolute", "tolerance": 1e-4}
    settings = jobs.Full(**study.common | options | {"solvers": ["full"], "responses": RESPONSES, "max_iterations": 40})
    with pytest.raises(UserError, match=r"40 iterations .* cpu has 0 GB. Lower influence\.max_iterations"):
        full.stage(settings, **study.inputs, solved=study.folder / "none.zarr")
    assert not (study.folder / "none.zarr").exists()


def test_slurm_gives_a_job_a_part_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_MEM_PER_NODE", raising=False)
    whole = full.memory_of(torch.device("cpu"))
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "500")
    assert full.memory_of(torch.device("cpu")) == 500 * 2**20 < whole
