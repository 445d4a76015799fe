"""Files on a Hugging Face hub: listed at one commit, fetched, verified, put in place whole or not at all.

Address, token, proxies and timeouts are those of huggingface_hub and its environment (HF_ENDPOINT, HF_TOKEN, ...). The
content is streamed here and not by hf_hub_download, which (huggingface_hub 2.4) accepts any content of the right size,
starts a file again after a reset connection or a status from 500, and loses up to 10 MB where it does resume. So
nothing goes through Xet either.
"""

import errno
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import HfApi, constants, get_session, hf_hub_url, hf_raise_for_status
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers, parse_ratelimit_headers

from surroscope.errors import UserError
from surroscope.runtime.disk import no_space, require_space
from surroscope.runtime.store import atomic, of_file

ATTEMPTS = 7  # in a row that bring no new byte
WAIT = 1.0  # seconds before the second attempt, doubled before each further one
LONGEST_WAIT = 300.0  # the window of the hub's rate limits
TRANSIENT = (408, 416, 429)  # and all from 500

constants.HF_HUB_DISABLE_TELEMETRY = True
T = TypeVar("T")


class _WrongContentError(Exception):
    """What arrived is not the file that the listing names."""


def contents(repo: str, revision: str, kind: str = "dataset") -> tuple[str, dict[str, tuple[int, str | None]]]:
    """The commit that `revision` (branch, tag, commit) is now, and size and SHA-256 of its files, None of small ones.

    kind: "dataset" or "model". Raises UserError if the hub cannot be reached or refuses.
    """

    def ask() -> Any:
        timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        return HfApi().repo_info(repo, revision=revision, repo_type=kind, files_metadata=True, timeout=timeout)

    try:
        info = _persist(f"{repo} at {revision}", repo, ask, kind=kind)
        files = {e.rfilename: (e.size, e.lfs.sha256 if e.lfs else None) for e in info.siblings or []}
        return str(info.sha), files
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{repo}: {constants.ENDPOINT} does not answer as a Hugging Face hub does ({_line(error)}); check the name "
            "of the repository (expected owner/name) and the environment variable HF_ENDPOINT"
        ) from None


def listing(repo: str, revision: str, names: Sequence[str]) -> dict[str, Any]:
    """Size and SHA-256 of the named files of a dataset, at the commit that `revision` (branch, tag, commit) is now.

    Returns {"repo", "revision", "commit", "files": {name: {"size", "sha256"}}}. Raises UserError if the hub cannot be
    reached, refuses, or lacks a file.
    """
    commit, files = contents(repo, revision)
    data = sorted((name for name, (_, sha256) in files.items() if sha256), key=lambda name: (len(name), name))
    for name in names:
        if name not in data:
            state = "carries no SHA-256 (not stored by LFS)" if name in files else "does not exist"
            raise UserError(
                f"{repo}: file {name} {state} at {revision} ({commit}) of {constants.ENDPOINT}; "
                f"its data files are {', '.join(data) or 'none'}. Ask for fewer trajectories or another revision"
            )
    entries = {name: dict(zip(("size", "sha256"), files[name], strict=True)) for name in names}
    return {"repo": repo, "revision": revision, "commit": commit, "files": entries}


def fetch(
    repo: str,
    commit: str,
    name: str,
    size: int,
    sha256: str | None,
    path: Path,
    progress: Callable[[int], object] = lambda received: None,
    kind: str = "dataset",
) -> None:
    """Fetch one file of a repository to `path`, which appears when size and SHA-256 are right and not before.

    Failures that may pass (no connection, a dropped one, 5xx, 429, wrong content) are tried again, from the byte
    reached where that is possible. progress: called with the number of bytes that there are so far.
    Raises UserError if the hub refuses, if failures do not pass or if the disk is full; then nothing is left.
    """
    url = hf_hub_url(repo, name, repo_type=kind, revision=commit)
    with atomic(path) as temporary:
        require_space(name, size, path.parent)
        temporary.touch()

        def attempt() -> None:
            if temporary.stat().st_size < size:
                _receive(url, temporary, size, progress)
            if (digest := of_file(temporary)["sha256"]) != (sha256 or digest):
                os.truncate(temporary, 0)
                raise _WrongContentError(f"SHA-256 {digest}, expected {sha256}")

        try:
            _persist(f"{repo}/{name}", repo, attempt, lambda: temporary.stat().st_size, kind)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            missing = size - temporary.stat().st_size
            raise no_space(f"the rest of {name}", missing, path.parent) from None


def _receive(url: str, temporary: Path, size: int, progress: Callable[[int], object]) -> None:
    """Add to `temporary` what is missing from it, or all of it where the server does not resume."""
    # Compressed content would have no length and could not be resumed.
    headers = {**build_hf_headers(library_name="surroscope"), "Accept-Encoding": "identity"}
    if start := temporary.stat().st_size:
        headers["Range"] = f"bytes={start}-"
    with get_session().stream("GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT) as response:
        if response.status_code == 416:
            os.truncate(temporary, 0)
        hf_raise_for_status(response)
        with temporary.open("ab" if response.status_code == 206 else "wb") as stream:
            for chunk in response.iter_bytes():
                stream.write(chunk)
                progress(stream.tell())
                if stream.tell() > size:
                    break
    if (received := temporary.stat().st_size) != size:
        if received > size:
            os.truncate(temporary, 0)
        raise _WrongContentError(f"{received} bytes, expected {size}")


def _persist(
    what: str, repo: str, attempt: Callable[[], T], reached: Callable[[], int] = lambda: 0, kind: str = "dataset"
) -> T:
    """The result of `attempt`, tried again after failures that may pass, up to ATTEMPTS in a row that bring nothing.

    reached: the number of bytes that attempts have brought
    """
    failures, best = 0, 0
    while True:
        least = 0.0
        try:
            return attempt()
        except OfflineModeIsEnabled:
            raise UserError(f"{what}: HF_HUB_OFFLINE forbids to ask {constants.ENDPOINT}; unset it") from None
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status < 500 and status not in TRANSIENT:
                raise _refusal(what, repo, error, kind) from None
            problem, least = f"HTTP status {status}", _reset(error)
        except HTTPError as error:
            problem = f"{type(error).__name__} ({_line(error)})"
        except _WrongContentError as error:
            problem = str(error)
        failures = 1 if reached() > best else failures + 1
        best = max(best, reached())
        if failures == ATTEMPTS:
            raise UserError(
                f"{what}: {ATTEMPTS} attempts at {constants.ENDPOINT} failed, the last with {problem}. Files already "
                "fetched are kept; check the connection and HF_ENDPOINT, and run again"
            )
        wait = max(WAIT * 2 ** (failures - 1) * random.uniform(1.0, 1.5), min(least, LONGEST_WAIT))
        print(f"{what}: {problem}; attempt {failures + 1} of {ATTEMPTS} in {wait:.0f} s", file=sys.stderr, flush=True)
        time.sleep(wait)


def _refusal(what: str, repo: str, error: HfHubHTTPError, kind: str) -> UserError:
    status, code = error.response.status_code, error.response.headers.get("X-Error-Code")
    if status in (401, 403):
        reason = (
            "the repository is private, gated or not there. Check its name, set HF_TOKEN to a token that may read it "
            f"and accept its terms at {constants.ENDPOINT}/{'datasets/' * (kind == 'dataset')}{repo}"
        )
    elif status == 404 and code == "RevisionNotFound":
        reason = "no such revision. Give a branch, a tag or a commit of the repository"
    elif status == 404 and code == "EntryNotFound":
        reason = "no such file at this commit. Delete listing.json, and commits.json, beside it and run again"
    elif status == 404:
        reason = f"no {kind} {repo}. Check its name and the environment variable HF_ENDPOINT"
    else:
        reason = f"{_line(error)}. Check the environment variable HF_ENDPOINT"
    return UserError(f"{what}: HTTP status {status} from {constants.ENDPOINT}: {reason}")


def _reset(error: HfHubHTTPError) -> float:
    """Seconds that the server asks to wait."""
    after = error.response.headers.get("Retry-After", "")
    limit = parse_ratelimit_headers(error.response.headers)
    if limit and limit.remaining == 0:
        return limit.reset_in_seconds
    return float(after) if after.isdigit() else 0.0


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
