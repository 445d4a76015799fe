"""Files from a hub that fails in every way that is known, and what of them is accepted."""

import json
import shutil
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from hub_study import CONTENT, FILES, LISTED, REPO, fetch, list_files, names, start
from huggingface_hub import constants
from tests.hub_server import Fault, Hub

from surroscope.data import hub as client
from surroscope.errors import UserError

WRONG = bytes(len(CONTENT["velocity_0.nc"]))


def fails(folder: Path, words: str) -> None:
    """The first file is refused with these words in one line, and nothing but the listing is left."""
    with pytest.raises(UserError, match=words) as caught:
        fetch(folder)
    assert "\n" not in str(caught.value)
    assert names(folder) == [*LISTED]


def test_both_stages_by_hand_with_the_token_of_the_environment(tmp_path: Path) -> None:
    with Hub(token="hf_secret") as hub:
        commit = hub.publish(REPO, CONTENT)
        environment = hub.environment(tmp_path / "home", token="hf_secret")
        path = tmp_path / "raw" / "listing.json"
        settings = {"ic": "NS-BB", "repo": REPO, "revision": "main", "files": FILES}
        output, errors = start("listing", settings, environment, listing=path).communicate()
        assert "CC-BY-NC-4.0" in output, errors
        assert "1.2 MB" in output
        content = json.loads(path.read_text())
        assert content.pop("files").keys() == CONTENT.keys()
        assert content == {"repo": REPO, "revision": "main", "commit": commit, "licence": "CC-BY-NC-4.0"}
        target = tmp_path / "raw" / FILES[0]
        settings = {"ic": "NS-BB", "file": FILES[0], "revision": "main"}
        output, errors = start("download", settings, environment, listing=path, raw=target).communicate()
        assert "MB/s" in output, errors
        assert "fetch NS-BB/velocity_0.nc" in errors
    assert target.read_bytes() == CONTENT[FILES[0]]
    assert names(tmp_path / "raw") == [*LISTED, FILES[0]]
    assert not list(tmp_path.glob("home/**/*velocity*"))
    assert all(request.headers["authorization"] == "Bearer hf_secret" for request in hub.requests)


def test_a_wrong_token_is_refused_in_one_line(hub: Hub, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    list_files(raw)
    hub.token = "hf_secret"
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    fails(raw, rf"velocity_0\.nc: HTTP status 401 .* HF_TOKEN .* terms at {hub.endpoint}/datasets/{REPO}")
    assert hub.asked() == 1
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch(raw)


@pytest.mark.parametrize("drop", ["close", "reset"])
def test_a_dropped_connection_is_resumed(hub: Hub, raw: Path, drop: str, capsys: pytest.CaptureFixture[str]) -> None:
    list_files(raw)
    hub.fault(FILES[0], Fault(after=300_000, drop=drop, pace=0.005))
    assert fetch(raw).read_bytes() == CONTENT[FILES[0]]
    ranges = [request.headers.get("range") for request in hub.requests if request.kind == "content"]
    assert ranges[0] is None
    # A connection that is broken off may take with it what was on its way.
    assert 0 < int(ranges[1].removeprefix("bytes=").removesuffix("-")) <= 300_000
    assert "attempt 2 of 7" in capsys.readouterr().err


def test_any_number_of_drops_is_resumed_while_bytes_arrive(hub: Hub, raw: Path) -> None:
    list_files(raw)
    hub.fault(FILES[0], Fault(after=40_000, drop="close"), times=14)
    assert fetch(raw).read_bytes() == CONTENT[FILES[0]]
    assert hub.asked() == 15


def test_a_server_that_cannot_resume_sends_all_again(hub: Hub, raw: Path) -> None:
    list_files(raw)
    hub.fault(FILES[0], Fault(after=300_000, drop="close"))
    hub.fault(FILES[0], Fault(ranges=False))
    assert fetch(raw).read_bytes() == CONTENT[FILES[0]]
    assert hub.asked() == 2


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_storm_of_errors_passes(hub: Hub, raw: Path, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    list_files(raw)
    hub.fault(FILES[0], Fault(status=status), times=5)
    assert fetch(raw).read_bytes() == CONTENT[FILES[0]]
    assert hub.asked() == 6
    assert capsys.readouterr().err.count(f"{REPO}/velocity_0.nc: HTTP status {status}; attempt") == 5


@pytest.mark.parametrize("headers", [{"Retry-After": "20"}, {"RateLimit": '"resolvers";r=0;t=20'}])
def test_a_rate_limit_is_waited_out(hub: Hub, raw: Path, headers: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    list_files(raw)
    waits: list[float] = []
    monkeypatch.setattr(client, "time", SimpleNamespace(sleep=waits.append))
    hub.fault(FILES[0], Fault(status=429, headers=headers))
    fetch(raw)
    assert waits == [20.0]


def test_waits_double_and_scatter(hub: Hub, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    list_files(raw)
    waits: list[float] = []
    monkeypatch.setattr(client, "time", SimpleNamespace(sleep=waits.append))
    monkeypatch.setattr(client, "WAIT", 1.0)
    hub.fault(FILES[0], Fault(status=503), times=6)
    fetch(raw)
    assert all(2**k <= wait <= 1.5 * 2**k for k, wait in enumerate(waits))
    assert len({wait / 2**k for k, wait in enumerate(waits)}) == 6


def test_an_error_for_ever_ends(hub: Hub, raw: Path) -> None:
    list_files(raw)
    hub.fault(FILES[0], Fault(status=503), times=1000)
    fails(raw, r"velocity_0\.nc: 7 attempts at .* the last with HTTP status 503\. Files already fetched are kept")
    assert hub.asked() == 7


def test_an_error_after_some_bytes_for_ever_ends(hub: Hub, raw: Path) -> None:
    list_files(raw)
    hub.fault(FILES[0], Fault(after=100_000, drop="close"))
    hub.fault(FILES[0], Fault(status=503), times=1000)
    fails(raw, "HTTP status 503")
    assert hub.asked() == 7


def test_wrong_content_of_the_right_size_is_fetched_again(hub: Hub, raw: Path) -> None:
    list_files(raw)
    hub.fault(FILES[0], Fault(content=WRONG))
    assert fetch(raw).read_bytes() == CONTENT[FILES[0]]
    assert hub.asked() == 2


def test_wrong_content_before_a_drop_is_fetched_again(hub: Hub, raw: Path) -> None:
    list_files(raw)
    hub.fault(FILES[0], Fault(content=WRONG, after=300_000, drop="close"))
    assert fetch(raw).read_bytes() == CONTENT[FILES[0]]
    assert hub.asked() == 3


def test_wrong_content_for_ever_is_never_accepted(hub: Hub, raw: Path) -> None:
    list_files(raw)
    hub.fault(FILES[0], Fault(content=WRONG), times=1000)
    fails(raw, "SHA-256 [0-9a-f]{64}, expected [0-9a-f]{64}")
    assert hub.asked() < 10


@pytest.mark.parametrize("length", [None, len(CONTENT[FILES[0]])])
def test_a_truncated_body_is_completed(hub: Hub, raw: Path, length: int | None) -> None:
    """Cut in truth, and announced as whole or as what it is."""
    list_files(raw)
    hub.fault(FILES[0], Fault(content=CONTENT[FILES[0]][:200_000], length=length))
    assert fetch(raw).read_bytes() == CONTENT[FILES[0]]
    assert hub.asked() == 2


def test_a_connection_lost_after_the_last_byte_costs_nothing(hub: Hub, raw: Path) -> None:
    list_files(raw)
    hub.fault(FILES[0], Fault(length=len(WRONG) + 1))
    assert fetch(raw).read_bytes() == CONTENT[FILES[0]]
    assert hub.asked() == 1


@pytest.mark.parametrize("content", [CONTENT[FILES[0]][:-1], CONTENT[FILES[0]] + bytes(300_000), b""])
def test_a_file_of_another_size_for_ever_is_never_accepted(hub: Hub, raw: Path, content: bytes) -> None:
    list_files(raw)
    hub.fault(FILES[0], Fault(content=content), times=1000)
    fails(raw, r"attempts .* the last with (\d+ bytes, expected 600000|HTTP status 416)")
    assert hub.asked() < 20


def test_a_file_that_is_gone_is_refused_at_once(hub: Hub, raw: Path) -> None:
    content = json.loads(list_files(raw).read_text())
    content["files"] = {FILES[0].replace("0", "9"): content["files"][FILES[0]]}
    (raw / "listing.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"velocity_9\.nc: HTTP status 404 .*no such file at this commit"):
        fetch(raw, "velocity_9.nc")
    with pytest.raises(UserError, match=r"listing\.json: expected the size and SHA-256 of velocity_0\.nc, found none"):
        fetch(raw)
    assert names(raw) == [*LISTED]
    assert hub.asked() == 1


@pytest.mark.parametrize("fault", [Fault(redirect=True), Fault(redirect=True, after=300_000, drop="close")])
def test_the_token_does_not_follow_a_redirect(
    hub: Hub, raw: Path, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    list_files(raw)
    hub.fault(FILES[0], fault)
    assert fetch(raw).read_bytes() == CONTENT[FILES[0]]
    elsewhere = [request.headers for request in hub.requests if request.kind == "elsewhere"]
    assert len(elsewhere) == 1
    assert "authorization" not in elsewhere[0]
    assert all("hf_secret" not in value for value in elsewhere[0].values())
    at_hub = [request.headers for request in hub.requests if request.kind != "elsewhere"]
    assert all(headers["authorization"] == "Bearer hf_secret" for headers in at_hub)


def test_a_download_that_was_killed_starts_clean(hub: Hub, raw: Path, tmp_path: Path) -> None:
    path = list_files(raw)
    halfway, over = threading.Event(), threading.Event()
    hub.fault(FILES[0], Fault(after=300_000, call=lambda: halfway.set() or over.wait(60)))
    environment = hub.environment(tmp_path / "home")
    process = start(
        "download", {"ic": "NS-BB", "file": FILES[0], "revision": "main"}, environment, listing=path, raw=raw / FILES[0]
    )
    assert halfway.wait(60)
    process.kill()
    process.communicate()
    over.set()
    (leftover,) = raw.glob(".velocity_0.partial-*.nc")
    assert leftover.stat().st_size <= 300_000
    assert fetch(raw).read_bytes() == CONTENT[FILES[0]]
    assert names(raw) == [*LISTED, FILES[0]]


def test_a_failure_leaves_other_files_untouched(hub: Hub, raw: Path) -> None:
    list_files(raw)
    before = fetch(raw, FILES[1]).stat()
    hub.fault(FILES[0], Fault(status=403))
    with pytest.raises(UserError, match="HTTP status 403"):
        fetch(raw)
    assert names(raw) == [*LISTED, FILES[1]]
    after = (raw / FILES[1]).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert (raw / FILES[1]).read_bytes() == CONTENT[FILES[1]]


def test_a_disk_too_small_is_said_before_the_first_byte(hub: Hub, raw: Path, small_disk: Path) -> None:
    shutil.copy(list_files(raw), small_disk)
    (small_disk / "other").write_bytes(bytes(600_000))
    with pytest.raises(UserError, match=rf"{small_disk}: disk full: velocity_0\.nc needs 0\.6 MB, 0\.4 MB are free"):
        fetch(small_disk)
    assert hub.asked() == 0
    assert names(small_disk) == ["listing.json", "other"]


def test_a_disk_that_fills_while_a_file_arrives(hub: Hub, raw: Path, small_disk: Path) -> None:
    shutil.copy(list_files(raw), small_disk)

    def fill() -> None:
        with suppress(OSError), (small_disk / "other").open("wb", buffering=0) as stream:
            while True:
                stream.write(bytes(1 << 12))

    hub.fault(FILES[0], Fault(after=200_000, call=fill, pace=0.01))
    with pytest.raises(UserError, match=r"disk full: the rest of velocity_0\.nc needs 0\.\d MB, 0\.0 MB are free"):
        fetch(small_disk)
    assert names(small_disk) == ["listing.json", "other"]
    (small_disk / "other").unlink()
    assert fetch(small_disk).read_bytes() == CONTENT[FILES[0]]


def test_a_hub_that_falls_silent_is_tried_again(hub: Hub, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    list_files(raw)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    over = threading.Event()
    hub.fault(FILES[0], Fault(after=300_000, call=lambda: over.wait(60)))
    assert fetch(raw).read_bytes() == CONTENT[FILES[0]]
    over.set()
