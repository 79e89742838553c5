"""Command-line options, signals and exit codes of the benches."""

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

# The exit code if a promise did not hold.
NOT_HELD = 1
# The exit code after a wrong result or a failure.
FAILED = 2

UNITS = {"": 1, "b": 1, "k": 1 << 10, "kib": 1 << 10, "m": MIB, "mib": MIB, "g": GIB, "gib": GIB}
REPOSITORY = Path(__file__).resolve().parents[3]


class BenchError(Exception):
    """An error that ends a bench: a wrong result, or a program that failed or is missing."""


class Stopped(BaseException):
    """A signal asked the bench to stop."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


class Signals:
    """Turns signals into the exception `Stopped`. Defers a signal that arrives while a process is being started."""

    HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self):
        self._deferring = False
        self._pending = None

    def install(self) -> None:
        for number in self.HANDLED:
            signal.signal(number, self._stop)

    @contextmanager
    def deferred(self):
        """A context in which signals are deferred until its end. Such contexts must not be nested."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
        if self._pending is not None:
            raise Stopped(self._pending)

    def _stop(self, number, _frame) -> None:
        # Ignores further signals, so that they do not interrupt the removal of files and processes.
        for again in self.HANDLED:
            signal.signal(again, signal.SIG_IGN)
        if self._deferring:
            self._pending = number
        else:
            raise Stopped(number)


signals = Signals()


def run(main) -> None:
    """Runs `main`, which returns whether every promise held, and exits with the corresponding exit code.

    SIGINT, SIGTERM and SIGHUP raise an exception, so that the `with` blocks of `main` still remove everything.
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
    """Adds the options of every bench."""
    parser.add_argument("--rounds", type=positive, default=rounds, help=f"runs of each contender; default {rounds}")
    parser.add_argument(
        "--dir",
        type=Path,
        default=Path("/dev/shm"),
        help="folder for files; should be a tmpfs, because a disk would limit the speed",
    )
    parser.add_argument("--bin-dir", type=Path, default=default_bin_dir(), help="the folder with the release binaries")
    parser.add_argument("--json", action="store_true", help="print a JSON object instead of tables")


def default_bin_dir() -> Path:
    """Returns the folder in which `cargo build --release` stores the binaries."""
    return Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "release"


def positive(text: str) -> int:
    """Parses an integer of at least 1, for argparse."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def size(text: str) -> int:
    """Parses a number of bytes such as 1GiB or 64MiB, for argparse."""
    found = re.fullmatch(r"(\d+)\s*([a-z]*)", text.strip().lower())
    if not found or found[2] not in UNITS or int(found[1]) == 0:
        raise ValueError
    return int(found[1]) * UNITS[found[2]]


def size_text(size: int) -> str:
    """Formats a number of bytes, such as 1 GiB, 64 MiB or 12345 bytes."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"


def find_program(name: str) -> str | None:
    """Returns the path of an installed program. Also looks in the sbin folders, which PATH often lacks."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin")


def binary(folder: Path, name: str) -> str:
    """Returns the path of one of Phase's binaries."""
    path = folder / name
    if not os.access(path, os.X_OK):
        raise BenchError(f"{path} is missing: run cargo build --release --workspace --bins, or give --bin-dir")
    return str(path.resolve())


def log(text: str) -> None:
    """Prints a progress line to standard error."""
    print(text, file=sys.stderr, flush=True)
