"""Runs and measures processes in a temporary folder. However the bench ends, no process and no folder is left."""

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

# The timeout of a process, in seconds, so that a process that hangs becomes an error.
TIMEOUT = 900.0
# The timeout for a server to become ready, in seconds. Some servers first hash a gigabyte.
READY_TIMEOUT = 120.0
# The time in which a process must exit after a signal, in seconds.
END_TIMEOUT = 15.0
# The time between two checks of a file or process, in seconds.
POLL = 0.005
# The number of bytes of a failed program's output that an error message quotes.
QUOTED = 2000
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """The resources that a process used from its start to its end."""

    seconds: float
    user: float
    system: float
    # The peak resident memory in bytes. No value below `peak_floor` can be measured.
    peak: int

    @property
    def cpu(self) -> float:
        return self.user + self.system

    def then(self, other: Usage) -> Usage:
        """Returns the total usage of this process and of another process that ran after it."""
        peak = max(self.peak, other.peak)
        return Usage(self.seconds + other.seconds, self.user + other.user, self.system + other.system, peak)


def peak_floor() -> int:
    """Returns the lowest peak memory, in bytes, that Linux can report for a child.

    Linux includes the memory that the child has before the exec. It is the same as the memory of this process.
    """
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Process:
    """A running program. Its output is written to files, so that the program never waits for a reader."""

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
        """Returns the usage of the process if it has ended, otherwise None."""
        return self._reap(os.WNOHANG)

    def wait(self, timeout: float = TIMEOUT) -> Usage:
        """Waits until the process ends and returns its usage. Raises an error if it fails or takes too long."""
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
        """Raises an error if the exit code of the ended process is not 0."""
        if self.code != 0:
            raise BenchError(f"{self.name} ended with exit code {self.code}{self.quote()}")

    def line(self, prefix: str) -> str:
        """Waits for a line that begins with `prefix` and returns the rest of the line."""
        deadline = time.monotonic() + READY_TIMEOUT
        while True:
            ended = self.poll()
            # Ignores the text after the last line break, because it may be an incomplete line.
            for line in self.stdout_path.read_text(errors="replace").split("\n")[:-1]:
                if line.startswith(prefix):
                    return line[len(prefix) :].strip()
            if ended or time.monotonic() > deadline:
                what = f"ended with {self.code}" if ended else "printed nothing more"
                raise BenchError(f"{self.name} {what} before {prefix!r}{self.quote()}")
            time.sleep(POLL)

    def cpu_so_far(self) -> float:
        """Returns the CPU seconds of the process so far. The resolution is one clock tick."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def end(self, number: int = signal.SIGTERM) -> Usage:
        """Ends the process with a signal, and after a timeout with SIGKILL. Ignores its exit code."""
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
        """Sends a signal to the process and to the processes that it started."""
        if self.code is None:
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                pass

    def quote(self) -> str:
        """Returns the end of the output of the process, for an error message."""
        output = (self.stdout_path.read_bytes() + self.stderr_path.read_bytes())[-QUOTED:].decode(errors="replace")
        return f":\n{output.strip()}" if output.strip() else ""

    def _reap(self, options: int) -> Usage | None:
        if self._usage is None:
            pid, status, used = os.wait4(self.pid, options)
            if pid == 0:
                return None
            self.code = os.waitstatus_to_exitcode(status)
            # Sets the exit code, because Popen would otherwise wait for the process again.
            self._popen.returncode = self.code
            seconds = time.monotonic() - self.started
            self._usage = Usage(seconds, used.ru_utime, used.ru_stime, used.ru_maxrss * 1024)
            self._workspace.forget(self)
        return self._usage


class Workspace:
    """A new folder, and the processes that run in it. The end of the `with` block kills them and removes the folder."""

    def __init__(self, parent: Path):
        self._parent = parent
        self._running = []
        self._named = 0

    def __enter__(self) -> Workspace:
        try:
            self.path = Path(tempfile.mkdtemp(prefix="phase-compare-", dir=self._parent))
        except OSError as error:
            raise BenchError(f"cannot create a folder in {self._parent}: {error}") from error
        # A new home folder, so that the user's settings have no influence and nothing is written to the user's home.
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
        """Runs a program to its end and returns the ended process."""
        process = self.start(command)
        process.wait()
        return process

    def forget(self, process: Process) -> None:
        if process in self._running:
            self._running.remove(process)

    def new_path(self, name: str) -> Path:
        """Returns a new path for the output of a process."""
        self._named += 1
        return self.path / "output" / f"{self._named}.{name}"

    def require_room(self, size: int) -> None:
        """Raises an error if fewer than `size` bytes of disk space are free."""
        free = shutil.disk_usage(self.path).free
        if free < size:
            needed = f"{size >> 20} MiB are needed: choose another --dir, or a smaller size"
            raise BenchError(f"{self._parent} has {free >> 20} MiB of free space, {needed}")


def enter_loopback(argv: list) -> None:
    """Starts this program again in a network namespace that contains only loopback, if the machine permits it.

    In the namespace all ports are free, and no contender can reach the internet. The function returns only if this
    process is the one that was started again, or if the machine does not permit a namespace.
    """
    if os.environ.get("PHASE_COMPARE_LOOPBACK"):
        return
    unshare, ip = find_program("unshare"), find_program("ip")
    options = ["--net"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--net"]
    os.environ["PHASE_COMPARE_LOOPBACK"] = "own"
    if unshare and ip and subprocess.run([unshare, *options, "true"], stderr=subprocess.DEVNULL).returncode == 0:
        os.execv(unshare, [unshare, *options, "sh", "-c", f'{ip} link set lo up && exec "$@"', "sh", *argv])
    os.environ["PHASE_COMPARE_LOOPBACK"] = "shared"
