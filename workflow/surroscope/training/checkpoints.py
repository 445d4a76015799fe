"""Checkpoints for resuming, kept apart from the declared outputs so that a killed job loses one epoch at most."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch

from surroscope.runtime.store import Claim, atomic

# Raise it when a saved state changes its meaning: every network is trained again.
FORMAT = 1
LATEST = "latest.pt"
IDENTITY = "identity.json"


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
        if folder.is_dir() and not (recorded.is_file() and recorded.read_text() == text):
            # The identity goes first: a folder without one is never resumed from, wherever the removal stops.
            recorded.unlink(missing_ok=True)
            shutil.rmtree(folder)
            self.message = "the checkpoints are of other settings, data or code; starting afresh at epoch 1"
        if not recorded.is_file():
            with atomic(recorded) as temporary:
                temporary.write_text(text)

    def load(self, needed: list[int]) -> dict[str, Any] | None:
        """The latest state, or None to start afresh: none was saved, a file is damaged, or the weights of an
        epoch in `needed` that is past were not kept."""
        latest = self.folder / LATEST
        if not latest.is_file():
            return None
        if not intact(latest):
            self.message = f"{latest} is damaged; starting afresh at epoch 1"
            return None
        state = torch.load(latest, map_location="cpu", weights_only=True)
        for epoch in needed:
            files = (self.weights(epoch), self.moments(epoch))
            if epoch <= state["epoch"] and not all(map(intact, files)):
                self.message = f"the weights of epoch {epoch} were not kept or are damaged; starting afresh at epoch 1"
                return None
        self.message = f"resuming after epoch {state['epoch']}"
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Make `state` the latest. Raises StaleWriterError if a newer writer has claimed the folder."""
        self.claim.require()
        # To a stream, since torch says what failed in words of its own where it opens the file itself.
        with atomic(self.folder / LATEST) as temporary, temporary.open("wb") as stream:
            torch.save(state, stream)

    def weights(self, epoch: int) -> Path:
        return self.folder / f"epoch{epoch}.pt"

    def moments(self, epoch: int) -> Path:
        return self.folder / f"epoch{epoch}.moments.pt"


def intact(path: Path) -> bool:
    """Whether a file that torch.save wrote is there and whole: it is a zip archive with a CRC-32 for each part."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False
