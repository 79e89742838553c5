"""Processes that are measured, and a folder for them: both are gone when the bench ends, however it ends."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from .program import BenchError, find_program, signals

# Longer than anything here takes: what hangs is an error, not a long bench.
TIMEOUT = 900.0
# How long a server may take until it is ready, in seconds; hashing a gigabyte is part of it for some.
READY_TIMEOUT = 120.0
# How long a process may take to end when it is asked to, in seconds.
END_TIMEOUT = 15.0
# The time between two looks at a file or process, in seconds.
POLL = 0.005
# Bytes of a failed program's messages that are quoted.
QUOTED = 2000
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """What a process took, from its start to its end."""

    seconds: float
    user: float
    system: float
    # The most memory it had resident, in bytes. See `peak_floor`.
    peak: int

    @property
    def cpu(self) -> float:
        return self.user + self.system

    def then(self, other: Usage) -> Usage:
        """This process and another after it."""
        peak = max(self.peak, other.peak)
        return Usage(self.seconds + other.seconds, self.user + other.user, self.system + other.system, peak)


def peak_floor() -> int:
    """What a child's peak memory can never be below, in bytes: ours, since Linux counts from before the exec."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Process:
    """A running program. Its output goes into files, so that it never waits for a reader."""

    def __init__(self, workspace: Workspace, command: list, cwd: Path):
        self.name = Path(command[0]).name
        self._workspace = workspace
        outputs = [workspace.new_path(f"{self.name}.{stream}") for stream in ("out", "err")]
        self.stdout_path, self.stderr_path = outputs
        with open(outputs[0], "wb") as stdout, open(outputs[1], "wb") as stderr:
            self.started = time.monotonic()
            self._popen = subprocess.Popen(
                [str(word) for word in command],
                cwd=cwd,
                env=workspace.environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        self.pid = self._popen.pid
        self._usage = None
        self.code = None

    @property
    def stdout(self) -> str:
        return self.stdout_path.read_text(errors="replace")

    def poll(self) -> Usage | None:
        """What it took, if it has ended."""
        return self._reap(os.WNOHANG)

    def wait(self, timeout: float = TIMEOUT) -> Usage:
        """Waits for its end; a failure is an error."""
        expired = threading.Event()
        watchdog = threading.Timer(timeout, lambda: (expired.set(), self.kill()))
        watchdog.daemon = True
        watchdog.start()
        try:
            usage = self._reap(0)
        finally:
            watchdog.cancel()
        if expired.is_set():
            raise BenchError(f"{self.name} took more than {timeout:.0f} s{self.quote()}")
        self.check()
        return usage

    def check(self) -> None:
        """An ended process that failed is an error."""
        if self.code != 0:
            raise BenchError(f"{self.name} ended with {self.code}{self.quote()}")

    def line(self, prefix: str) -> str:
        """Waits until it prints a line with this beginning; returns the rest of the line."""
        deadline = time.monotonic() + READY_TIMEOUT
        while True:
            ended = self.poll()
            # Without its last part, which may be half a line.
            for line in self.stdout_path.read_text(errors="replace").split("\n")[:-1]:
                if line.startswith(prefix):
                    return line[len(prefix) :].strip()
            if ended or time.monotonic() > deadline:
                what = f"ended with {self.code}" if ended else "is silent"
                raise BenchError(f"{self.name} {what} before {prefix!r}{self.quote()}")
            time.sleep(POLL)

    def cpu_so_far(self) -> float:
        """CPU seconds until now, in steps of a clock tick."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def end(self, number: int = signal.SIGTERM) -> Usage:
        """Asks it to end, and insists if it does not. How it ends does not matter."""
        deadline = time.monotonic() + END_TIMEOUT
        self.signal(number)
        while (usage := self.poll()) is None:
            if time.monotonic() > deadline:
                self.kill()
                return self._reap(0)
            time.sleep(POLL)
        return usage

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """To it and all that it started."""
        if self.code is None:
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                pass

    def quote(self) -> str:
        """The end of what it said, for an error message."""
        said = (self.stdout_path.read_bytes() + self.stderr_path.read_bytes())[-QUOTED:].decode(errors="replace")
        return f":\n{said.strip()}" if said.strip() else ""

    def _reap(self, options: int) -> Usage | None:
        if self._usage is None:
            pid, status, used = os.wait4(self.pid, options)
            if pid == 0:
                return None
            self.code = os.waitstatus_to_exitcode(status)
            # Popen would wait for it again.
            self._popen.returncode = self.code
            seconds = time.monotonic() - self.started
            self._usage = Usage(seconds, used.ru_utime, used.ru_stime, used.ru_maxrss * 1024)
            self._workspace.forget(self)
        return self._usage


class Workspace:
    """A new folder and the processes that are started for it. At the end of the block both are gone."""

    def __init__(self, parent: Path):
        self._parent = parent
        self._running = []
        self._named = 0

    def __enter__(self) -> Workspace:
        try:
            self.path = Path(tempfile.mkdtemp(prefix="phase-compare-", dir=self._parent))
        except OSError as error:
            raise BenchError(f"no folder can be made in {self._parent}: {error}") from error
        # Nothing of the user's settings decides, and nothing is written to the user's home.
        home = self.path / "home"
        home.mkdir()
        (self.path / "output").mkdir()
        path = os.environ.get("PATH", "/usr/bin:/bin")
        self.environment = {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "PHASE_NO_MDNS": "1"}
        return self

    def __exit__(self, *_) -> None:
        for process in list(self._running):
            process.kill()
        for process in list(self._running):
            process.end()
        shutil.rmtree(self.path, ignore_errors=True)

    def start(self, command: list, cwd: Path | None = None) -> Process:
        """Starts a program."""
        with signals.deferred():
            process = Process(self, command, cwd or self.path)
            self._running.append(process)
        return process

    def run(self, command: list) -> Process:
        """Runs a program to its end; returns the ended process."""
        process = self.start(command)
        process.wait()
        return process

    def forget(self, process: Process) -> None:
        if process in self._running:
            self._running.remove(process)

    def new_path(self, name: str) -> Path:
        """A path for output that no other process has."""
        self._named += 1
        return self.path / "output" / f"{self._named}.{name}"

    def require_room(self, size: int) -> None:
        """An error unless that many bytes fit."""
        free = shutil.disk_usage(self.path).free
        if free < size:
            needed = f"{size >> 20} MiB are needed: choose another --dir, or less"
            raise BenchError(f"{self._parent} has {free >> 20} MiB left, {needed}")


def enter_loopback(argv: list) -> None:
    """Runs this program again in a network namespace that has nothing but loopback, where the machine permits it.

    So ports are always free, and rivals that call home reach nobody. Returns if it is in one already, or cannot.
    """
    if os.environ.get("PHASE_COMPARE_LOOPBACK"):
        return
    unshare, ip = find_program("unshare"), find_program("ip")
    options = ["--net"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--net"]
    os.environ["PHASE_COMPARE_LOOPBACK"] = "own"
    if unshare and ip and subprocess.run([unshare, *options, "true"], stderr=subprocess.DEVNULL).returncode == 0:
        os.execv(unshare, [unshare, *options, "sh", "-c", f'{ip} link set lo up && exec "$@"', "sh", *argv])
    os.environ["PHASE_COMPARE_LOOPBACK"] = "shared"
