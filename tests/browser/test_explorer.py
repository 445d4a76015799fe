"""The explorer by mouse, touch and keyboard shows what was measured; the page without script, in print, and to axe."""

import json
import re
from base64 import b64decode
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from surroscope.stages.report import explored

from .conftest import Study
from .screenshots import DESKTOP, PHONE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.browser

PAGES = 15
SCREENS = 10
# Of a drawing: whether it has changed is all that a test can say without an eye.
DRAWN = "canvas => canvas.toDataURL()"


class Shown:
    """The explorer of the study's first system, and what it was given to show."""

    def __init__(self, page: "Page", study: Study) -> None:
        self.page = page
        self.system = study.systems[0]
        path = study.results / self.system / "tables/explorer.json"
        self.data = json.loads(explored(path, study.labels(self.system)))
        self.root = page.locator(".explorer").first
        self.rollouts = page.locator(".rollouts").first
        self.matrices = self.root.locator("canvas.matrix").all()
        self.size = len(self.data["classes"]) * self.data["times"]

    def of(self, model: str, epoch: str, measure: str) -> np.ndarray:
        """Values of all units, (n, response, perturbation)."""
        about, kept = self.data["measures"][measure], self.data["models"][model][epoch][measure]
        codes = np.frombuffer(b64decode(kept["data"]), "<u2").astype(float)
        values = np.where(codes == 65535, np.nan, about["low"] + codes / 65534 * (about["high"] - about["low"]))
        return values.reshape(-1, self.size, self.size)

    def transition(self, index: int) -> str:
        ic, time = divmod(index, self.data["times"])
        return f"{self.data['classes'][ic]}, t = {time + self.data['first']}"

    def place(self, column: int, up: int) -> dict[str, float]:
        """Where a cell of the first matrix is in it, in pixels."""
        box = self.matrices[0].bounding_box()
        cell = box["width"] / self.size
        return {"x": (column + 0.5) * cell, "y": (self.size - 0.5 - up) * cell}

    def pair(self) -> tuple[str, str]:
        """Of the line that is read out: transitions of step and response."""
        told = self.root.locator("[role=status]").inner_text()
        match = re.fullmatch(r"A step on (.+) → the response at (.+?): .+", told)
        assert match, told
        return match[1], match[2]

    def row(self, number: int) -> list[str]:
        """Cells of the table, for the first or the second matrix: network, measure, here, median, range, positive."""
        return [cell.inner_text() for cell in self.root.locator("tbody tr").nth(number).locator("th, td").all()]

    def select(self, side: int, label: str) -> "Locator":
        return self.root.locator("figure").nth(side).get_by_label(label)


@pytest.fixture
def shown(browser: "Browser", study: Study) -> Iterator[Shown]:
    page = browser.new_page(**DESKTOP)
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(study.page.as_uri())
    yield Shown(page, study)
    page.close()
    assert faults == []


def matches(cell: str, value: float) -> bool:
    return float(cell.replace("−", "-")) == pytest.approx(value, rel=6e-3, abs=1e-4)


def test_the_mouse_points_at_pairs_and_their_numbers_are_those_that_were_measured(shown: Shown) -> None:
    last = {model: list(of)[-1] for model, of in shown.data["models"].items()}
    for column, up in ((0, 0), (shown.size - 1, 1), (2, shown.size - 1)):
        shown.matrices[0].hover(position=shown.place(column, up))
        assert shown.pair() == (shown.transition(column), shown.transition(up))
        for number, model in enumerate(last):
            name, title, here, middle, spread, positive = shown.row(number)
            (measure,) = (key for key, about in shown.data["measures"].items() if about["title"] == title)
            values = shown.of(model, last[model], measure)[:, up, column]
            assert name == model
            assert matches(here, np.median(values))
            assert matches(middle, np.median(values))
            low, _, high = spread.partition(" to ")
            assert matches(low, values.min())
            assert matches(high, values.max())
            assert positive == f"{(values > 0).sum()} of {len(values)}"


def test_the_arrow_keys_do_the_same_and_stay_inside(shown: Shown) -> None:
    shown.matrices[0].focus()
    press = shown.page.keyboard.press
    press("Home")
    start = shown.pair()
    assert start[0] == shown.transition(0)
    for key, part in (("ArrowRight", 0), ("ArrowUp", 1)):
        before = shown.pair()
        press(key)
        assert shown.pair()[1 - part] == before[1 - part]
        assert shown.pair()[part] != before[part]
    for _ in range(2 * shown.size):
        press("ArrowDown")
    assert shown.pair()[1] == shown.transition(0)
    press("PageUp")
    assert shown.pair()[1] == shown.transition(shown.data["times"])
    press("PageDown")
    press("End")
    press("ArrowRight")
    assert shown.pair() == (shown.transition(shown.size - 1), shown.transition(0))


def test_a_finger_taps_pairs_and_a_slow_drag_still_scrolls(browser: "Browser", study: Study) -> None:
    page = browser.new_page(**PHONE)
    page.goto(study.page.as_uri())
    shown = Shown(page, study)
    shown.matrices[0].scroll_into_view_if_needed()
    shown.matrices[0].tap(position=shown.place(1, shown.size - 1))
    assert shown.pair() == (shown.transition(1), shown.transition(shown.size - 1))
    assert shown.matrices[0].evaluate("canvas => getComputedStyle(canvas).touchAction") == "manipulation"
    box = shown.matrices[0].bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= PHONE["viewport"]["width"]
    page.close()


def test_networks_measures_epochs_and_units_can_be_chosen(shown: Shown) -> None:
    shown.matrices[0].hover(position=shown.place(1, 2))
    first, *_ = models = list(shown.data["models"])
    for side, model in ((0, models[-1]), (1, first)):
        shown.select(side, "network").select_option(model)
        assert shown.row(side)[0] == model
    for measure, about in shown.data["measures"].items():
        before = shown.matrices[1].evaluate(DRAWN)
        shown.select(1, "measure").select_option(measure)
        last = list(shown.data["models"][first])[-1]
        assert shown.row(1)[1] == about["title"]
        assert matches(shown.row(1)[3], np.median(shown.of(first, last, measure)[:, 2, 1]))
        assert (shown.matrices[1].evaluate(DRAWN) != before) == (measure != "influence")
    epochs = list(shown.data["models"][models[-1]])
    slider = shown.select(0, "epoch")
    if len(epochs) > 1:
        slider.fill("0")
    values = shown.of(models[-1], epochs[0], "influence")
    assert matches(shown.row(0)[3], np.median(values[:, 2, 1]))
    units = shown.data["models"][models[-1]][epochs[0]]["influence"]["units"]
    unit = shown.root.get_by_label("Seed and batch")
    assert unit.get_attribute("max") == str(len(units))
    for number, (seed, batch) in enumerate(units, 1):
        unit.fill(str(number))
        assert f"seed {seed}, probe batch {batch}" in shown.root.inner_text()
        assert matches(shown.row(0)[2], values[number - 1, 2, 1])
    # The other matrix has fewer batches: the same one where it has it, else its median, which it says.
    shown.select(1, "measure").select_option("explained")
    own = shown.data["models"][first][last]["explained"]["units"]
    assert 0 < len(own) < len(units)
    of_kernel = shown.of(first, last, "explained")[:, 2, 1]
    for number, chosen in enumerate(units, 1):
        unit.fill(str(number))
        expected = of_kernel[own.index(chosen)] if chosen in own else np.median(of_kernel)
        assert matches(shown.row(1)[2], expected)
        caption = shown.root.locator("figure").nth(1).inner_text()
        assert ("has no such batch: median of" in caption) == (chosen not in own)
    unit.fill("0")
    assert f"median of {len(units)}" in shown.root.locator("figure").nth(0).inner_text()


def test_two_epochs_of_one_network_stand_side_by_side(shown: Shown) -> None:
    several = {model: list(of) for model, of in shown.data["models"].items() if len(of) > 1}
    if not several:
        pytest.skip("every network of this study was probed at one epoch")
    model, epochs = next(iter(several.items()))
    shown.matrices[0].hover(position=shown.place(1, 2))
    for side in (0, 1):
        shown.select(side, "network").select_option(model)
        shown.select(side, "measure").select_option("influence")
    shown.select(0, "epoch").fill("0")
    for side, epoch in ((0, epochs[0]), (1, epochs[-1])):
        assert matches(shown.row(side)[3], np.median(shown.of(model, epoch, "influence")[:, 2, 1]))
        assert epoch in shown.root.locator("figure").nth(side).locator("output").inner_text()


def test_states_response_maps_and_the_row_follow_the_pair(shown: Shown) -> None:
    shown.matrices[0].hover(position=shown.place(0, 0))
    drawings = shown.root.locator('.panel canvas[role="img"]').all()
    assert len(drawings) == 4
    before = [canvas.evaluate(DRAWN) for canvas in drawings]
    labels = [canvas.get_attribute("aria-label") for canvas in drawings]
    shown.matrices[0].hover(position=shown.place(shown.size - 1, shown.size - 1))
    assert all(canvas.evaluate(DRAWN) != drawn for canvas, drawn in zip(drawings, before, strict=True))
    assert all(canvas.get_attribute("aria-label") != label for canvas, label in zip(drawings, labels, strict=True))
    for model, found in shown.data["responses"].items():
        step, response = (shown.transition(found["transitions"][-1]),) * 2
        told = shown.root.locator("figcaption", has_text=f"{model}: how a step on {step} at {response} moves")
        assert f"(±{number(found['limits'][-1][-1])}, seed {found['of']['seed']}" in told.inner_text()
    name, time = shown.transition(shown.size - 1).split(", t = ")
    for text in shown.root.locator(".row").inner_text().split("; "):
        model, epoch, measure, *ends, value = text.split(", ")
        assert ends == [name, time, name, time]
        assert matches(value, np.median(shown.of(model, epoch, measure)[:, -1, -1]))


def number(value: float) -> str:
    """As the script writes a number with three significant digits, where it needs no power of ten."""
    digits = max(0, 2 - int(np.floor(np.log10(abs(value))))) if value else 2
    return f"{value:.{digits}f}"


def test_the_frame_of_a_rollout_can_be_moved(shown: Shown) -> None:
    frames = shown.data["fields"]["shape"][1]
    slider = shown.rollouts.get_by_role("slider", name="snapshot")
    assert slider.get_attribute("max") == str(frames - 1)
    pictures = shown.rollouts.locator(".plates canvas").all()
    assert len(pictures) == 1 + 2 * len(shown.data["models"])
    slider.fill("0")
    start = [canvas.evaluate(DRAWN) for canvas in pictures]
    # A rollout starts from the truth.
    assert start[0] == start[1]
    slider.press("End")
    assert all(canvas.evaluate(DRAWN) != drawn for canvas, drawn in zip(pictures, start, strict=True))
    assert f"{frames - 1} of {frames - 1}" in shown.rollouts.inner_text()
    model = next(iter(shown.data["rollouts"]))
    for ic, name in enumerate(shown.data["classes"]):
        shown.rollouts.get_by_label("Class").select_option(str(ic))
        label = shown.rollouts.locator("svg").get_attribute("aria-label")
        assert label.startswith(f"Error of each step on {name}: {model} ")
        value = re.search(rf"{model} ([^,]+)", label)[1]
        assert matches(value, shown.data["rollouts"][model]["error"][ic][-1])


def test_the_section_that_is_read_is_marked(shown: Shown) -> None:
    current = shown.page.locator("#contents a[aria-current]")
    assert current.inner_text() == "Answer"
    shown.page.evaluate("document.getElementById('record').scrollIntoView()")
    shown.page.wait_for_function("document.querySelector('#contents a[aria-current]').hash == '#record'")
    assert current.count() == 1


def test_without_a_script_all_figures_stand_and_nothing_is_promised(browser: "Browser", study: Study) -> None:
    context = browser.new_context(java_script_enabled=False, **DESKTOP)
    page = context.new_page()
    page.goto(study.page.as_uri())
    assert not page.locator(".explorer, .rollouts").first.is_visible()
    assert page.locator("noscript p").first.bounding_box()
    summary = page.locator("details.question > summary").first
    summary.click()
    assert page.locator("details.question img").first.is_visible()
    context.close()


def test_what_is_not_folded_is_ten_screens_and_the_print_fifteen_pages(browser: "Browser", study: Study) -> None:
    page = browser.new_page(**DESKTOP)
    page.goto(study.page.as_uri())
    height = page.evaluate("document.documentElement.scrollHeight")
    assert height <= SCREENS * DESKTOP["viewport"]["height"] * max(1, len(study.systems))
    printed = page.pdf(format="A4")
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= PAGES
    # Of every question a figure, in print too.
    page.emulate_media(media="print")
    questions = page.locator("details.question")
    assert questions.count() >= 3
    for number in range(questions.count()):
        own = questions.nth(number).locator("figure img")
        assert own.first.is_visible()
        assert own.first.evaluate("image => image.complete && image.naturalWidth > 0")
    assert not page.locator(".explorer, .rollouts").first.is_visible()
    page.close()


@pytest.mark.parametrize("view", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: "Browser", study: Study, scheme: Any, view: Any) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = browser.new_page(**view, color_scheme=scheme)
    page.goto(study.page.as_uri())
    for unfolded in (False, True):
        page.evaluate(f"document.querySelectorAll('details').forEach(each => each.open = {str(unfolded).lower()})")
        found = Axe().run(page).response["violations"]
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        assert [(each["id"], [node["html"][:120] for node in each["nodes"]]) for each in serious] == []
    page.close()
