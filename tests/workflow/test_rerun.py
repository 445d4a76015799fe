"""What was edited, and what must run again for it: nothing less, nothing more."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import QUICK, Project, fresh

# Jobs of the quick study: CE with a UNet (one probed epoch) and a ViT (two), NS with a ViT (one).
DRAWING = {"figures": 2, "report": 1}
# Others of the kind are among the fast ones.
SLOW = pytest.mark.slow
COMMENT = "\n# a comment changes nothing\n"


def test_nothing_is_left_to_do(quick: Project) -> None:
    assert quick.planned() == {}


def test_a_study_without_snakemakes_memory_is_known_by_what_its_results_say(quick: Project, tmp_path: Path) -> None:
    project = quick.copy(tmp_path / "project")
    project.remove(".snakemake")
    assert project.planned() == {}


@pytest.mark.parametrize(
    ("old", "new", "words", "first"),
    [
        ("seed: 0", "seed: 1", "made with seed 0, asked for is 1", "simulate"),
        (
            "learning_rate: 2.0e-3",
            "learning_rate: 1.0e-3",
            "made with learning_rate 0.002, asked for is 0.001",
            "train",
        ),
        pytest.param("heads: 2", "heads: 4", '"heads": 2, .* asked for is {.*"heads": 4', "train", marks=SLOW),
        pytest.param(
            "study: quick",
            "study: quick\ninfluence: {damping: 1.0e-3}",
            "damping 1e-06, asked for is 0.001",
            "influence",
            marks=SLOW,
        ),
    ],
)
def test_without_it_what_was_made_otherwise_is_made_again(
    quick: Project, tmp_path: Path, old: str, new: str, words: str, first: str
) -> None:
    project = quick.copy(tmp_path / "project")
    project.edit(QUICK, old, new)
    known = project.planned()
    project.remove(".snakemake")
    assert project.planned() == known
    assert known[first]
    assert re.search(words, project.run("--dry-run").stderr)


def test_data_of_another_study_are_refused_where_they_are_shared(quick: Project, tmp_path: Path) -> None:
    project = quick.copy(tmp_path / "project")
    project.remove(".snakemake")
    (project.folder / "data").rename(tmp_path / "data")
    (project.folder / "data").symlink_to(tmp_path / "data")
    assert project.planned() == {}
    project.edit(QUICK, "seed: 0", "seed: 1")
    words = "block0.nc: made with seed 0, asked for is 1. It is outside of this folder"
    done = subprocess.run(project.command("-n"), cwd=project.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert words in done.stderr + done.stdout
    # Nor where only the stores are left.
    shutil.rmtree(tmp_path / "data" / "raw")
    done = subprocess.run(project.command("-n"), cwd=project.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert words in done.stderr + done.stdout


def test_touched_and_commented_sources_change_nothing(quick: Project, tmp_path: Path) -> None:
    project = quick.copy(tmp_path / "project")
    for path in [*project.folder.glob("workflow/**/*.*"), project.folder / "Snakefile", project.folder / "config.yaml"]:
        path.touch()
    for path in project.folder.glob("workflow/surroscope/**/*.py"):
        path.write_text(path.read_text() + COMMENT)
    assert project.planned() == {}


@pytest.mark.parametrize(
    ("path", "old", "new", "expected"),
    [
        pytest.param(
            "workflow/surroscope/models/vit.py",
            "import math\n",
            "import math\n\nEDITED = True\n",
            {"contract": 2, "train": 2, "gradients": 3, "reduce": 3, "influence": 3, "tables": 2}
            | {"coupling": 3, "evaluate": 3}
            | DRAWING,
            id="the ViT",
        ),
        pytest.param(
            "workflow/surroscope/models/unet.py",
            "import math\n",
            "import math\n\nEDITED = True\n",
            {
                "contract": 1,
                "train": 1,
                "gradients": 1,
                "reduce": 1,
                "influence": 1,
                "coupling": 1,
                "evaluate": 1,
                "tables": 1,
                "figures": 1,
                "report": 1,
            },
            id="the UNet",
        ),
        pytest.param(
            "workflow/surroscope/plots/style.py",
            "import matplotlib\n",
            "import matplotlib\n\nEDITED = True\n",
            DRAWING,
            id="the plot style",
        ),
        pytest.param(
            "workflow/surroscope/plots/publication.mplstyle",
            "font.size:",
            "# larger\nfont.size:",
            DRAWING,
            id="the look",
            marks=SLOW,
        ),
        pytest.param(
            "workflow/surroscope/plots/orbits.py",
            "import numpy as np\n",
            "import numpy as np\n\nEDITED = True\n",
            DRAWING,
            id="one kind of figure",
            marks=SLOW,
        ),
        pytest.param(
            "workflow/surroscope/report/network_figures.py",
            '"Snapshots of the data"',
            '"The data"',
            DRAWING,
            id="a figure's title",
            marks=SLOW,
        ),
        pytest.param(QUICK, "study: quick", "study: quick\nfigures: {dpi: 80}", DRAWING, id="a figure option"),
        pytest.param(
            "workflow/surroscope/report/page.html.j2", "</html>", "</html>\n", {"report": 1}, id="the report's page"
        ),
        pytest.param("workflow/surroscope/report/page.css", "#fdfdfc", "#ffffff", {"report": 1}, id="the page's look"),
        pytest.param(
            QUICK,
            "seeds: [10]",
            "seeds: [10, 35]",
            {"split": 2, "train": 3, "gradients": 4, "reduce": 4, "influence": 4, "tables": 2}
            | {"coupling": 4, "evaluate": 4}
            | DRAWING,
            id="a seed added",
        ),
        pytest.param(
            QUICK,
            "training: {epochs: 4, learning_rate: 2.0e-3}",
            "training: {epochs: 4, learning_rate: 1.0e-4, weight_decay: 2.0e-3}",
            {
                "train": 1,
                "gradients": 1,
                "reduce": 1,
                "influence": 1,
                "coupling": 1,
                "evaluate": 1,
                "tables": 1,
                "figures": 1,
                "report": 1,
            },
            id="learning rate and weight decay",
            marks=SLOW,
        ),
        pytest.param(
            "workflow/surroscope/influence/solvers.py",
            "gradient dot products (no metric)",
            "dot products of gradients (no metric)",
            {"influence": 4, "tables": 2} | DRAWING,
            id="the registry of solvers, which no gradient is taken by",
        ),
        pytest.param(
            "workflow/surroscope/runtime/store.py",
            "damaged or edited ",
            "damaged, or edited, ",
            {},
            id="a word in an error message of the store",
        ),
        pytest.param(
            "workflow/surroscope/runtime/progress.py",
            "LOG_INTERVAL = 10.0",
            "LOG_INTERVAL = 60.0",
            {},
            id="how often progress is told",
            marks=SLOW,
        ),
        pytest.param(
            "workflow/surroscope/training/checkpoints.py",
            "is damaged; starting afresh",
            "is damaged, so starting afresh",
            {},
            id="a message of training's checkpoints",
            marks=SLOW,
        ),
        pytest.param(
            "workflow/surroscope/config/messages.py",
            "expected a list of lists",
            "expected lists in a list",
            {},
            id="what a wrong configuration is told",
            marks=SLOW,
        ),
        pytest.param(
            "workflow/surroscope/observables/catalogue.py",
            "BUILTIN = {",
            'BUILTIN = {\n    "both": Builtin("surroscope.observables.pairs:of_two", (("density", "energy"),)),',
            {},
            id="a new observable that nobody asks for",
            marks=SLOW,
        ),
        pytest.param(
            "workflow/surroscope/observables/conservation.py",
            "from torch import Tensor\n",
            "from torch import Tensor\n\nEDITED = True\n",
            {"gradients": 3, "reduce": 3, "influence": 3, "tables": 1, "figures": 1, "report": 1},
            id="an observable, which CE alone asks for",
        ),
        pytest.param(
            "workflow/surroscope/influence/linearize.py",
            "import torch\n",
            "import torch\n\nEDITED = True\n",
            {"contract": 3, "gradients": 4, "reduce": 4, "influence": 4, "coupling": 4, "tables": 2} | DRAWING,
            id="the linearization, whose shards were temporary",
        ),
        pytest.param(
            "workflow/surroscope/influence/span.py",
            "import numpy as np\n",
            "import numpy as np\n\nEDITED = True\n",
            {"influence": 4, "tables": 2} | DRAWING,
            id="the solver, which needs the Gram matrices alone",
            marks=SLOW,
        ),
        pytest.param(
            "workflow/surroscope/influence/coupling.py",
            "import numpy as np\n",
            "import numpy as np\n\nEDITED = True\n",
            {"coupling": 4, "tables": 2} | DRAWING,
            id="the kernel's measures",
            marks=SLOW,
        ),
        pytest.param(
            "workflow/surroscope/diagnostics/verdict.py",
            "import numpy as np\n",
            "import numpy as np\n\nEDITED = True\n",
            {"tables": 2} | DRAWING,
            id="what a verdict says",
        ),
        pytest.param(
            QUICK,
            "study: quick",
            "study: quick\ninfluence: {damping: 1.0e-3}",
            {"influence": 4, "tables": 2} | DRAWING,
            id="the damping",
        ),
        pytest.param(
            QUICK,
            "study: quick",
            "study: quick\ninfluence: {memory_mb: 1000.0}",
            {"report": 1},
            id="the memory budget",
            marks=SLOW,
        ),
        pytest.param(
            QUICK,
            "  seed: 0\n",
            "  seed: 0\n  reader: mapped\n  keep_raw: false\n",
            {"report": 1},
            id="how data are read",
            marks=SLOW,
        ),
        pytest.param(
            QUICK,
            "probe: {batches: 2",
            "probe: {batches: 1",
            {"gradients": 4, "reduce": 4, "influence": 4, "coupling": 4, "evaluate": 4, "tables": 2} | DRAWING,
            id="the number of probe batches, which training does not see",
            marks=SLOW,
        ),
        pytest.param(
            "workflow/surroscope/influence/gram.py",
            "import numpy as np\n",
            "import numpy as np\n\nEDITED = True\n",
            {"gradients": 4, "reduce": 4, "influence": 4, "tables": 2} | DRAWING,
            id="the contraction, which needs the shards anew",
        ),
        pytest.param(
            "workflow/surroscope/physics/navier_stokes.py",
            "import torch\n",
            "import torch\n\nEDITED = True\n",
            {
                "simulate": 6,
                "ingest": 6,
                "split": 2,
                "train": 3,
                "gradients": 4,
                "reduce": 4,
                "influence": 4,
                "coupling": 4,
                "evaluate": 4,
            }
            | {"tables": 2}
            | DRAWING,
            id="a solver of the physics",
        ),
    ],
)
def test_an_edit_reruns_what_it_touches(
    quick: Project, tmp_path: Path, path: str, old: str, new: str, expected: dict[str, int]
) -> None:
    project = quick.copy(tmp_path / "project")
    project.edit(path, old, new)
    assert project.planned() == expected


def test_swapped_learning_rate_and_weight_decay_are_seen(quick: Project, tmp_path: Path) -> None:
    project = quick.copy(tmp_path / "project")
    line = "training: {epochs: 4, learning_rate: %s, weight_decay: %s}"
    project.edit(QUICK, "training: {epochs: 4, learning_rate: 2.0e-3}", line % ("1.0e-4", "2.0e-3"))
    project.run("--until", "train")
    assert project.planned()["train"] == 0
    project.edit(QUICK, line % ("1.0e-4", "2.0e-3"), line % ("2.0e-3", "1.0e-4"))
    assert project.planned()["train"] == 1


@pytest.mark.slow
def test_every_figure_is_a_target_of_its_own(quick: Project, tmp_path: Path) -> None:
    project = quick.copy(tmp_path / "project")
    drawn = project.folder / "results/quick/CE/figures/two_time.pdf"
    before = drawn.read_bytes()
    drawn.unlink()
    project.run(str(drawn.relative_to(project.folder)))
    assert drawn.read_bytes() == before


def test_a_dry_run_says_why(quick: Project, tmp_path: Path) -> None:
    project = quick.copy(tmp_path / "project")
    project.edit("workflow/surroscope/plots/style.py", "import matplotlib\n", "import matplotlib\n\nEDITED = True\n")
    said = project.run("--dry-run").stderr
    assert re.search(r"made again: results/quick/CE/figures/\w+\.pdf: made by code \w{16}, asked for is \w{16}", said)


def test_snakemakes_own_report_holds_the_figures(quick: Project, tmp_path: Path) -> None:
    project = quick.copy(tmp_path / "project")
    project.run("--report", "snakemake.html")
    text = (project.folder / "snakemake.html").read_text()
    assert "two_time_mass" in text
    assert "Influence between times" in text


@pytest.mark.parametrize("preset", ["paper-ce", "paper-ns", "both-systems"])
def test_whole_studies_are_planned(tmp_path: Path, preset: str) -> None:
    project = fresh(tmp_path / "project", f"workflow/presets/{preset}.yaml")
    jobs = project.planned()
    assert jobs["influence"] >= 12
    assert jobs["report"] == 1
    assert sum(jobs.values()) < 1500


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("study: quick", "study: quick\nextra: 1", "extra: unknown key"),
        ("surroscope.models.unet:build", "nowhere.nets:build", "systems.CE.models.unet.factory: module 'nowhere.nets'"),
    ],
)
def test_a_wrong_configuration_stops_before_any_job(tmp_path: Path, old: str, new: str, words: str) -> None:
    project = fresh(tmp_path / "project", QUICK)
    project.edit(QUICK, old, new)
    command = project.command("--cores", "1")
    finished = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, check=False)
    assert finished.returncode != 0
    assert words in finished.stdout + finished.stderr
    assert "Traceback" not in finished.stdout + finished.stderr
    assert not (project.folder / "data").exists()
