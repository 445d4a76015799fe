"""The listing of a hub's files: pinned to a commit, or one line that says why there is none."""

import json
from pathlib import Path

import pytest
from hub_study import CONTENT, FILES, REPO, fetch, list_files, names
from huggingface_hub import constants
from tests.hub_server import Fault, Hub

from surroscope.errors import UserError


def test_a_listing_holds_on_to_its_commit(hub: Hub, raw: Path) -> None:
    commit = json.loads(list_files(raw).read_text())["commit"]
    fetch(raw, FILES[0])
    assert hub.publish(REPO, {name: data[::-1] for name, data in CONTENT.items()}) != commit
    fetch(raw, FILES[1])
    assert [(raw / name).read_bytes() for name in FILES] == list(CONTENT.values())
    assert json.loads(list_files(raw).read_text())["commit"] == commit
    moved = json.loads(list_files(raw, revision=hub.commit(REPO)).read_text())
    assert (moved["commit"], moved["revision"]) == (hub.commit(REPO),) * 2
    (raw / "commits.json").unlink()
    assert json.loads(list_files(raw).read_text())["commit"] == hub.commit(REPO)
    (raw / "commits.json").write_text("{")
    with pytest.raises(UserError, match=r"commits\.json: expected a commit for each revision"):
        list_files(raw)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"repo": "camlab-ethz/nowhere"}, "HTTP status 404 .*no dataset camlab-ethz/nowhere"),
        ({"repo": "not a name"}, "expected owner/name"),
        ({"revision": "v9"}, "NS-BB at v9: HTTP status 404 .*no such revision"),
        ({"files": ["velocity_7.nc"]}, r"velocity_7\.nc does not exist .*are velocity_0\.nc, velocity_1\.nc\."),
        ({"files": ["README.md"]}, r"README\.md carries no SHA-256"),
    ],
)
def test_a_listing_that_cannot_be_says_why(hub: Hub, raw: Path, change: dict, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        list_files(raw, **change)
    assert "\n" not in str(caught.value)
    assert names(raw) == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_listing_that_is_forbidden_asks_for_a_token(hub: Hub, raw: Path, status: int) -> None:
    hub.fault(REPO, Fault(status=status, headers={"X-Error-Code": "GatedRepo"}))
    with pytest.raises(UserError, match=rf"HTTP status {status} from {hub.endpoint}: .*HF_TOKEN .*accept its terms"):
        list_files(raw)


def test_a_listing_survives_a_storm(hub: Hub, raw: Path) -> None:
    hub.fault(REPO, Fault(status=503), times=6)
    list_files(raw)
    hub.fault(REPO, Fault(status=503), times=7)
    with pytest.raises(UserError, match=r"7 attempts .* HTTP status 503"):
        list_files(raw)


def test_a_hub_that_is_not_there_is_named(hub: Hub, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"7 attempts at http://127\.0\.0\.1:9 failed, .*ConnectError"):
        list_files(raw)
    monkeypatch.setattr(constants, "ENDPOINT", "127.0.0.1:9")
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9 failed, .*missing an 'http://'"):
        list_files(raw)


def test_the_space_for_all_files_is_asked_for_first(hub: Hub, small_disk: Path) -> None:
    with pytest.raises(UserError, match=r"NS-BB, 2 files of camlab-ethz/NS-BB, needs 1\.2 MB, 1\.0 MB are free"):
        list_files(small_disk)
    assert names(small_disk) == []
    # Files that are there already need no more space, unless they are incomplete.
    (small_disk / FILES[1]).write_bytes(CONTENT[FILES[1]][:100])
    with pytest.raises(UserError, match=r"needs 1\.2 MB"):
        list_files(small_disk)
    (small_disk / FILES[1]).write_bytes(CONTENT[FILES[1]])
    with pytest.raises(UserError, match=r"needs 0\.6 MB, 0\.4 MB are free"):
        list_files(small_disk)
    list_files(small_disk, FILES[1:])
    assert hub.asked() == 0
