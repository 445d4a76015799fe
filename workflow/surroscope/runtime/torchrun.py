"""torchrun with all its options, but ending in one line where a process fails: the process has said why itself."""

import logging
import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

if __name__ == "__main__":
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        run.main()
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        sys.exit(f"error: process {rank} ended with exit code {failure.exitcode}, and the others were ended")
    except SignalException as error:
        sys.exit(f"error: {error}")
