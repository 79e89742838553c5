"""How a bench begins and ends: options, signals, exit codes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

MIB = 1 << 20
GIB = 1 << 30

# Exit codes.
NOT_HELD = 1
FAILED = 2

UNITS = {"": 1, "b": 1, "k": 1 << 10, "kib": 1 << 10, "m": MIB, "mib": MIB, "g": GIB, "gib": GIB}
REPOSITORY = Path(__file__).resolve().parents[3]


class BenchError(Exception):
    """Why a bench cannot go on: a wrong result, a program that failed or is missing."""


class Stopped(BaseException):
    """A signal asked for the end."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


class Signals:
    """What signals do to this process: end it, but not between the start of something and the note to clean it up."""

    HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self):
        self._deferring = False
        self._pending = None

    def install(self) -> None:
        for number in self.HANDLED:
            signal.signal(number, self._stop)

    @contextmanager
    def deferred(self):
        """Within this block a signal waits for its end. Blocks are not nested."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
        if self._pending is not None:
            raise Stopped(self._pending)

    def _stop(self, number, _frame) -> None:
        # Once is enough: whoever is impatient must not interrupt the cleaning up.
        for again in self.HANDLED:
            signal.signal(again, signal.SIG_IGN)
        if self._deferring:
            self._pending = number
        else:
            raise Stopped(number)


signals = Signals()


def run(main) -> None:
    """Runs `main`, which returns whether every promise held, and exits with the code for it.

    SIGINT, SIGTERM and SIGHUP end it as an exception does, so that everything is cleaned up.
    """
    signals.install()
    try:
        code = 0 if main() else NOT_HELD
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        code = FAILED
    except Stopped as stopped:
        print("stopped by a signal", file=sys.stderr)
        code = 128 + stopped.number
    sys.exit(code)


def add_common_options(parser, rounds: int) -> None:
    """The options of every bench."""
    parser.add_argument("--rounds", type=positive, default=rounds, help=f"how often each is measured; default {rounds}")
    parser.add_argument(
        "--dir", type=Path, default=Path("/dev/shm"), help="where files are kept; a tmpfs, or the disk decides"
    )
    parser.add_argument("--bin-dir", type=Path, default=default_bin_dir(), help="where the release binaries are")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")


def default_bin_dir() -> Path:
    """Where `cargo build --release` puts binaries."""
    return Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "release"


def positive(text: str) -> int:
    """A number of rounds, from 1 on; for argparse."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def size(text: str) -> int:
    """A number of bytes such as 1GiB or 64MiB; for argparse."""
    found = re.fullmatch(r"(\d+)\s*([a-z]*)", text.strip().lower())
    if not found or found[2] not in UNITS or int(found[1]) == 0:
        raise ValueError
    return int(found[1]) * UNITS[found[2]]


def size_text(size: int) -> str:
    """1 GiB, 64 MiB, 12345 bytes."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"


def find_program(name: str) -> str | None:
    """The path of an installed program. Those of administrators are often missing in PATH."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin")


def binary(folder: Path, name: str) -> str:
    """The path of one of our own binaries."""
    path = folder / name
    if not os.access(path, os.X_OK):
        raise BenchError(f"{path} is not there: cargo build --release --workspace --bins, or give --bin-dir")
    return str(path.resolve())


def tell(text: str) -> None:
    """One line about what goes on."""
    print(text, file=sys.stderr, flush=True)
