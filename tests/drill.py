"""Break things on purpose: kill what runs, damage what is kept, and count what went unnoticed (docs/reliability.md).

In a folder of its own, on a study that has every stage, with data of its own and from a hub by turns. Prints the table
of docs/reliability.md; exits with 1 where a table differed, a run hung, something half-written was left, or a fault was
silent.
"""

import contextlib
import io
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from unittest import mock

import psutil

from surroscope.errors import UserError
from surroscope.runtime import cli, progress, provenance, store
from surroscope.tools import verify
from tests.hub_server import Hub
from tests.workflow import data_sets

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "tests" / "drill.yaml"
SOURCES = ("simulation", "pdegym")
HUNG = 600.0  # seconds without an end of a run that takes one or two minutes
SIGNALS = {"SIGKILL": 6, "SIGTERM": 2, "SIGKILL of its shell": 1, "SIGKILL of everything": 1}
HEAD = "SIGKILL of everything"
LEAST = 5  # of every stage, where so many are asked for that each could have had more
FAULTS: dict[str, Callable[[bytes, random.Random], bytes | None]] = {
    "flip": lambda data, draw: flipped(data, draw),
    "cut": lambda data, draw: data[: draw.randrange(len(data))],
    "zero": lambda data, draw: bytes(len(data)),
    "remove": lambda data, draw: None,
}


@dataclass
class Kills:
    """What was killed and what came of it: seconds from a kill to the end of the same job when it was run again."""

    hits: Counter[tuple[str, str]] = field(default_factory=Counter)
    recovered: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    problems: list[str] = field(default_factory=list)

    def by_stage(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for (stage, _), count in self.hits.items():
            found[stage] += count
        return found

    def table(self) -> str:
        rows = [
            f"| victim | {' | '.join(SIGNALS)} | done again after, median s |",
            f"|---|{'--:|' * (len(SIGNALS) + 1)}",
        ]
        for stage in sorted({name for name, _ in self.hits}):
            counts = " | ".join(str(self.hits[stage, name]) for name in SIGNALS)
            rows.append(f"| {stage} | {counts} | {median(self.recovered[stage] or [float('nan')]):.0f} |")
        return "\n".join(rows)


def snakemake(folder: Path, source: str = SOURCES[0]) -> subprocess.Popen[bytes]:
    """The study, in a session of its own."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
    command += ["--configfile", str(STUDY), "--config", f"data={{source: {source}}}", "--directory", str(folder)]
    command += ["--quiet", "progress", "rules"]
    with (folder / "drill.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def stages(head: psutil.Process) -> Iterator[tuple[str, str, psutil.Process]]:
    """The stages that run now: name, command line, process."""
    for process in head.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            for word in words[:4]:
                if word.startswith("surroscope.stages."):
                    yield word.rpartition(".")[2], " ".join(words), process


def kill(process: psutil.Process, head: psutil.Process, name: str) -> None:
    """Raises psutil.Error if it has ended by itself."""
    if name == "SIGTERM":
        process.terminate()
    elif name == "SIGKILL of its shell":
        shell = process.parent()
        if shell is None or shell == head:
            raise psutil.NoSuchProcess(process.pid)
        shell.kill()
    elif name == HEAD:
        head.kill()
        process.kill()
    else:
        process.kill()


def round_of_kills(folder: Path, source: str, kills: Kills, wanted: int, draw: random.Random) -> None:
    """One study from nothing to its end, each of its stages killed once on the way, those first that were hit least."""
    hit: set[str] = set()
    # By command line: what was killed and when; what was seen in this run, and how long it is let alone.
    pending: dict[str, tuple[str, float]] = {}
    while True:
        run = snakemake(folder, source)
        began, head = time.monotonic(), psutil.Process(run.pid)
        seen: dict[str, tuple[float, float]] = {}
        again = set(pending)
        while run.poll() is None:
            time.sleep(0.02)
            now = time.monotonic()
            if now - began > HUNG:
                kills.problems.append(f"a run did not end within {HUNG:g} s")
                head.kill()
            with contextlib.suppress(psutil.Error):
                running = list(stages(head))
                for line in (again & seen.keys()) - {line for _, line, _ in running}:
                    again.remove(line)
                    stage, since = pending.pop(line)
                    kills.recovered[stage].append(now - since)
                for stage, line, process in running:
                    # Somewhere between its first import and its last write.
                    first, delay = seen.setdefault(line, (now, draw.uniform(0, 4)))
                    if now < first + delay or stage in hit or kills.by_stage()[stage] >= wanted:
                        continue
                    name = draw.choices(list(SIGNALS), weights=list(SIGNALS.values()))[0]
                    kill(process, head, name)
                    hit.add(stage)
                    kills.hits[stage, name] += 1
                    pending[line] = (stage, now)
                    break
        if run.returncode == 0:
            return
        done = subprocess.run(
            [sys.executable, "-m", "surroscope.tools.recover"], cwd=folder, capture_output=True, text=True
        )
        if done.returncode:
            kills.problems.append(f"recover: {done.stderr.strip()}")


def tables(folder: Path) -> dict[str, bytes]:
    """What must be equal to the last bit."""
    found = [*folder.glob("results/*/*/tables/*.csv"), *folder.glob("results/*/*/tables/verdict.json")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def clear(folder: Path) -> None:
    for name in ("results", "data"):
        shutil.rmtree(folder / name, ignore_errors=True)


def kill_campaign(
    folder: Path, expected: dict[str, dict[str, bytes]], wanted: int, until: float, draw: random.Random
) -> Kills:
    """As many as wanted, and more where a stage was hit fewer than LEAST times; expected: tables by source of data."""
    least = min(LEAST, wanted // 30)
    kills, count = Kills(), len(list(ROOT.glob("workflow/surroscope/stages/*.py")))
    sources = itertools.cycle(expected)
    with progress.bar("kills", wanted, "kill") as bar:
        while time.monotonic() < until:
            if kills.hits and sum(kills.hits.values()) >= wanted and min(kills.by_stage().values()) >= least:
                break
            source = next(sources)
            clear(folder)
            round_of_kills(folder, source, kills, -(-2 * wanted // count), draw)
            found, due = tables(folder), expected[source]
            kills.problems += [
                f"{source}: {name} differs" for name in found.keys() | due.keys() if found.get(name) != due.get(name)
            ]
            left = [path for pattern in (".*.partial-*", ".*.writer*") for path in folder.glob(f"[dr]*/**/{pattern}")]
            kills.problems += [f"{path}: left behind" for path in left]
            bar.update(sum(kills.hits.values()) - bar.n)
    return kills


def flipped(data: bytes, draw: random.Random) -> bytes:
    """One bit of it."""
    place, changed = draw.randrange(len(data)), bytearray(data)
    changed[place] ^= 1 << draw.randrange(8)
    return bytes(changed)


def kind(path: Path) -> str:
    """What a file is, in the words of the table."""
    parts = path.parts
    if path.name == store.MANIFEST or path.name.endswith(".made.json"):
        return "record of a store" if path.name == store.MANIFEST else "record of a file"
    for inner in path.parents:
        if (inner / store.MANIFEST).is_file():
            return "weights" if inner.name == "weights" else "store of data" if "data" in parts else "store of results"
    return {".nc": "raw data", ".csv": "table", ".json": "JSON", ".html": "report"}.get(path.suffix, "figure")


def noticed(path: Path, study: str) -> bool:
    """Whether what reads a file, or `make verify` where nothing reads it any more, ends in an error that is ours."""
    owner = next((inner for inner in path.parents if inner.suffix == ".zarr" or inner.name == "weights"), None)
    try:
        if owner is not None:
            store.read(owner, contents="data" not in path.parts).load() if owner.suffix == ".zarr" else store.verify(
                owner
            )
        elif path.suffix in (".nc", ".csv", ".json"):
            file = path if not path.name.endswith(".made.json") else path.with_name(path.name[1 : -len(".made.json")])
            if not file.is_file():
                return True  # Snakemake plans it again
            provenance.inputs([file])
        return bool(verify.verify([verify.recorded(study)]).problems)
    except (UserError, ValueError):
        return True


def fault_campaign(study: str, wanted: int, until: float, draw: random.Random) -> Counter[tuple[str, str, bool]]:
    """(kind, fault, noticed) -> how often; in the working directory, which is as before when it is done."""
    by_kind = defaultdict(list)
    for path in [*Path("results").rglob("*"), *Path("data").rglob("*")]:
        ours = not path.name.endswith((".log", ".tsv", ".snakemake_timestamp")) and "resume" not in path.parts
        if path.is_file() and not path.is_symlink() and ours and path.stat().st_size:
            by_kind[kind(path)].append(path)
    found: Counter[tuple[str, str, bool]] = Counter()
    # The bars of what is asked are not ours.
    with progress.bar("faults", wanted, "fault") as bar, contextlib.redirect_stderr(io.StringIO()):
        while sum(found.values()) < wanted and time.monotonic() < until:
            name, fault = draw.choice(sorted(by_kind)), draw.choice(sorted(FAULTS))
            path = draw.choice(by_kind[name])
            data = path.read_bytes()
            changed = FAULTS[fault](data, draw)
            if changed == data:
                continue
            path.unlink() if changed is None else path.write_bytes(changed)
            seen = noticed(path, study)
            path.write_bytes(data)
            found[name, fault, seen] += 1
            if not seen:
                print(f"silent: {fault} of {path}", flush=True)
            bar.update(1)
    return found


def faults_table(found: Counter[tuple[str, str, bool]]) -> str:
    rows = [f"| file | {' | '.join(FAULTS)} | silent |", f"|---|{'--:|' * (len(FAULTS) + 1)}"]
    for name in sorted({key[0] for key in found}):
        counts = [found[name, fault, True] + found[name, fault, False] for fault in FAULTS]
        silent = sum(found[name, fault, False] for fault in FAULTS)
        rows.append(f"| {name} | {' | '.join(map(str, counts))} | {silent} |")
    return "\n".join(rows)


def undisturbed(folder: Path, source: str) -> dict[str, bytes]:
    """Its tables. Raises UserError with the end of the log if the study fails."""
    clear(folder)
    if snakemake(folder, source).wait():
        raise UserError(f"{source}: failed before anything was broken:\n{(folder / 'drill.log').read_text()[-3000:]}")
    return tables(folder)


@contextlib.contextmanager
def hub(folder: Path) -> Iterator[None]:
    """A hub on this machine that has the classes of the study, and what is started meanwhile is its client."""
    with Hub() as served:
        for ic in ("NS-BB", "NS-Sines"):
            path = data_sets.pdegym(folder, ic)
            served.publish(f"camlab-ethz/{ic}", {path.name: path, "README.md": b"# PDEGym"})
        with mock.patch.dict(os.environ, served.environment(folder / "home")):
            yield


def main(*, kills: int = 150, faults: int = 2000, minutes: float = 120.0, seed: int = 0) -> None:
    """Raises UserError with a line for each thing that went wrong."""
    draw, until = random.Random(seed), time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory(prefix="drill-") as name, hub(Path(name) / "published"):
        folder = Path(name) / "project"
        folder.mkdir()
        expected = {source: undisturbed(folder, source) for source in reversed(SOURCES)}
        with contextlib.chdir(folder):
            damaged = fault_campaign(STUDY.stem, faults, until, draw)
        print(faults_table(damaged))
        killed = kill_campaign(folder, expected, kills, until, draw)
        print(killed.table())
    silent = sum(count for (_, _, seen), count in damaged.items() if not seen)
    print(f"{sum(killed.hits.values())} kills: {len(killed.problems)} problems")
    print(f"{sum(damaged.values())} faults: {silent} silent")
    if silent or killed.problems:
        raise UserError("\nerror: ".join([*killed.problems, *([f"{silent} faults were silent"] if silent else [])]))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    cli.tool(main, kills="how many, at most [150]", faults="how many, at most [2000]", minutes="that it may take [120]")
