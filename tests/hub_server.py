"""A Hugging Face hub on loopback, for tests: publishes files, remembers what was asked, and fails on demand.

with Hub() as hub:
    hub.publish("camlab-ethz/NS-BB", {"velocity_0.nc": Path("velocity_0.nc")})
    hub.fault("velocity_0.nc", Fault(status=503), times=3)
    subprocess.run([...], env=hub.environment(tmp_path / "home"))
    assert hub.asked("velocity_0.nc") == 4
"""

import contextlib
import hashlib
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

CHUNK = 1 << 16


@dataclass(frozen=True)
class Fault:
    """How the content of a file, or an answer of the API, goes wrong.

    status: an error status instead of the answer, with `headers`
    content: other bytes than the published ones
    length: the Content-Length that is announced; None: that of what is left of the content
    after: bytes of the body that are sent before `call` is called, and after which `drop` closes the connection
    drop: "close" ends the connection as if all had been sent, "reset" breaks it off
    call: called on the server's thread once `after` bytes are sent
    pace: seconds to wait before each 64 KiB of the body
    ranges: False ignores a Range header
    redirect: send the client to the second server, on another port, for the content
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    length: int | None = None
    after: int = 0
    drop: str | None = None
    call: Callable[[], object] | None = None
    pace: float = 0.0
    ranges: bool = True
    redirect: bool = False


@dataclass(frozen=True)
class Request:
    """What a client asked: `kind` is "api", "content" or "elsewhere" (content from the second server)."""

    method: str
    kind: str
    path: str
    headers: dict[str, str]


class Hub:
    """A hub of datasets and models and, on another port, the store that it may redirect to. What is data is LFS."""

    def __init__(self, token: str | None = None) -> None:
        """token: what a client must present; None: nothing."""
        self.token = token
        self.requests: list[Request] = []
        self._main: dict[str, str] = {}
        self._trees: dict[tuple[str, str], dict[str, bytes]] = {}
        self._faults: dict[str, list[Fault]] = {}
        self._lock = threading.Lock()
        self._servers = [_Server(self, elsewhere) for elsewhere in (False, True)]
        self.endpoint, self.elsewhere = (f"http://127.0.0.1:{server.server_port}" for server in self._servers)

    def __enter__(self) -> "Hub":
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def publish(self, repo: str, files: dict[str, Path | bytes]) -> str:
        """Make `main` of a dataset hold these files and no others; earlier commits stay. Returns the commit."""
        tree = {name: data if isinstance(data, bytes) else data.read_bytes() for name, data in files.items()}
        digests = [f"{name} {hashlib.sha256(data).hexdigest()}" for name, data in sorted(tree.items())]
        commit = hashlib.sha1("\n".join([repo, str(len(self._trees)), *digests]).encode()).hexdigest()
        self._trees[repo, commit] = tree
        self._main[repo] = commit
        return commit

    def commit(self, repo: str) -> str:
        """The commit that `main` of a dataset is."""
        return self._main[repo]

    def fault(self, name: str, fault: Fault, times: int = 1) -> None:
        """Let the next so many answers fail: name a file for its content (GET), a repository for the API."""
        self._faults.setdefault(name, []).extend([fault] * times)

    def asked(self, name: str = "") -> int:
        """How often the content of a file, or of any, was asked for (GET; a redirect counts once)."""
        return sum(r.method == "GET" and r.kind == "content" and r.path.endswith(name) for r in self.requests)

    def environment(self, home: Path, token: str = "") -> dict[str, str]:
        """The environment of a process that is to use this hub, with nothing of the user's own hub in it."""
        own = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HF_", "HUGGING")) and not name.lower().endswith("_proxy")
        }
        return own | {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_TOKEN": token,
            "HUGGING_FACE_HUB_TOKEN": token,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }

    def put_back(self, name: str, fault: Fault) -> None:
        with self._lock:
            self._faults.setdefault(name, []).insert(0, fault)

    def tree(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        commit = self._main.get(repo) if revision == "main" else revision
        files = self._trees.get((repo, commit or ""))
        return None if files is None else (str(commit), files)

    def knows(self, repo: str) -> bool:
        return repo in self._main

    def next_fault(self, name: str) -> Fault:
        with self._lock:
            waiting = self._faults.get(name)
            return waiting.pop(0) if waiting else Fault()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, hub: Hub, elsewhere: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub
        self.elsewhere = elsewhere

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that went away are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._route()

    def do_GET(self) -> None:
        self._route()

    def do_POST(self) -> None:
        self._route()

    def _route(self) -> None:
        hub, url = self.server.hub, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        kind = "elsewhere" if self.server.elsewhere else "api" if parts[0] == "api" else "content"
        headers = {name.lower(): value for name, value in self.headers.items()}
        hub.requests.append(Request(self.command, kind, url.path, headers))
        if kind != "elsewhere" and hub.token and headers.get("authorization") != f"Bearer {hub.token}":
            return self._error(401, "Invalid username or password.")
        # [api/]datasets/{owner}/{name}/{what}/{revision}[/{file}], or models, which content has not before it
        parts = parts[1:] if kind == "api" else parts
        parts = parts[1:] if parts[0] in ("datasets", "models") else parts
        if len(parts) < 4:
            return self._error(404, "Not found")
        repo, what, revision, name = "/".join(parts[:2]), parts[2], parts[3], "/".join(parts[4:])
        if not hub.knows(repo):
            return self._error(404, "Repository not found", {"X-Error-Code": "RepoNotFound"})
        if (found := hub.tree(repo, revision)) is None:
            return self._error(404, f"Invalid rev id: {revision}", {"X-Error-Code": "RevisionNotFound"})
        commit, tree = found
        if kind == "api":
            return self._api(repo, what, commit, tree, parse_qs(url.query), body)
        if name not in tree:
            return self._error(404, "Entry not found", {"X-Error-Code": "EntryNotFound"})
        self._content(commit, name, tree[name])

    def _api(self, repo: str, what: str, commit: str, tree: dict[str, bytes], query: dict, body: bytes) -> None:
        fault = self.server.hub.next_fault(repo)
        if fault.call:
            fault.call()
        if fault.status:
            return self._error(fault.status, "injected", fault.headers)
        entries = [_entry(name, data) for name, data in sorted(tree.items())]
        if what == "tree":
            return self._json(entries)
        if what == "paths-info":
            return self._json([entry for entry in entries if entry["path"] in parse_qs(body.decode()).get("paths", [])])
        if what != "revision":
            return self._error(404, "Not found")
        siblings = [{"rfilename": name} for name in sorted(tree)]
        if "blobs" in query:
            siblings = [_sibling(entry) for entry in entries]
        self._json({"id": repo, "sha": commit, "private": False, "gated": False, "tags": [], "siblings": siblings})

    def _content(self, commit: str, name: str, data: bytes) -> None:
        digest = hashlib.sha256(data).hexdigest()
        fault = self.server.hub.next_fault(name) if self.command == "GET" else Fault()
        if fault.status:
            return self._error(fault.status, "injected", fault.headers)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{digest}"', "X-Linked-Etag": f'"{digest}"'}
        if fault.redirect:
            # What is wrong with the content besides is so at the place that the client is sent to.
            self.server.hub.put_back(name, replace(fault, redirect=False))
            target = self.server.hub.elsewhere + self.path
            headers |= {"Location": target, "X-Linked-Size": str(len(data)), "Content-Length": "0"}
            return self._head(302, headers)
        content = data if fault.content is None else fault.content
        start = int(self.headers["Range"].removeprefix("bytes=").split("-")[0]) if "Range" in self.headers else 0
        if not fault.ranges:
            start = 0
        if start >= len(content) > 0:
            return self._error(416, "Range not satisfiable", {"Content-Range": f"bytes */{len(content)}"})
        left = content[start:]
        length = len(left) if fault.length is None else fault.length
        headers |= {"Accept-Ranges": "bytes", "Content-Length": str(length)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._head(206 if start else 200, headers)
        if self.command == "GET":
            self._body(left[:length], fault)

    def _body(self, left: bytes, fault: Fault) -> None:
        sent = 0
        for stop in (fault.after, len(left)):
            while sent < min(stop, len(left)):
                time.sleep(fault.pace)
                piece = left[sent : min(sent + CHUNK, stop)]
                self.wfile.write(piece)
                sent += len(piece)
            if stop == fault.after:
                if fault.call:
                    fault.call()
                if fault.drop:
                    break
        if fault.drop or (fault.length or 0) > len(left):
            self._hang_up(fault.drop == "reset")

    def _hang_up(self, reset: bool) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            if reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                self.connection.shutdown(socket.SHUT_RDWR)
            self.connection.close()

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _json(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        text = json.dumps(content).encode()
        self._head(status, {"Content-Type": "application/json", "Content-Length": str(len(text)), **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(text)

    def _error(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        self._json({"error": message}, status, {"X-Error-Message": message, **(headers or {})})


def _entry(name: str, data: bytes) -> dict[str, Any]:
    """A file in the tree API."""
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
    if not name.endswith((".md", ".json")):
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return entry


def _sibling(entry: dict[str, Any]) -> dict[str, Any]:
    """The same file in the answer about a revision."""
    sibling = {"rfilename": entry["path"], "size": entry["size"], "blobId": entry["oid"]}
    if lfs := entry.get("lfs"):
        sibling["lfs"] = {"sha256": lfs["oid"], "size": lfs["size"], "pointerSize": lfs["pointerSize"]}
    return sibling
