"""Files of noise, and whether two are the same."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from .program import BenchError

# Bytes read or written at a time. Small, since our own memory is what a child's peak memory begins at.
PIECE = 1 << 20


def write_noise(path: Path, size: int) -> str:
    """Writes random bytes; returns their SHA-256."""
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        while size > 0:
            piece = os.urandom(min(size, PIECE))
            digest.update(piece)
            file.write(piece)
            size -= len(piece)
    return digest.hexdigest()


def require_equal(who: str, result: Path, original: Path) -> None:
    """An error unless a result is the original, byte for byte."""
    if not result.is_file():
        raise BenchError(f"wrong result: {who} left no file at {result}")
    if result.stat().st_size != original.stat().st_size:
        raise BenchError(f"wrong result: {who} fetched {result.stat().st_size} bytes of {original.stat().st_size}")
    with open(result, "rb", buffering=0) as one, open(original, "rb", buffering=0) as other:
        while piece := one.read(PIECE):
            if piece != other.read(len(piece)):
                raise BenchError(f"wrong result: what {who} fetched is not the file that was served")
