"""Progress of long work: a bar on a terminal, a line now and then in a log."""

import sys

from tqdm import tqdm


def bar(description: str, total: int, unit: str) -> tqdm:
    """A tqdm bar with rate and ETA; where standard error is a file, it prints at most one line in 10 s."""
    interval = 0.1 if sys.stderr.isatty() else 10.0
    return tqdm(total=total, desc=description, unit=unit, mininterval=interval, file=sys.stderr, dynamic_ncols=True)
