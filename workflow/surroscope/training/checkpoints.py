"""Checkpoints for resuming, kept apart from the declared outputs so that a killed job loses one epoch at most."""

import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch

from surroscope.runtime.claims import Claim
from surroscope.runtime.store import atomic, of_file

# Raise it when a saved state changes its meaning: every network is trained again.
FORMAT = 1
LATEST = "latest.pt"
IDENTITY = "identity.json"
# Name of a file -> the SHA-256 that it may have: its last and, while it is being replaced, its next one.
DIGESTS = "digests.json"


class Checkpoints:
    """A folder of checkpoints that belong to one identity: settings, data and code.

    A folder of another identity, or of none, is emptied; `message` says what was found. The folder is claimed for
    writing until `claim` is released: older writers get a StaleWriterError.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder = folder
        self.claim = Claim(folder)
        self.message = "no checkpoint to resume from; starting at epoch 1"
        recorded = folder / IDENTITY
        text = json.dumps(identity, sort_keys=True)
        if folder.is_dir() and not (recorded.is_file() and recorded.read_bytes() == text.encode()):
            # The identity goes first: a folder without one is never resumed from, wherever the removal stops.
            recorded.unlink(missing_ok=True)
            shutil.rmtree(folder)
            self.message = "the checkpoints are of other settings, data or code; starting afresh at epoch 1"
        if not recorded.is_file():
            with atomic(recorded) as temporary:
                temporary.write_text(text)
        try:
            self._digests: dict[str, list[str]] = json.loads((folder / DIGESTS).read_bytes())
        except (OSError, ValueError):
            self._digests = {}

    def load(self, needed: list[int]) -> dict[str, Any] | None:
        """The latest state, or None to start afresh: none was saved, or the weights of an epoch in `needed` that is
        past were not kept, or a file is damaged, which is set aside."""
        latest = self.folder / LATEST
        if not latest.is_file() or (state := self._read(latest)) is None:
            return None
        for epoch in needed:
            for file in (self.weights(epoch), self.moments(epoch)):
                if epoch <= state["epoch"] and not file.is_file():
                    self.message = f"the weights of epoch {epoch} were not kept; starting afresh at epoch 1"
                    return None
                if epoch <= state["epoch"] and self._read(file) is None:
                    return None
        self.message = f"resuming after epoch {state['epoch']}"
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Make `state` the latest, and record what the weights of its epoch are, if they are kept.

        Raises StaleWriterError if a newer writer has claimed the folder.
        """
        self.claim.require()
        # To a stream, since torch says what failed in words of its own where it opens the file itself.
        with atomic(self.folder / LATEST) as temporary, temporary.open("wb") as stream:
            torch.save(state, stream)
            stream.flush()
            digests = {LATEST: [*self._digests.get(LATEST, [])[-1:], of_file(temporary)["sha256"]]}
            for file in (self.weights(state["epoch"]), self.moments(state["epoch"])):
                if file.is_file():
                    digests[file.name] = [of_file(file)["sha256"]]
            self._digests |= digests
            with atomic(self.folder / DIGESTS) as beside:
                beside.write_text(json.dumps(self._digests))

    def _read(self, path: Path) -> Any:
        """What torch.save wrote to a file; None if the file is damaged: it is set aside, and `message` says so.

        A file whose digest was not recorded is of an earlier version, and has the check sums of a zip archive alone.
        """
        try:
            found = of_file(path)["sha256"]
            if found in self._digests[path.name] if path.name in self._digests else intact(path):
                self._digests[path.name] = [found]
                return torch.load(path, map_location="cpu", weights_only=True)
        except Exception:  # an archive that is damaged fails in any way
            pass
        aside = path.with_name(f"{path.name}.damaged")
        os.replace(path, aside)
        self.message = f"{path} is damaged; starting afresh at epoch 1, and keeping it as {aside.name}"
        return None

    def weights(self, epoch: int) -> Path:
        return self.folder / f"epoch{epoch}.pt"

    def moments(self, epoch: int) -> Path:
        return self.folder / f"epoch{epoch}.moments.pt"


def intact(path: Path) -> bool:
    """Whether each part of a zip archive has its CRC-32. Raises any exception if the archive itself is damaged."""
    with zipfile.ZipFile(path) as archive:
        return archive.testzip() is None
