"""Ctrl-C, a scheduler, a full disk: what ends a stage or a tool is one line, whatever a library made of it."""

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from surroscope.plots.style import Options
from surroscope.runtime import disk
from surroscope.runtime.claims import StaleWriterError
from surroscope.stages import figures

# Of a test's own; the body is what goes wrong.
STAGE = """
import os, time, pydantic
from surroscope.runtime import cli
class Settings(pydantic.BaseModel):
    body: str
def stage(settings: Settings) -> None:
    exec(settings.body)
def tool() -> None:
    exec(os.environ["BODY"])
if __name__ == "__main__":
    cli.tool(tool) if "BODY" in os.environ else cli.run(stage)
"""
WAIT = "print('ready', flush=True); time.sleep(60)"
HIDDEN = """
try:
    raise OSError(28, "No space left on device", "figure.pdf")
finally:
    pages.pos
"""


def started(folder: Path, kind: str, body: str, key: signal.Handlers = signal.SIG_DFL) -> subprocess.Popen[str]:
    """key: what it inherits for SIGINT; a shell has it ignored for what it starts with &"""
    (folder / "its_stage.py").write_text(STAGE)
    options = ["--settings", json.dumps({"body": body})] if kind == "stage" else []
    command = [sys.executable, "-m", "its_stage", *options]
    environment = os.environ | ({"BODY": body} if kind == "tool" else {})
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    told = signal.signal(signal.SIGINT, key)
    try:
        return subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes)
    finally:
        signal.signal(signal.SIGINT, told)


@pytest.mark.parametrize(("kind", "name"), [("stage", "SIGINT"), ("stage", "SIGTERM"), ("tool", "SIGINT")])
def test_what_is_ended_says_so_in_one_line(tmp_path: Path, kind: str, name: str) -> None:
    running = started(tmp_path, kind, WAIT)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.send_signal(signal.Signals[name])
    assert running.communicate()[1] == f"error: ended by {name}; nothing half-written is kept\n"
    assert running.returncode == 1


def test_what_runs_in_the_background_is_not_ended_by_a_key(tmp_path: Path) -> None:
    running = started(tmp_path, "stage", WAIT.replace("60", "0.2"), signal.SIG_IGN)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.send_signal(signal.SIGINT)
    assert running.communicate()[1] == ""
    assert running.returncode == 0


@pytest.mark.parametrize("kind", ["stage", "tool"])
def test_a_full_disk_that_a_library_hides_is_one_line(tmp_path: Path, kind: str) -> None:
    ended = started(tmp_path, kind, HIDDEN)
    line = "error: figure.pdf: no space is left; nothing half-written is kept, so make room and run\n"
    assert ended.communicate()[1] == line
    assert ended.returncode == 1


def hide(kind: type[Exception], number: int) -> None:
    """As a library does that closes a file that it could not write."""
    try:
        raise OSError(number, "there is something", "figure.pdf")
    finally:
        raise kind("of the library's own")


@pytest.mark.parametrize("kind", [AttributeError, ValueError, OSError])
def test_a_figure_on_a_full_disk_says_so_from_one_process_to_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: type[Exception]
) -> None:
    for name in ("draw", "read_csv"):
        monkeypatch.setattr(figures, name, lambda *_: None)
    monkeypatch.setattr(figures.style, "save", lambda *_: hide(kind, errno.ENOSPC))
    with pytest.raises(OSError, match="there is something") as caught:
        figures.drawn("two_time", tmp_path, [tmp_path / "figure.pdf"], Options(), 100)
    assert pickle.loads(pickle.dumps(caught.value)).errno == errno.ENOSPC


def test_other_errors_stay_what_they_are() -> None:
    for kind, number in ((ValueError, errno.EIO), (StaleWriterError, errno.ENOSPC)):
        with pytest.raises(kind, match="of the library"), disk.unhidden():
            hide(kind, number)
