"""Progress of long work: a bar on a terminal, a line now and then in a log."""

import sys

from tqdm import tqdm

LOG_INTERVAL = 10.0


class _Lines:
    """Standard error with a new line where a terminal's bar would be drawn over."""

    def write(self, text: str) -> None:
        sys.stderr.write(text.replace("\r", "\n"))

    def flush(self) -> None:
        sys.stderr.flush()


def bar(description: str, total: int, unit: str) -> tqdm:
    """A tqdm bar with rate and ETA; where standard error is a file, it prints at most one line in 10 s."""
    if sys.stderr.isatty():
        return tqdm(total=total, desc=description, unit=unit, dynamic_ncols=True)
    return tqdm(
        total=total, desc=description, unit=unit, mininterval=LOG_INTERVAL, file=_Lines(), ncols=100, ascii=True
    )
