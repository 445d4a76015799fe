"""The same influence matrices by our solvers and by other libraries: time, memory, and error against dense float64.

    .venv/bin/python benchmarks/peers.py case          write the case from the quick study's trained networks
    .venv-peers/bin/python benchmarks/peers.py run     measure; tables to results/benchmarks/peers.{md,csv}

Each method runs in a process of its own on one thread. CPU s is processor time from network and data in memory to H in
memory; before, the library is imported and the method called on a tiny network. Exact methods stop at the same relative
residual.
Error is the relative Frobenius norm to the float64 reference of what a method claims: "full", (η + λ)⁻¹ in the whole
parameter space; "span", the same in the span of the gradients; "identity", products of gradients. Pearson correlation
is over all entries, Spearman's off the diagonal. Memory is the peak, and the peak above that of a process that only has
torch and the case. Covered are the parameters that the library can handle; the reference has all.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

from surroscope.runtime.environment import FIXED  # noqa: E402

RESULTS = ROOT / "results" / "benchmarks"
TOLERANCE, LIMIT = 1e-3, 600
# For a solver without a tolerance: about the fewest that bring H within 1e-3, found by trying.
ITERATIONS = {("unet", 1e-2): 130, ("unet", 1e-4): 1200, ("vit", 1e-2): 60, ("vit", 1e-4): 360}
LIBRARIES = ("torch", "numpy", "curvlinops-for-pytorch", "pyDVL", "dattri", "kronfluence", "captum")
MODULES = {
    "Surroscope": "surroscope.influence.span",
    "curvlinops": "curvlinops",
    "pyDVL": "pydvl.influence.torch",
    "dattri": "dattri.algorithm.influence_function",
    "captum": "captum.influence",
    "kronfluence": "kronfluence.analyzer",
}
EXACT = f"exact, residual {TOLERANCE:g}"
ARNOLDI = {"attributor": "IFAttributorArnoldi", "proj_dim": 50, "max_iter": 100}
SAMPLED = {"fisher_type": "mc", "mc_samples": 16}
# label, how exact, function of peer_methods, its options
METHODS = (
    ("Surroscope, span", "exact in the span", "ours_subspace", {}),
    ("Surroscope, full", "exact, certified to 2e-3", "full", {}),
    ("curvlinops, GGN + CG", EXACT, "curvlinops_cg", {}),
    ("pyDVL, block CG", EXACT, "pydvl_cg", {"solve_simultaneously": True}),
    ("pyDVL, block CG, Dask", EXACT, "pydvl_cg", {"solve_simultaneously": True, "dask_chunk": 5}),
    ("pyDVL, CG", EXACT, "pydvl_cg", {}),
    ("dattri, CG", "exact, {iterations} iterations", "dattri", {"attributor": "IFAttributorCG"}),
    ("dattri, Arnoldi", "approximate, rank 50 of 100", "dattri", ARNOLDI),
    ("captum, Arnoldi", "approximate, rank 50 of 200", "captum_arnoldi", {"projection_dim": 50, "arnoldi_dim": 200}),
    ("curvlinops, EK-FAC", "approximate", "curvlinops_ekfac", {"fisher_type": "type-2"}),
    ("curvlinops, EK-FAC sampled", "approximate, 16 draws", "curvlinops_ekfac", SAMPLED),
    ("kronfluence, EK-FAC sampled", "approximate, 16 draws", "kronfluence_ekfac", {"draws": 16}),
    ("captum, TracIn", "exact", "captum_tracin", {}),
)
CLAIMS = {"ours_subspace": "span", "captum_tracin": "identity"}
HEADS = "method|kind|claim|CPU s|time / span|time / full|MB|MB above|error|Pearson|Spearman|error to full|covered"
CELLS = "{}|{}|{}|{:.3g}|{:.2g}|{:.2g}|{:.0f}|{:.0f}|{:.1e}|{:.4f}|{:.4f}|{:.1e}|{} of {}"


def write_case(study: Path, case: Path) -> None:
    """Last trained weights of the quick study's CE networks, and the transitions of its probe batch 0."""
    import torch
    import yaml

    from surroscope.data import transitions

    preset = yaml.safe_load((ROOT / "workflow/presets/quick.yaml").read_text())
    results, seed = study / "results/quick/CE", preset["seeds"][0]
    stores, split = sorted((study / "data/store/quick/CE").glob("*.zarr")), results / f"splits/seed{seed}.json"
    (probe,) = transitions.probes(stores, split, [("test", 0)], preset["probe"]["snapshots"])
    case.mkdir(parents=True, exist_ok=True)
    for name, model in preset["systems"]["CE"]["models"].items():
        weights = torch.load(results / f"{name}/seed{seed}/weights/epoch{model['probe_epochs'][-1]}.pt")
        stored = {"factory": model["factory"], "options": model["options"], "weights": weights}
        arrays = {"states": torch.tensor(probe.inputs), "targets": torch.tensor(probe.targets)}
        torch.save(stored | arrays, case / f"{name}.pt")


def work(matrix: Path, job: dict) -> dict[str, np.ndarray] | str:
    """One job of peer_methods.py in a process of its own: the arrays that it wrote, or why there are none.

    This process has no torch, since the kernel counts its memory at the start of another one as that one's peak.
    """
    settings = FIXED | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "workflow"), "PYTHONWARNINGS": "ignore"}
    script, log = ROOT / "benchmarks/peer_methods.py", matrix.with_suffix(".log")
    command = [sys.executable, script, json.dumps(job | {"matrix": str(matrix), "limit": LIMIT})]
    with log.open("w") as stream:
        code = subprocess.run(command, env=os.environ | settings, stdout=stream, stderr=stream).returncode
    if code == 0:
        return dict(np.load(matrix))
    return f"over {LIMIT} s" if code == -24 else (log.read_text().strip().splitlines() or [f"status {code}"])[-1]


def agreement(found: np.ndarray, expected: np.ndarray) -> tuple[float, float, float]:
    off = ~np.eye(len(found), dtype=bool)
    ranks = [matrix[off].argsort().argsort() for matrix in (found, expected)]
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    return error, np.corrcoef(found.ravel(), expected.ravel())[0, 1], np.corrcoef(*ranks)[0, 1]


def measure(case: Path, damping: float, chosen: list[str]) -> list[list[str]]:
    """One row a method."""
    folder = case.parent / f"{case.stem}-{damping:g}"
    folder.mkdir(exist_ok=True)
    solver = {"damping": damping, "tolerance": TOLERANCE, "iterations": ITERATIONS[case.stem, damping]}

    def job(name: str, function: str, module: str = "torch", **options: object) -> dict[str, np.ndarray] | str:
        fields = {"case": str(case), "solver": solver, "function": function, "module": module, "options": options}
        return work(folder / f"{name}.npz", fields)

    dense = folder / "reference.npz"
    if not dense.exists() or dense.stat().st_mtime < case.stat().st_mtime:
        print(f"{folder.name}: dense float64 reference, minutes, once a case", flush=True)
        if isinstance(reason := job("reference", "reference"), str):
            sys.exit(f"error: {folder.name}: no reference: {reason}")
    expected, base = dict(np.load(dense)), job("nothing", "nothing")
    rows, own = [], {}
    for label, kind, function, options in METHODS:
        if not any(word in label for word in chosen):
            continue
        found, claim = job(label, function, MODULES[label.partition(",")[0]], **options), CLAIMS.get(function, "full")
        if isinstance(found, str):
            row = f"{label}|none: {found}" + "|" * 11
        else:
            h, seconds, memory = found["influence"], found["seconds"].item(), found["memory_mb"].item()
            own[function] = seconds
            ratios = [seconds / own.get(name, np.nan) for name in ("ours_subspace", "full")]
            values = [label, kind.format(**solver), claim, seconds, *ratios, memory, memory - base["memory_mb"].item()]
            values += [*agreement(h, expected[claim]), agreement(h, expected["full"])[0]]
            row = CELLS.format(*values, found["covered"], found["parameters"]).replace("nan", "")
        rows.append([folder.name, *row.split("|")])
        print(*rows[-1], sep="  ", flush=True)
    return rows


def write(rows: list[list[str]]) -> None:
    heads = HEADS.split("|")
    with (RESULTS / "peers.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["case", *heads], *rows])
    versions = {found.name: found.version for found in metadata.distributions()}
    parts = ["# Influence matrices by other libraries", __doc__.split("\n\n")[2]]
    parts.append(", ".join(f"{name} {versions.get(name, 'not installed')}" for name in LIBRARIES))
    for case in dict.fromkeys(row[0] for row in rows):
        lines = [heads, ["---"] * 3 + ["--:"] * 10, *[row[1:] for row in rows if row[0] == case]]
        parts += [f"## {case}", "\n".join("| " + " | ".join(line) + " |" for line in lines)]
    (RESULTS / "peers.md").write_text("\n\n".join(parts) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("case", "run"))
    parser.add_argument("--case", type=Path, default=RESULTS / "case", help="its folder")
    parser.add_argument("--study", type=Path, default=ROOT, help="checkout with the quick study's data and weights")
    parser.add_argument("--networks", nargs="*", default=["unet", "vit"])
    parser.add_argument("--dampings", nargs="*", type=float, default=[1e-2])
    parser.add_argument("--methods", nargs="*", default=[""], help="parts of their names")
    arguments = parser.parse_args()
    if arguments.action == "case":
        write_case(arguments.study, arguments.case)
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    rows: list[list[str]] = []
    for damping in arguments.dampings:
        for network in arguments.networks:
            rows += measure(arguments.case / f"{network}.pt", damping, arguments.methods)
            write(rows)


if __name__ == "__main__":
    main()
