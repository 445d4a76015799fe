"""The study as one HTML page that stands alone: verdicts, numbers, figures, settings and provenance."""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from html import unescape
from io import BytesIO
from math import isfinite, isnan
from pathlib import Path
from typing import Any

from docutils.core import publish_parts
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from surroscope.diagnostics.verdict import LIMITS, rounded
from surroscope.report.spec import Question
from surroscope.report.words import WORDS, settled
from surroscope.runtime.cost import StageCost
from surroscope.tables.scalars import notice

# Headings of the main numbers; a number that is under none of them comes last.
NUMBERS = {
    "Error": (
        "validation",
        "persistence",
        "train",
        "one_step_error_seen_times",
        "one_step_error_unseen_times",
        "trust_horizon",
        "conservation_drift",
        "equivariance_error",
    ),
    "What it shares (kernel)": (
        *(
            f"{name}{end}"
            for name in ("kernel_transfer_class", "kernel_transfer_class_least", "kernel_transfer_time")
            for end in ("", "_untrained", "_error")
        ),
        *(f"{name}_{of}" for name in ("matched_white", "matched_residual", "alignment") for of in ("class", "lag_8")),
        "agreement_seeds_kernel",
        "agreement_batches_kernel",
    ),
    "In time": (
        "two_time_diagonal",
        *(f"{relation}_class_lag_{steps}" for relation in ("intra", "inter") for steps in (0, 1, 2, 8)),
        "half_life",
        "off_diagonal_ratio",
        "diagonal_mean",
        "off_diagonal_mean",
    ),
    "Between classes, and with distance": (
        "class_diagonal",
        "class_off_diagonal",
        "class_transfer_ratio",
        "influence_nearest",
        "influence_near",
        "dynamic_correlation_length",
    ),
    "Metric": ("largest_metric_eigenvalue", "condition", "participation_ratio", "rank"),
}


# The numbers that stand before all others, in words, each with the figure that shows it.
FIRST = {
    "validation": ("One-step error, validation", "training"),
    "persistence": ("One-step error of no change", "training"),
    "kernel_transfer_time": ("Kernel transfer, first and last times", "verdict_plane"),
    "kernel_transfer_class_least": ("Kernel transfer, classes that share least", "coupling_classes"),
    "half_life": ("Half-life of signed influence, steps", "time_lag"),
    "class_transfer_ratio": ("Signed influence, other class over own", "class_transfer"),
    "trust_horizon": ("Steps until a rollout is worse than no change", "rollout"),
    "conservation_drift": ("Drift of the conserved total that drifts most", "drift"),
}


@dataclass(frozen=True)
class ReportFigure:
    """A figure: name, title and question in the catalogue, caption, image (lossless WebP), and the path of its table.

    reading_html: the rest of the caption, for those who unfold it
    number: in the order of the page; finding: what it shows in this study, in a sentence
    """

    name: str
    title: str
    question: Question
    caption_html: str
    image: bytes
    table: str
    number: int = 0
    finding: str = ""
    reading_html: str = ""


@dataclass(frozen=True)
class Verdict:
    """What the audit concludes about one model of one system.

    details: what it rests on; signature: label and sentence of the published signature, by the kind of influence
    answer, strength, bars, unsettled, moved, next: the same in plain words, see `diagnostics.answer`
    """

    system: str
    model: str
    label: str
    sentence: str
    details: Sequence[str]
    signature: Mapping[str, str]
    influence: str
    answer: str = ""
    strength: str = ""
    bars: Sequence[Mapping[str, Any]] = ()
    unsettled: Sequence[str] = ()
    moved: Sequence[str] = ()
    next: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True)
class MainNumber:
    """One row of scalars.csv: a number with its interval, and what was published of it (NaN where there is none)."""

    model: str
    name: str
    value: float
    low: float
    high: float
    published_low: float
    published_high: float
    n_seeds: int
    n_probes: float
    description: str


@dataclass(frozen=True)
class DataCard:
    """Where the data of one class are from, how much there is, and its statistics: channel -> name -> value."""

    name: str
    facts: Mapping[str, Any]
    channels: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class SystemSection:
    """What there is to say about one physical system.

    folder: of all its tables; explorer: what the explorer reads, as JSON; shipped: how its numbers stand beside those
    that ship with Surroscope; both "" where there is none
    """

    name: str
    title: str
    verdicts: tuple[Verdict, ...]
    scalars: tuple[MainNumber, ...]
    figures: tuple[ReportFigure, ...]
    folder: str
    explorer: str = ""
    shipped: str = ""
    cards: tuple[DataCard, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(scalar.model for scalar in self.scalars))

    @property
    def notices(self) -> tuple[str, ...]:
        """What a reader must know before the numbers."""
        models = {verdict.model for verdict in self.verdicts}
        shares = {s.model: s.value for s in self.scalars if s.name == "epsilon_share" and s.model in models}
        return tuple(filter(None, (notice(model, share) for model, share in shares.items())))

    @property
    def is_published(self) -> bool:
        """Whether the paper shows any of its numbers."""
        return any(not isnan(scalar.published_low) for scalar in self.scalars)

    @property
    def numbers(self) -> dict[str, dict[str, MainNumber]]:
        """Name -> model -> its number, in the order of the table."""
        names = dict.fromkeys(scalar.name for scalar in self.scalars)
        return {name: {s.model: s for s in self.scalars if s.name == name} for name in names}

    @property
    def first_numbers(self) -> dict[str, dict[str, MainNumber]]:
        """Name -> model -> its number, of those that stand before all others."""
        found = self.numbers
        models = {verdict.model for verdict in self.verdicts}
        return {
            name: {model: scalar for model, scalar in found[name].items() if model in models}
            for name in FIRST
            if name in found
        }

    @property
    def groups(self) -> dict[str, dict[str, dict[str, MainNumber]]]:
        """Heading -> name -> model -> its number."""
        found = self.numbers
        known = {name for names in NUMBERS.values() for name in names}
        headings = NUMBERS | {"Further numbers": tuple(name for name in found if name not in known)}
        groups = {title: {name: found[name] for name in names if name in found} for title, names in headings.items()}
        return {title: rows for title, rows in groups.items() if rows}

    @property
    def questions(self) -> dict[str, tuple[ReportFigure, ...]]:
        """The figures under the question that each answers, without those that stand with the answer."""
        groups = {question: tuple(f for f in self.figures if f.question == question) for question in Question}
        return {question: figures for question, figures in groups.items() if figures and question != Question.VERDICT}


@dataclass(frozen=True)
class Audit:
    """The whole report; settings and provenance are nested mappings of plain values, shown as they are.

    subject: what was audited, in a line; methods: heading -> sentences of each part
    archive: a zip of all tables that are not too large, by its name; facts: date, commit and machine
    """

    title: str
    subject: str
    question: str
    systems: tuple[SystemSection, ...]
    command: str
    methods: Mapping[str, Sequence[str]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    costs: tuple[StageCost, ...] = ()
    archive: tuple[str, bytes] | None = None
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def core_hours(self) -> float:
        return sum(cost.core_hours for cost in self.costs)

    @property
    def gpu_hours(self) -> float | None:
        """None if no job recorded them."""
        found = [cost.gpu_hours for cost in self.costs if cost.gpu_hours is not None]
        return sum(found) if found else None


def number(value: float) -> str:
    """Three significant digits as a reader writes them: 0.0123, −4.56, 1.2×10⁷."""
    if not isfinite(value):
        return "–" if value != value else ("∞" if value > 0 else "−∞")
    mantissa, _, exponent = f"{value:.3g}".partition("e")
    power = "×10" + str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")) if exponent else ""
    return mantissa.replace("-", "−") + power


def alternative_text(figure: ReportFigure) -> str:
    """Title and first sentence of the caption: what a reader who cannot see the figure gets in its place."""
    text = " ".join(unescape(re.sub(r"<[^>]+>", " ", figure.caption_html)).split())
    return f"{figure.title}. {re.split(r'(?<=[.!?]) ', text, maxsplit=1)[0]}".strip()


def parted(caption: str, words: int = 50) -> tuple[str, str]:
    """The whole sentences that a caption begins with and that have so many words together, one at least; the rest."""
    first: list[str] = []
    count = 0
    sentences = re.split(r"(?<=[.!?]) ", " ".join(caption.split()))
    for sentence in sentences:
        count += len(sentence.split())
        if first and count > words:
            break
        first.append(sentence)
    return " ".join(first), " ".join(sentences[len(first) :])


def caption_html(text: str) -> str:
    """A caption in reStructuredText as an HTML fragment. Raises docutils.utils.SystemMessage for faulty markup."""
    settings = {
        "raw_enabled": False,
        "file_insertion_enabled": False,
        "_disable_config": True,  # a docutils.conf in the working directory must not change the report
        "doctitle_xform": False,
        "halt_level": 2,
        "report_level": 5,  # the exception carries the message; nothing on stderr as well
    }
    return publish_parts(text, writer="html5", settings_overrides=settings)["body"]


def webp(image: Path) -> bytes:
    """A PNG as lossless WebP, which is smaller."""
    found = BytesIO()
    with Image.open(image) as picture:
        picture.save(found, "webp", lossless=True, quality=100, method=4)
    return found.getvalue()


def environment() -> Environment:
    """What renders the templates of this folder."""
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(
        number=number,
        alternative_text=alternative_text,
        base64=lambda data: b64encode(data).decode("ascii"),
        trusted=Markup,  # captions, which docutils has escaped, our script, and JSON without "<"
        inert=lambda text: Markup(text.replace("<", "\\u003c")),
        share=lambda value: f"{100 * min(max(value, 0.0), 1.0):.1f}",
        percent=rounded,
        settled=lambda told: settled(told if isinstance(told, Mapping) else vars(told)),
        initial=lambda text: text[:1].upper() + text[1:],
        slug=lambda text: re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-"),
    )
    return found


def render(study: Audit) -> str:
    """The page as text; the same study gives the same page."""
    script = (Path(__file__).parent / "explorer.js").read_text(encoding="utf-8")
    digest = b64encode(sha256(script.encode()).digest()).decode("ascii")
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            study=study, script=script, digest=digest, limits=LIMITS, first=FIRST, front=Question.VERDICT, words=WORDS
        )
    )
