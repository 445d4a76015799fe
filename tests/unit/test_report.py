"""The report stands alone, shows everything it is given, and trusts nothing it is given."""

import json
import re
import subprocess
import sys
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html import escape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from docutils.utils import SystemMessage
from figure_tables import OBSERVABLES, PARTS

from surroscope.diagnostics.coupling import TRANSFER
from surroscope.diagnostics.scalars import SCALARS
from surroscope.report import catalogue
from surroscope.report.catalogue import figure, figures_for
from surroscope.report.page import (
    NUMBERS,
    Audit,
    DataCard,
    MainNumber,
    ReportFigure,
    SystemSection,
    Verdict,
    alternative_text,
    caption_html,
    number,
    parted,
    render,
)
from surroscope.report.spec import Question
from surroscope.report.words import WORDS
from surroscope.runtime.cost import StageCost

DESCRIPTION = Path(__file__).parents[2] / "workflow" / "report" / "workflow.rst"
N = "n = 3 seeds × 6 probe batches"
VOID = {"meta", "img", "source", "link", "br", "hr", "input"}


FIGURES = {name: figure(name) for name in figures_for(OBSERVABLES, PARTS)}
NAN = float("nan")


class Page(HTMLParser):
    """Elements in order, and whether every tag is closed by its own end tag."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def caption(name: str) -> str:
    return caption_html(catalogue.caption(name, "CE", N, "in its unit"))


@pytest.fixture
def study() -> Audit:
    figures = tuple(
        ReportFigure(
            name, spec.title, spec.question, caption(name), b"RIFF" + name.encode(), f"tables/{spec.table}.csv", number
        )
        for number, (name, spec) in enumerate(FIGURES.items(), 1)
    )
    scalars = (
        MainNumber("unet", "largest_eigenvalue", 3.2e7, 3.0e7, 3.5e7, 1e8, 1e8, 3, 6, "largest eigenvalue & more"),
        MainNumber("vit", "largest_eigenvalue", 2.5e7, NAN, NAN, NAN, NAN, 3, 6, "largest eigenvalue & more"),
        MainNumber("vit", "horizon", 1.5, 1.0, 2.0, 4.5, 6.25, 3, NAN, "lag at which influence halves"),
    )
    verdicts = (
        Verdict(
            "CE",
            "unet",
            "memorises",
            "Influence is narrow.",
            ["One-step error 1."],
            {"label": "class-locked", "sentence": "Help halves."},
            "influence within the span",
            "What it learns <i>reaches</i> little.",
            bars=(
                {"what": "first and last times", "value": 0.984, "low": 0.95, "high": 1.02},
                {"what": "a and b", "value": 0.5, "low": None, "high": None},
                {"what": "a and c", "value": None, "low": None, "high": None},
            ),
            unsettled=("a and b",),
            next=({"text": "Hold it out", "how": "split: {held_out: {classes: [a]}}"},),
        ),
    )
    explorer = '{"classes": ["</script><script>alert(1)"]}'
    section = SystemSection(
        "CE", "compressible Euler", verdicts, scalars, figures, "results/a/CE/tables", explorer=explorer
    )
    settings = {"data": {"note": "<script>alert('x')</script>", "seeds": [10, 35]}, "cases": [{"a": 1}], "none": None}
    return Audit(
        "A study & more",
        "unet on compressible Euler",
        "Did it learn?",
        (section,),
        "snakemake --cores all",
        methods={"Data": ["Both <b>classes</b>."], "Influence": ["H = g.", "Shown is H."]},
        settings=settings,
        provenance={"torch": "2.13.0"},
        archive=("a-tables.zip", b"PK"),
    )


def test_nothing_is_loaded_from_outside_and_only_our_script_runs(study: Audit) -> None:
    text = render(study)
    page = Page(text)
    for tag, attributes in page.elements:
        assert tag not in {"link", "iframe", "object", "embed"}
        assert not [name for name in attributes if name.startswith("on")]
        assert "src" not in attributes or attributes["src"].startswith("data:image/webp;base64,")
        if tag != "a":
            assert "href" not in attributes
    (style,) = (part for part in page.text if "prefers-color-scheme: dark) {" in part and ":root" in part)
    assert "url(" not in style
    assert "@import" not in style
    assert [script.get("type") for script in page.all("script")] == ["application/json", None]
    script = text[text.rindex("<script>") + len("<script>") : text.rindex("</script>")]
    digest = b64encode(sha256(script.encode()).digest()).decode()
    (policy,) = (meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_a_large_share_of_the_absolute_epsilon_is_a_notice(study: Audit) -> None:
    (section,) = study.systems
    assert 'class="notice"' not in render(study)
    for share, shown in ((0.04, 0), (0.3, 1)):
        found = replace(section.scalars[0], name="epsilon_share", value=share)
        page = render(replace(study, systems=(replace(section, scalars=(*section.scalars, found)),)))
        assert page.count('<p class="notice">unet: 30 % of the scale') == shown


def test_every_figure_has_an_image_a_text_a_number_and_a_table(study: Audit) -> None:
    text = render(study)
    page = Page(text)
    shown = {(image["src"], image["alt"]) for image in page.all("img")}
    assert shown == {
        (f"data:image/webp;base64,{b64encode(one.image).decode()}", alternative_text(one))
        for one in study.systems[0].figures
    }
    assert all(len(image["alt"]) > 40 for image in page.all("img"))
    (link,) = (link for link in page.all("a") if "download" in link)
    assert (link["download"], link["href"]) == ("a-tables.zip", "data:application/zip;base64,UEs=")
    for one in study.systems[0].figures:
        assert f">Figure {one.number}</a> {escape(one.title)}</h4>" in text
        assert one.table in text


def test_the_answer_stands_first_with_its_bars_and_what_to_do(study: Audit) -> None:
    text = render(study)
    assert '<p class="label">What it learns &lt;i&gt;reaches&lt;/i&gt; little.</p>' in text
    plain = " ".join(" ".join(Page(text).text).split())
    assert "first and last times 98 % (95 to 102)" in plain
    assert "a and b 50 %" in plain
    assert "a and c not known" in plain
    assert "Not settled for a and b, whose interval spans a limit between labels." in plain
    assert "Next. Hold it out: in the study's configuration, split: {held_out: {classes: [a]}}" in plain
    assert "width:98.4%" in text
    bare = replace(study.systems[0].verdicts[0], answer="", bars=(), unsettled=(), next=())
    without = render(replace(study, systems=(replace(study.systems[0], verdicts=(bare,), explorer=""),)))
    assert '<p class="label">Memorises</p>' in without
    assert "<strong>Next.</strong>" not in without
    assert "application/json" not in without


def test_what_the_explorer_reads_cannot_end_its_script(study: Audit) -> None:
    text = render(study)
    (found,) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text)
    assert json.loads(found) == json.loads(study.systems[0].explorer)


def test_only_a_system_of_the_papers_is_compared_with_them(study: Audit) -> None:
    (section,) = study.systems
    own = tuple(replace(scalar, published_low=NAN, published_high=NAN) for scalar in section.scalars)
    assert "read off its figures" in render(study)
    assert "read off its figures" not in render(replace(study, systems=(replace(section, scalars=own),)))


def test_a_keyboard_and_a_screen_reader_find_their_way(study: Audit) -> None:
    page = Page(render(study))
    targets = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(targets) == len(set(targets))
    inside = {link["href"][1:] for link in page.all("a") if link["href"].startswith("#")}
    labels = {attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes}
    assert inside | labels <= set(targets)
    assert page.all("a")[0]["href"] == "#content"
    levels = [int(tag[1]) for tag, _ in page.elements if len(tag) == 2 and tag[0] == "h" and tag[1].isdigit()]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_the_verdict_and_its_figure_come_before_the_numbers(study: Audit) -> None:
    text = render(study)
    places = [text.index(part) for part in ("little.</p>", "data:image/webp", "3.2×10⁷", "2.13.0")]
    assert places == sorted(places)


def test_a_number_has_its_interval_and_what_was_published_of_it(study: Audit) -> None:
    cells = [" ".join(cell.split()) for cell in re.findall(r"<td data-model[^>]*>(.*?)</td>", render(study), re.DOTALL)]
    plain = [" ".join(re.sub("<[^>]*>", " ", cell).split()) for cell in cells]
    assert plain == [
        "3.2×10⁷ 3×10⁷ to 3.5×10⁷ published: 1×10⁸ n = 3 × 6",
        "2.5×10⁷ n = 3 × 6",
        "–",
        "1.5 1 to 2 published: 4.5 to 6.25 n = 3",
    ]


def test_numbers_stand_under_headings_and_none_is_lost(study: Audit) -> None:
    text = render(study)
    assert "Further numbers" in text
    names = [name for names in NUMBERS.values() for name in names]
    assert len(names) == len(set(names))
    assert {*SCALARS, *TRANSFER, "train", "validation", "persistence"} <= set(names)


def test_the_methods_are_sentences_under_headings(study: Audit) -> None:
    text = render(study)
    assert '<h3 id="methods-data">Data</h3>' in text
    assert "<p>Both &lt;b&gt;classes&lt;/b&gt;.</p>" in text


def test_every_figure_of_the_catalogue_answers_a_question(study: Audit) -> None:
    answers = study.systems[0].questions
    asked = sorted(figure.name for figures in answers.values() for figure in figures)
    assert ["verdict_plane", *asked] == sorted(FIGURES, key=lambda name: (name != "verdict_plane", name))
    assert list(answers) == [question for question in Question if question != Question.VERDICT]
    assert {figure.name for figure in answers[Question.CONSERVED]} >= {"drift", "two_time_mass", "time_lag_energy"}


def test_planning_a_study_imports_no_matplotlib() -> None:
    sources = Path(catalogue.__file__).parents[2]
    code = "import sys, surroscope.report.catalogue; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=sources, check=True)


def test_what_the_study_says_is_text_not_markup(study: Audit) -> None:
    text = render(study)
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text
    assert "<title>A study &amp; more</title>" in text
    assert render(study) == text


@pytest.mark.parametrize("name", FIGURES)
def test_captions_render(name: str) -> None:
    html = caption(name)
    Page(html)
    assert N in html
    assert "CE" in html
    assert "{" not in html
    assert 2 <= html.count(". ") + html.count(".\n") + html.count(".<") <= 6


@pytest.mark.parametrize("name", FIGURES)
def test_captions_begin_with_what_is_drawn_in_fifty_words(name: str) -> None:
    unit = "in units of the standard deviation of its row"
    text = catalogue.caption(name, "CE", "n = 3 seeds × 4 probe batches", unit)
    first, rest = parted(text)
    assert f"{first} {rest}".strip() == " ".join(text.split())
    assert len(first.split()) <= 50
    assert first.endswith(".")


@pytest.mark.parametrize("system", ["CE_", "a_b__", "x_-y_."])
def test_captions_take_every_name(system: str) -> None:
    for name in (*FIGURES, "two_time_of_mine_"):
        html = caption_html(catalogue.caption(name, system, N, "in its unit"))
        assert system in html
        assert ("of_mine_" in html) == name.endswith("of_mine_")
        assert "href" not in html


def test_the_description_of_the_workflow_renders() -> None:
    Page(caption_html(DESCRIPTION.read_text()))


@pytest.mark.parametrize(
    "text", [".. raw:: html\n\n   <script></script>\n", ".. include:: /etc/hostname\n", "*open emphasis\n"]
)
def test_captions_may_not_reach_out_or_be_faulty(text: str) -> None:
    with pytest.raises(SystemMessage):
        caption_html(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01234, "0.0123"), (-4.56, "−4.56"), (1.2e7, "1.2×10⁷"), (3e-6, "3×10⁻⁶"), (float("nan"), "–"), (0, "0")],
)
def test_numbers_are_written_for_readers(value: float, text: str) -> None:
    assert number(value) == text


def test_a_data_card_shows_source_and_statistics(study: Audit) -> None:
    card = DataCard("dam", {"licence": "CC0", "trajectories": 12}, {"depth": {"mean": 1.25, "missing": 0.0}})
    page = render(replace(study, systems=(replace(study.systems[0], cards=(card,)),)))
    text = " ".join(Page(page).text)
    assert "licence CC0 trajectories 12" in " ".join(text.split())
    assert "1.25" in text
    assert "Data cards" not in " ".join(Page(render(study)).text)


def test_the_cost_is_shown_and_what_is_not_recorded_is_said(study: Audit) -> None:
    costs = (
        StageCost("train", 6, 0.155, 0.1, 1.5, 160.9, 594.6, 2035.0),
        StageCost("cross_gradients", 12, 0.0286, None, None, 40.2, None, None),
    )
    text = " ".join(" ".join(Page(render(replace(study, costs=costs))).text).split())
    assert "0.184 core-hours and 1.5 GPU-hours" in text
    assert "train 6 0.155 0.1 1.5 161 595 2035" in text
    assert "cross gradients 12 0.0286 not recorded not recorded 40.2 not recorded not recorded" in text
    assert "What it cost" not in render(study)


def test_words_mean_what_the_glossary_says() -> None:
    glossary = (Path(__file__).parents[2] / "docs/glossary.md").read_text()
    rows = dict(re.findall(r"^\| ([^|]+?) \| (.+) \|$", glossary, flags=re.MULTILINE))
    plain = {word: re.sub(r" ?\(\[[^]]+\]\([^)]+\)\)", "", text) for word, text in rows.items()}
    assert {word: plain[word] for word in WORDS} == WORDS
