"""A study that has been run, and its page in a browser.

STUDY=results/name looks at the page of a study that has been run already, in place of a small one.
"""

import ast
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from surroscope.tables.reading import called, labels_of
from tests.workflow.conftest import fresh

from .screenshots import DESKTOP, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


CONFIG = "study.yaml"


@dataclass(frozen=True)
class Study:
    """What a study left on disk. folder: the project's, to which the paths on the page are relative"""

    folder: Path
    name: str

    @property
    def results(self) -> Path:
        return self.folder / "results" / self.name

    @property
    def page(self) -> Path:
        return self.results / "report.html"

    @property
    def record(self) -> dict[str, Any]:
        return json.loads((self.results / "provenance.json").read_text())

    @property
    def systems(self) -> list[str]:
        return list(self.record["config"]["systems"])

    @property
    def data(self) -> list[Path]:
        """The stores of all classes."""
        return [self.folder / path for path in self.record["stores"] if path.startswith("data/store/")]

    def labels(self, system: str) -> dict[str, str]:
        """Network -> what the page calls it."""
        return labels_of(self.record["config"]["systems"][system]["models"])

    def table(self, system: str, name: str) -> pd.DataFrame:
        """With the names of networks that the page has."""
        return called(pd.read_csv(self.results / system / "tables" / f"{name}.csv"), self.labels(system))

    def benchmarks(self) -> pd.DataFrame:
        """A row a job, but for that of the page itself."""
        raw = self.folder / "data/raw"
        files = [*self.results.rglob("*.benchmark.tsv")]
        for path in self.data:
            files.append(path.with_suffix(".benchmark.tsv"))
            files.extend((raw / path.relative_to(self.folder / "data/store").with_suffix("")).rglob("*.benchmark.tsv"))
        rows = pd.concat([pd.read_csv(path, sep="\t") for path in files], ignore_index=True)
        resources = rows["resources"].map(ast.literal_eval)
        return rows.assign(
            stage=rows["rule_name"].where(~rows["rule_name"].str.startswith("figures_"), "figures"),
            gpus=[float(given.get("gpu", 0)) for given in resources],
            asked=[given["mem_mb"] for given in resources],
        ).query("stage != 'report'")


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    if "STUDY" in os.environ:
        results = Path(os.environ["STUDY"]).resolve()
        return Study(results.parents[1], results.name)
    project = fresh(tmp_path_factory.mktemp("explored") / "project", CONFIG)
    shutil.copy2(Path(__file__).with_name("study.yaml"), project.folder / CONFIG)
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.endswith("_NUM_THREADS")]:
            environment.delenv(name)
        project.run()
    return Study(project.folder, "explored")


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def desktop(browser: "Browser", study: Study) -> Iterator["Page"]:
    """The page on a wide screen with all that is folded away opened, for tests that only look."""
    page = browser.new_page(**DESKTOP)
    page.goto(study.page.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    yield page
    page.close()
