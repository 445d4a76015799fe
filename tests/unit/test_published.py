"""Weights on a hub are fetched once, at one commit, and are then files like others."""

import json
from pathlib import Path

import pytest
import torch
from default_study import changed
from safetensors.torch import save
from tests.hub_server import Hub

from surroscope.config.job import network
from surroscope.config.study import Study, check
from surroscope.data import published
from surroscope.errors import UserError
from surroscope.models import weights

REPO = "someone/surrogate"
SAVED = {"weight": torch.arange(4.0)}
CONTENT = {
    **{"model.safetensors": save(SAVED), "config.json": b'{"width": 8}', "README.md": b"# A network"},
    **{"steps/a.pt": b"", "steps/b.pt": b"\x80b"},
}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def study(files: str) -> Study:
    model = {"factory": "mynets:Network", "weights": files}
    return check(
        changed("systems.CE.models.vit", model) | {"fidelity": None, "cross": None, "seeds": [10]}, "config.yaml"
    )


def found(files: str) -> Path:
    one = study(files)
    for place in one.published():
        published.fetch(*place)
    return one.weights("CE", "vit", 10, 1)


def test_what_save_pretrained_published_is_a_folder_with_its_options(hub: Hub) -> None:
    first = hub.publish(REPO, CONTENT)
    with pytest.raises(UserError, match="found no file 'hub:someone/surrogate' of seed 10"):
        study(f"hub:{REPO}").weights("CE", "vit", 10, 1)
    assert hub.requests == []  # a configuration alone asks for nothing
    assert found(f"hub:{REPO}") == Path(f"data/hub/{REPO}@main")
    assert network(study(f"hub:{REPO}"), "CE", "vit")["options"] == {"width": 8}
    assert torch.equal(weights.read(found(f"hub:{REPO}"))["weight"], SAVED["weight"])
    asked = len(hub.requests)
    hub.publish(REPO, {**CONTENT, "model.safetensors": save({"weight": torch.zeros(4)})})
    assert torch.equal(weights.read(found(f"hub:{REPO}"))["weight"], SAVED["weight"])
    assert len(hub.requests) == asked
    assert json.loads(Path(f"data/hub/{REPO}@main/listing.json").read_text())["commit"] == first
    assert not weights.read(found(f"hub:{REPO}@{hub.commit(REPO)}"))["weight"].any()
    assert hub.asked(".pt") == 0


def test_a_file_of_a_repository_can_be_named(hub: Hub) -> None:
    hub.publish(REPO, CONTENT)
    assert found(f"hub:{REPO}/steps/b.pt").read_bytes() == b"\x80b"
    assert hub.asked() == 1


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ("hub:nowhere", r"vit\.weights\.files: .*expected hub:owner/name"),
        ("hub:someone/else", "HTTP status 404 .*no model someone/else"),
        (f"hub:{REPO}@v9", "no such revision"),
        (f"hub:{REPO}/steps", r"holds steps/a\.pt, steps/b\.pt; say which, as in hub:someone/surrogate/steps/a\.pt"),
        (f"hub:{REPO}/last.pt", r"holds no last\.pt, but README\.md, config\.json, model\.safetensors, "),
    ],
)
def test_what_cannot_be_fetched_is_one_line(hub: Hub, files: str, words: str) -> None:
    hub.publish(REPO, CONTENT)
    with pytest.raises(UserError, match=words) as caught:
        found(files)
    assert "\n" not in str(caught.value)
