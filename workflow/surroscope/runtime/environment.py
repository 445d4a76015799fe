"""The environment of every job, set once where the workflow is read."""

import os
import re
import sys
from pathlib import Path

FIXED = {
    # One process, one thread: parallelism comes from jobs, and sums keep one order on every machine.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # glibc would return every large buffer to the system after use; the page faults cost up to a third of the time.
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
    # A notebook's backend is not there in a job, and what is read and written is in UTF-8 whatever the language.
    "MPLBACKEND": "agg",
    "PYTHONUTF8": "1",
}
# What a shell says to libraries for other programs: formats of other stores, warnings that end a program.
FOREIGN = re.compile(r"ZARR_.*|PYTHONWARNINGS|PYTHONIOENCODING")
# The process of the Snakemake that starts a job, on the machine that the job runs on.
HEAD = "SURROSCOPE_HEAD"
# `python -m` does not put the working folder first on the path then, where a dask.py would replace the library.
SAFE = {"PYTHONSAFEPATH": "1"}


def working_folder_last() -> None:
    """Look for modules in the working folder after everywhere else, which a user's own may lie in."""
    here = os.getcwd()
    sys.path[:] = [*(place for place in sys.path if os.path.abspath(place) != here), here]


def prepare(sources: Path, alone: bool) -> None:
    """Put `sources` first on PYTHONPATH, and the Python that runs Snakemake first on PATH, for all jobs.

    alone: whether all jobs are this workflow's. Scripts of others may need what lies beside them
    """
    first = {"PYTHONPATH": str(sources.resolve()), "PATH": str(Path(sys.executable).parent)}
    for name, folder in first.items():
        others = [part for part in os.environ.get(name, "").split(os.pathsep) if part not in ("", folder)]
        os.environ[name] = os.pathsep.join([folder, *others])
    for name in filter(FOREIGN.fullmatch, list(os.environ)):
        del os.environ[name]
    os.environ.update(FIXED | {HEAD: str(os.getpid())} | (SAFE if alone else {}))
