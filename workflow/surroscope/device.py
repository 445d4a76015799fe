"""Where tensors live, and how many threads work on them."""

import torch


def pick() -> torch.device:
    """A GPU when there is one; else the CPU with one thread, which keeps sums in one order.

    TensorFloat-32 stays off: its 10-bit mantissa changes gradients far beyond round-off.
    """
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
