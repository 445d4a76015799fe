"""The pages that are made from a study say what the catalogue says now."""

import re
from pathlib import Path

import pytest
from PIL import Image

from surroscope.diagnostics.scalars import SCALARS
from surroscope.errors import UserError
from surroscope.report.catalogue import FIGURES
from surroscope.tools import gallery
from surroscope.tools.verify import configured

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_gallery_is_of_the_catalogue_as_it_is() -> None:
    page = gallery.GALLERY.read_text()
    assert page == gallery.gallery(configured(gallery.STUDY), gallery.STUDY)
    pictures = {gallery.GALLERY.parent / name for name in re.findall(r"\((gallery/[^)]+)\)", page)}
    assert pictures == set((gallery.GALLERY.with_suffix("")).iterdir())


def test_the_study_of_the_gallery_has_every_figure_but_those_of_other_networks() -> None:
    shown = {
        name for name, spec in FIGURES.items() if not {"dial", "leads", "remedies", "retraining"} & set(spec.needs)
    }
    assert shown <= set(gallery.names(configured(gallery.STUDY)))


def test_every_scalar_stands_beside_what_was_published() -> None:
    signature = gallery.SIGNATURE.read_text()
    assert all(f"| {name.replace('_', ' ')} |" in signature for name in SCALARS)


def test_an_animation_is_shown_by_its_last_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (640, 320), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moves.gif", save_all=True, append_images=frames[1:])
    gallery.shrink(tmp_path / "moves.gif", tmp_path / "small.png")
    with Image.open(tmp_path / "small.png") as small:
        assert small.size == (320, 160)
        assert small.convert("RGB").getpixel((0, 0)) == (0, 0, 255)
    with pytest.raises(UserError, match="run the study first"):
        gallery.shrink(tmp_path / "none.png", tmp_path / "small.png")


@pytest.mark.parametrize(
    ("low", "published", "expected"),
    [
        (1.5, (4.5, 6.0), "2 (1.5 to 3)<br>*4.5 to 6*"),
        (1.5, (0.1, 0.1), "2 (1.5 to 3)<br>*0.1*"),
        (float("nan"), (float("nan"),) * 2, "2"),
    ],
)
def test_a_number_stands_above_what_was_published(low: float, published: tuple[float, float], expected: str) -> None:
    row = {"value": 2.0, "low": low, "high": 3.0, "published_low": published[0], "published_high": published[1]}
    assert gallery.cell(row) == expected
