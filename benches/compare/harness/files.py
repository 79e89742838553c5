"""Makes files of random bytes, and compares files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from .program import BenchError

# The number of bytes that are read or written at a time. It is small, because the peak memory that Linux reports for a
# child process is never below the memory of this process.
PIECE = 1 << 20


def write_noise(path: Path, size: int) -> str:
    """Writes random bytes to a file and returns their SHA-256."""
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        while size > 0:
            piece = os.urandom(min(size, PIECE))
            digest.update(piece)
            file.write(piece)
            size -= len(piece)
    return digest.hexdigest()


def require_equal(contender: str, result: Path, original: Path) -> None:
    """Raises an error if the file `result` differs from the original."""
    if not result.is_file():
        raise BenchError(f"wrong result: {contender} wrote no file at {result}")
    if result.stat().st_size != original.stat().st_size:
        sizes = f"{result.stat().st_size} bytes of {original.stat().st_size}"
        raise BenchError(f"wrong result: {contender} fetched {sizes}")
    with open(result, "rb", buffering=0) as one, open(original, "rb", buffering=0) as other:
        while piece := one.read(PIECE):
            if piece != other.read(len(piece)):
                raise BenchError(f"wrong result: the file fetched by {contender} differs from the served one")
