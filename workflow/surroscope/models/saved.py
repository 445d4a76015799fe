"""What a file of weights looks like before it is read: from its first bytes and its size, without torch."""

import json
import zipfile
from pathlib import Path

from surroscope.errors import UserError


def require_whole(path: Path) -> None:
    """Raise UserError for what never was weights, saying what it looks like, and for what lacks its end."""
    safe = path.suffix == ".safetensors"
    if safe and whole_safetensors(path):
        return  # whose first bytes are a number
    with path.open("rb") as stream:
        start = stream.read(256)
    if start.startswith(b"version https://git-lfs"):
        raise UserError(f"{path}: a pointer of Git LFS, not the file; fetch it by 'git lfs pull'")
    if start.lstrip()[:1] in (b"<", b"{"):
        kind = "a web page" if start.lstrip().startswith(b"<") else "JSON"
        raise UserError(f"{path}: {kind}, not weights; download the file itself")
    if not safe and not start.startswith((b"PK", b"\x80")):
        raise UserError(f"{path}: neither a file of torch.save nor .safetensors; save the network's state_dict()")
    if safe or not (start.startswith(b"\x80") or zipfile.is_zipfile(path)):
        raise UserError(f"{path}: only the first part of a file; fetch it again")


def whole_safetensors(path: Path) -> bool:
    """Whether a file is as long as it says: 8 bytes, the length of a header in JSON, that, and what it lists."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        try:
            header = json.loads(stream.read(min(length, path.stat().st_size)))
            ends = [part["data_offsets"][1] for name, part in header.items() if name != "__metadata__"]
        except (ValueError, LookupError, TypeError, AttributeError):
            return False
    return path.stat().st_size == 8 + length + max(ends, default=0)
