"""Where tensors live, and how many threads work on them."""

import torch


def pick(number: int = 0) -> torch.device:
    """The GPU of this number when there are GPUs; else the CPU with one thread, which keeps sums in one order.

    TensorFloat-32 stays off: its 10-bit mantissa changes gradients far beyond round-off.
    """
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    return torch.device("cuda", number) if torch.cuda.is_available() else torch.device("cpu")
