"""The report in a browser: it shows what the tables hold, needs nothing else, and can be read and used by everyone."""

import base64
import io
import json
import re
import zipfile
from hashlib import sha256
from math import fsum, isnan
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from surroscope.diagnostics.verdict import rounded
from surroscope.report.page import number
from surroscope.runtime import store

from .conftest import Study
from .screenshots import DESKTOP, PHONE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

PAGES = 15
# A cell of the main numbers: value, interval, published value or range, and n.
TERM = r"(−?[\d.]+(?:×10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)?|−?∞|–)"
CELL = re.compile(rf"{TERM}(?: {TERM} to {TERM})?(?: published: {TERM}(?: to {TERM})?)? n = (\d+)(?: × (\d+))?")
LEGIBLE = 4.5
TALL = 24

ROWS = "table => [...table.rows].map(row => [...row.cells].map(cell => cell.innerText.trim()))"
# What the keyboard can reach, in the order of the page.
STOPS = """() => [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex]")]
    .filter(element => element.tabIndex >= 0 && element.checkVisibility())"""
# Colours of all text that is shown, each with that of the nearest opaque ground behind it.
COLOURS = """() => {
  const found = {};
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue;
    let ground = element;
    while (getComputedStyle(ground).backgroundColor == "rgba(0, 0, 0, 0)") ground = ground.parentElement;
    const pair = [getComputedStyle(element).color, getComputedStyle(ground).backgroundColor];
    found[pair.join()] = [...pair, texts.currentNode.data.trim().slice(0, 40)];
  }
  return Object.values(found);
}"""


def section(page: "Page", system: str) -> Any:
    return page.locator(f'section[aria-labelledby="{system.lower()}"]')


def tables(scope: Any, first: str) -> list[list[list[str]]]:
    """Rows of cells of the tables whose first column has this heading."""
    found = [table.evaluate(ROWS) for table in scope.locator("table:not(.first)").all()]
    return [rows for rows in found if rows[0][0] == first]


def line(text: str) -> str:
    return " ".join(text.split())


def test_everything_is_shown(desktop: "Page", study: Study) -> None:
    assert desktop.title() == desktop.locator("h1").inner_text() == f"Study {study.name}"
    first, *systems, last = desktop.locator("h2").all_inner_texts()
    assert (first, last) == ("Answer", "Record")
    assert all(text.endswith(f"({name})") for text, name in zip(systems, study.systems, strict=True))
    assert all(heading.is_visible() for heading in desktop.locator("h1, h2, h3, h4").all())
    images = desktop.locator("img")
    decoded = "images => Promise.all(images.map(image => (image.loading = 'eager', image.decode())))"
    assert set(images.evaluate_all(decoded)) == {None}
    sources = images.evaluate_all("images => images.map(image => image.src)")
    shown = [base64.b64decode(source.removeprefix("data:image/webp;base64,"), validate=True) for source in sources]
    drawn = [path.read_bytes() for path in study.results.glob("*/figures/*.png")]
    assert sorted(map(pixels, shown)) == sorted(map(pixels, drawn))


def pixels(image: bytes) -> str:
    with Image.open(io.BytesIO(image)) as picture:
        return sha256(np.asarray(picture.convert("RGBA")).tobytes()).hexdigest()


def test_nothing_is_fetched_and_nothing_complained_of(browser: "Browser", study: Study) -> None:
    page = browser.new_page(**DESKTOP)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(study.page.as_uri())
    policy = page.locator("meta[http-equiv]").get_attribute("content")
    script = page.locator("script:not([type])").text_content()
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    page.locator("footer").scroll_into_view_if_needed()
    for link in page.locator('a[href^="#"]:not(.skip):visible').all():
        link.click()
    page.wait_for_load_state("networkidle")
    assert said == []
    assert [url for url in asked if not url.startswith("data:") and url != study.page.as_uri()] == []
    page.close()
    assert study.page.stat().st_size < 4e6


def test_main_numbers_are_those_of_the_tables_and_no_others(desktop: "Page", study: Study) -> None:
    for system in study.systems:
        shown = {}
        for (_, *models), *rows in tables(section(desktop, system), "Number"):
            # A row of one cell heads a group of numbers.
            for (name, *description), *cells in ([row[0].splitlines(), *row[1:]] for row in rows if row[1:]):
                for model, cell in zip(models, cells, strict=True):
                    if cell != "–":
                        match = CELL.fullmatch(line(cell))
                        assert match, f"{name}, {model}: {cell}"
                        shown[model, name] = (line(" ".join(description)), *match.groups())
        scalars = study.table(system, "scalars").to_dict("records")
        assert shown == {(row["model"], row["name"].replace("_", " ")): as_shown(row) for row in scalars}


def as_shown(row: dict[str, Any]) -> tuple[str | None, ...]:
    """Description, value, interval, published range, seeds and probe batches of a row of scalars.csv."""
    low, high, first, last = (row[name] for name in ("low", "high", "published_low", "published_high"))
    return (
        row["description"],
        number(row["value"]),
        *((None, None) if isnan(low) or isnan(high) else (number(low), number(high))),
        None if isnan(first) else number(first),
        None if isnan(first) or first == last else number(last),
        str(row["n_seeds"]),
        None if isnan(row["n_probes"]) else f"{row['n_probes']:.0f}",
    )


def test_first_numbers_are_main_numbers_linked_with_their_figures(browser: "Browser", study: Study) -> None:
    page = browser.new_page(**DESKTOP)
    page.goto(study.page.as_uri())
    for system in study.systems:
        scalars = study.table(system, "scalars").set_index(["name", "model"])
        rows = section(page, system).locator("table.first tbody tr").all()
        assert 4 <= len(rows) <= 8
        for row in rows:
            name = row.get_attribute("id").partition("-number-")[2].replace("-", "_")
            for model, cell in zip(scalars.loc[name].index, row.locator("td").all(), strict=False):
                assert cell.inner_text().split()[0] == number(scalars.loc[(name, model), "value"])
            for link in row.locator("a").all():
                link.click()
                figure = page.locator(link.get_attribute("href"))
                figure.locator("img").wait_for(state="visible")
                figure.locator(f'a[href="#{row.get_attribute("id")}"]').click()
                assert 0 <= row.bounding_box()["y"] < 800
    page.close()


def test_verdicts_are_those_of_the_tables(desktop: "Page", study: Study) -> None:
    shown = [line(text) for text in desktop.locator(".verdict").all_inner_texts()]
    count = 0
    for system in study.systems:
        for model, kept in json.loads((study.results / system / "tables/verdict.json").read_text()).items():
            name = study.labels(system)[model]
            own = [text for text in shown if text.startswith(f"{name} on ") and f"({system})" in text]
            assert len(own) == 1
            told = (kept["answer"], kept["strength"], kept["sentence"], *kept["details"], kept["signature"]["label"])
            assert kept["label"].lower() in own[0].lower()
            assert [text for text in told if line(text) not in own[0]] == []
            for bar in kept["bars"]:
                assert f"{bar['what']} {rounded(bar['value'])} %" in own[0], bar
            count += 1
    assert len(shown) == count


def test_captions_give_the_number_of_seeds_and_probe_batches(desktop: "Page", study: Study) -> None:
    for system in study.systems:
        said = section(desktop, system).locator("figcaption").all_inner_texts()
        found = {match for text in said for match in re.findall(r"n = (\d+) seeds? × (\d+) probe batch", line(text))}
        most = study.table(system, "scalars")[["n_seeds", "n_probes"]].max()
        assert found == {tuple(f"{count:.0f}" for count in most)}


def test_data_cards_are_of_the_stores(desktop: "Page", study: Study) -> None:
    cards = tables(section(desktop, "record"), "Channel")
    assert len(cards) == len(study.data)
    expected = []
    for path in study.data:
        data = store.read(path, contents=False)
        rows = [["Channel", *(name.replace("_", " ") for name in store.STATISTICS)]]
        for place, name in enumerate(data["channel"].values):
            numbers = [number(float(data[statistic][place])) for statistic in store.STATISTICS]
            rows.append([str(name).replace("_", " "), *numbers])
        expected.append(rows)
        heading = f"#{path.parent.name.lower()}-card-{path.stem.lower()}"
        facts = line(desktop.locator(f"{heading} + dl").inner_text())
        sizes = (data.sizes[name] for name in ("trajectory", "time", "y", "x"))
        assert re.search(r"trajectories\W+{}\W+snapshots\W+{}\W+cells\W+{} × {}\b".format(*sizes), facts)
    assert sorted(cards) == sorted(expected)


def test_costs_are_those_of_the_benchmarks(desktop: "Page", study: Study) -> None:
    jobs = study.benchmarks()
    jobs["core_seconds"], jobs["gpu_seconds"] = jobs["s"] * jobs["threads"], jobs["s"] * jobs["gpus"]
    ((_, *rows),) = tables(desktop, "Stage")
    dearest = jobs.groupby("stage")["core_seconds"].sum().sort_values(ascending=False)
    assert [row[0].replace(" ", "_") for row in rows] == list(dearest.index)
    for stage, *shown in rows:
        own = jobs[jobs["stage"] == stage.replace(" ", "_")]
        hours = [number(fsum(own[name]) / 3600) for name in ("core_seconds", "cpu_time", "gpu_seconds")]
        memory = [str(round(own[name].max())) for name in ("max_rss", "asked")]
        assert shown == [str(len(own)), *hours, number(own["s"].max()), *memory], stage
    total = f"{number(jobs['core_seconds'].sum() / 3600)} core-hours and {number(jobs['gpu_seconds'].sum() / 3600)} GPU"
    assert total in line(section(desktop, "record").inner_text())


def test_tables_can_be_downloaded_as_they_lie_on_disk(desktop: "Page", study: Study) -> None:
    for caption in desktop.locator("figcaption code").all():
        assert (study.folder / caption.inner_text()).is_file()
    with desktop.expect_download() as download:
        desktop.locator('a[href^="data:"]').click()
    saved = download.value
    assert saved.suggested_filename == f"{study.name}-tables.zip"
    with zipfile.ZipFile(saved.path()) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    tables = {f"{path.parents[1].name}/{path.name}": path.read_bytes() for path in study.results.glob("*/tables/*.csv")}
    assert found == {name: content for name, content in tables.items() if len(content) <= 2**18}
    assert {f"{system}/scalars.csv" for system in study.systems} <= set(found)


def test_the_keyboard_reaches_everything_in_order_and_is_never_trapped(browser: "Browser", study: Study) -> None:
    page = browser.new_page(**DESKTOP)
    page.goto(study.page.as_uri())
    count = page.evaluate(f"window.stops = ({STOPS})(), window.stops.length")
    reached = []
    for _ in range(count):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("window.stops.indexOf(document.activeElement)"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert reached == list(range(count))
    page.keyboard.press("Tab")
    assert page.evaluate("window.stops.indexOf(document.activeElement)") != count - 1
    page.close()


def test_links_of_the_page_lead_to_their_headings(browser: "Browser", study: Study) -> None:
    page = browser.new_page(**DESKTOP)
    page.goto(study.page.as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    for where in ("header", "nav"):
        page.keyboard.press("Tab")
        assert page.evaluate(f"document.activeElement == document.querySelector('{where} a')")
    for link in page.locator('a[href^="#"]:visible').all():
        page.evaluate("scrollTo(0, 0)")
        link.focus()
        page.keyboard.press("Enter")
        target = page.locator(link.get_attribute("href"))
        assert 0 <= target.bounding_box()["y"] < 800, link.get_attribute("href")
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.tagName") == "MAIN"
    page.close()


@pytest.mark.parametrize("width", [390, 320])
def test_a_phone_shows_it_without_scrolling_sideways(browser: "Browser", study: Study, width: int) -> None:
    page = browser.new_page(**PHONE | {"viewport": {"width": width, "height": 844}})
    page.goto(study.page.as_uri())
    widths = "(({scrollWidth, clientWidth}) => [scrollWidth, clientWidth, innerWidth])(document.documentElement)"
    assert page.evaluate(widths) == [width] * 3
    heights = page.locator("nav a:visible").evaluate_all(
        "links => links.map(link => link.getBoundingClientRect().height)"
    )
    assert min(heights) >= TALL
    unreachable = page.evaluate(
        """() => [...document.querySelectorAll("body *")].filter(
          element => ["auto", "scroll"].includes(getComputedStyle(element).overflowX) && element.tabIndex < 0
        ).map(element => element.outerHTML.slice(0, 80))"""
    )
    assert unreachable == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_from_its_ground(browser: "Browser", study: Study, scheme: Any) -> None:
    page = browser.new_page(**DESKTOP, color_scheme=scheme)
    page.goto(study.page.as_uri())
    pairs = page.evaluate(COLOURS)
    assert len(pairs) >= 3
    for text, ground, sample in pairs:
        assert contrast(text, ground) >= LEGIBLE, f"{sample}: {text} on {ground}"
    body = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert body > 0.8 if scheme == "light" else body < 0.1
    page.close()


def luminance(colour: str) -> float:
    """Relative luminance as WCAG defines it, of an opaque colour rgb(r, g, b)."""
    parts = re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", colour)
    assert parts, colour
    shares = [int(part) / 255 for part in parts.groups()]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return sum(weight * share for weight, share in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(text: str, ground: str) -> float:
    dark, light = sorted((luminance(text), luminance(ground)))
    return (light + 0.05) / (dark + 0.05)
