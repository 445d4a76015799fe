"""Memory that the stages which differentiate a network hold at their peak, known before they start."""

from collections.abc import Sequence

from surroscope.config import jobs
from surroscope.config.study import Study
from surroscope.influence.responses import Response, Responses

# Of the interpreter, its libraries, the data and one forward pass.
BASE_MB = 3000
# Of a basis that are contracted in float64 at a time.
COLUMNS = 2**16


def gradients(parameters: int, samples: int, outputs: int) -> int:
    """Bytes of the gradients of a batch's samples, (N, P) float32, and their tangents, (N, N, outputs of a sample).

    Held at once: gradients of two observables, those of one chunk as torch.func gives them, and a copy of the
    directions; tangents in the blocks that they come in, all of them together, and once more while they are written.
    What a network's own layers hold while a block of tangents passes through them is not counted.
    """
    return 4 * samples * (4 * parameters + 3 * samples * outputs)


def full(parameters: int, samples: int, responses: Sequence[Response], max_iterations: int) -> int:
    """Bytes of the block Krylov iteration on the gradients of all responses, if it makes all of its iterations.

    Float64: gradients, their residuals, and either once more while it is put together. Float32: the basis, which is
    copied when it grows, its products with the metric, and the directions and products of one iteration. Contractions
    convert some columns of two of these at a time.
    """
    rows = len(Responses(responses).names) * samples
    basis = min(max_iterations * samples, parameters)
    contracted = 8 * 2 * basis * min(parameters, COLUMNS)
    return parameters * (8 * 3 * rows + 4 * 3 * basis + 4 * 6 * samples) + contracted


def dense(parameters: int) -> int:
    """Bytes of dense algebra in float64: the metric and its copies, measured at 3.4 times its size, rounded up."""
    return 4 * 8 * parameters**2


def training_mb(study: Study, system: str) -> int:
    """What training needs, in MB: its trajectories, unless they are mapped, and 2 GB to work in."""
    if study.data.reader == "mapped":
        return 2000
    return 2000 + _trajectories_mb(study, system, sum(t + v for t, v, _ in study.counts(system).values()))


def retraining_mb(study: Study, system: str) -> int:
    """The same, for a training that is tested at the end: with all trajectories, which are in memory."""
    return 2000 + _trajectories_mb(study, system, sum(map(sum, study.counts(system).values())))


def _trajectories_mb(study: Study, system: str, count: int) -> int:
    rows, columns = study.data.grid
    return count * study.probe.snapshots * len(study.system(system).stored) * rows * columns * 4 // 10**6


def of_job(study: Study, job: str, parameters: int, **wildcards: str) -> int:
    """MB of a job of this name that differentiates a network of so many parameters."""
    settings = jobs.JOBS[job].of(study, **wildcards)
    samples = len(study.classes(settings.system)) * (settings.snapshots - 1)
    samples *= len(settings.steps) if isinstance(settings, jobs.Leads) else 1
    rows, columns = study.data.grid
    outputs = len(settings.equations.channels) * rows * columns
    needed = gradients(parameters, samples, outputs)
    if isinstance(settings, jobs.Full):
        if "full" in settings.solvers:
            needed = max(needed, full(parameters, samples, settings.responses, settings.max_iterations))
        if "dense" in settings.solvers:
            needed = max(needed, dense(parameters))
    if isinstance(settings, jobs.Fidelity):
        # Gradients, and of every perturbation directions of each kind, steps, moments, and a Krylov basis.
        stepped = -(-samples // settings.every)
        needed += 4 * 12 * stepped * parameters
        if "full" in settings.kinds or settings.pbrf:
            needed += full(parameters, stepped, settings.responses, settings.max_iterations)
    return BASE_MB + needed // 10**6
