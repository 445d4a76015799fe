"""Random draws named by what they are for: every generator is seeded by (study seed, purpose)."""

import hashlib

import numpy as np


def integer(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed that depends on `seed` and on the words of `purpose`, and on nothing else."""
    words = "\x1f".join([str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A NumPy generator for one purpose, for example ``generator(10, "split", "CE-RP")``."""
    return np.random.default_rng(integer(seed, *purpose))
