"""One run of Clawpack's classic solver of the Euler equations, in the environment that has it; see solvers.py.

    .venv-clawpack/bin/python benchmarks/clawpack_euler.py CASE.npz roe

A line of JSON a trajectory: `seconds` of processor time, `steps` taken, `rejected` steps that were done again, and
`failed`, the output time at which density or pressure was first not positive or not finite, or null.
"""

import json
import logging
import sys
import time

import numpy as np

logging.disable(logging.CRITICAL)
from clawpack import pyclaw, riemann  # noqa: E402

GAMMA = 1.4
RIEMANN = {"roe": riemann.euler_4wave_2D, "hlle": riemann.euler_hlle_2D}


def run(initial: np.ndarray, times: np.ndarray, name: str) -> dict:
    """Solve from conserved variables (4, Y, X) on the periodic unit square, by PyClaw's defaults but the limiter."""
    solver = pyclaw.ClawSolver2D(RIEMANN[name])
    solver.limiters = pyclaw.limiters.tvd.MC
    solver.all_bcs = pyclaw.BC.periodic
    solver.max_steps = 100_000
    # Of the size of the first step; the scheme then finds its own.
    solver.dt_initial = 0.1 / initial.shape[-1]
    solution = pyclaw.Solution(4, pyclaw.Domain([0.0, 0.0], [1.0, 1.0], [*initial.shape[:0:-1]]))
    solution.problem_data["gamma"] = GAMMA
    solution.q[...] = initial.swapaxes(1, 2)
    attempts = [0]
    solver.before_step = lambda *_: attempts.__setitem__(0, attempts[0] + 1)
    failed, start = None, time.process_time()
    for target in times[1:]:
        solver.evolve_to_time(solution, target)
        density, x, y, energy = solution.q
        with np.errstate(all="ignore"):
            positive = (density > 0) & (energy - (x * x + y * y) / (2 * density) > 0)
        if not positive.all():
            failed = float(target)
            break
    steps = solver.status["numsteps"]
    return {
        "seconds": time.process_time() - start,
        "steps": steps,
        "rejected": attempts[0] - steps,
        "failed": failed,
    }


def main() -> None:
    path, name = sys.argv[1:]
    case = np.load(path)
    run(case["initial"][0, :, ::4, ::4], case["times"][:2], name)
    for initial in case["initial"]:
        print(json.dumps(run(initial, case["times"], name)), flush=True)


if __name__ == "__main__":
    main()
