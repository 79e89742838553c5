"""The contenders: Phase, and other programs with which a user might fetch one file from a server.

Each contender has three methods. `missing` returns the reason why the contender cannot run, or None. `serve` starts its
server. `fetch` fetches the file from that server into a folder, and returns the resources that the client used, the
path of the fetched file, and times that the client itself reports.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
from pathlib import Path

from .phase import Phase
from .processes import READY_TIMEOUT, Process, Usage, Workspace
from .program import BenchError, find_program

HOST = "127.0.0.1"

NGINX = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    sendfile on;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {host}:{port}{ssl};
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        root {root};
    }}
}}
"""


class Curl:
    """curl fetches the file from nginx. With `verified`, sha256sum then reads the file again and checks it."""

    def __init__(self, workspace: Workspace, original: Path, sha256: str, scheme: str, verified: bool):
        self.workspace, self.original, self.sha256 = workspace, original, sha256
        self.scheme, self.verified = scheme, verified
        self.name = f"curl, {scheme.upper()}" + (", then sha256sum" if verified else "")
        needed = ["nginx", "curl", *(["openssl"] if scheme == "https" else []), *(["sha256sum"] if verified else [])]
        self._programs = {name: find_program(name) for name in needed}

    def missing(self) -> str | None:
        absent = [name for name, path in self._programs.items() if path is None]
        return f"not installed: {', '.join(absent)}" if absent else None

    def serve(self) -> Process:
        folder = self.workspace.path / "nginx"
        folder.mkdir(exist_ok=True)
        self._certify(folder)
        self.port = free_port()
        ssl = " ssl" if self.scheme == "https" else ""
        text = NGINX.format(folder=folder, root=self.original.parent, host=HOST, port=self.port, ssl=ssl)
        if not ssl:
            text = "\n".join(line for line in text.splitlines() if "ssl_certificate" not in line) + "\n"
        config = folder / "nginx.conf"
        config.write_text(text)
        server = self.workspace.start([self._programs["nginx"], "-p", folder, "-e", "stderr", "-c", config])
        wait_for_port(server, self.port)
        return server

    def fetch(self, folder: Path) -> tuple:
        target = folder / "fetched"
        url = f"{self.scheme}://{HOST}:{self.port}/{self.original.name}"
        options = ["--silent", "--show-error", "--fail", "--insecure", "--output", target]
        usage = self.workspace.start([self._programs["curl"], *options, url]).wait()
        if self.verified:
            check = self.workspace.start([self._programs["sha256sum"], target])
            usage = usage.then(check.wait())
            if check.stdout.split()[0] != self.sha256:
                raise BenchError(f"wrong result: {self.name}: sha256sum printed {check.stdout}")
        return usage, target, {}

    def _certify(self, folder: Path) -> None:
        """Makes a self-signed certificate, unless an earlier round has made it."""
        key, certificate = folder / "key.pem", folder / "certificate.pem"
        if self.scheme == "https" and not certificate.exists():
            options = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
            options += ["-subj", "/CN=localhost", "-keyout", key, "-out", certificate]
            self.workspace.run([self._programs["openssl"], "req", "-x509", *options])


class Sendme:
    """sendme: fetches with iroh-blobs over QUIC and verifies with BLAKE3."""

    name = "sendme"

    def __init__(self, workspace: Workspace, original: Path, path: str | None):
        self.workspace, self.original, self._path = workspace, original, path

    def missing(self) -> str | None:
        return None if self._path else "not installed: cargo install sendme --locked"

    def serve(self) -> Process:
        # Starts sendme in a folder of its own, because it stores the served file in its working directory.
        folder = self.workspace.path / "sendme"
        folder.mkdir(exist_ok=True)
        options = ["--relay", "disabled", "--ticket-type", "addresses"]
        server = self.workspace.start([self._path, "send", *options, self.original], cwd=folder)
        self._ticket = server.line("sendme receive ")
        return server

    def fetch(self, folder: Path) -> tuple:
        fetching = self.workspace.start([self._path, "receive", "--relay", "disabled", self._ticket], cwd=folder)
        return fetching.wait(), folder / self.original.name, {}


class Torrent:
    """libtorrent over plain TCP. It verifies every piece of 1 MiB with SHA-1."""

    name = "libtorrent"
    peer = Path(__file__).with_name("torrent_peer.py")

    def __init__(self, workspace: Workspace, original: Path):
        self.workspace, self.original = workspace, original
        self._torrent = workspace.path / "torrent"
        self._python = next(filter(self._has_libtorrent, {sys.executable: 0, "/usr/bin/python3": 0}), None)

    def _has_libtorrent(self, python: str) -> bool:
        try:
            tried = self.workspace.start([python, "-c", "import libtorrent"])
        except OSError:
            return False
        while tried.poll() is None:
            time.sleep(0.01)
        return tried.code == 0

    def missing(self) -> str | None:
        return None if self._python else "not installed: apt-get install python3-libtorrent, or pip install libtorrent"

    def serve(self) -> Process:
        if not self._torrent.exists():
            self.workspace.run([self._python, self.peer, "make", self.original, self._torrent])
        server = self.workspace.start([self._python, self.peer, "seed", self._torrent, self.original.parent])
        self._port = server.line("listening ")
        return server

    def fetch(self, folder: Path) -> tuple:
        command = [self._python, self.peer, "leech", self._torrent, folder, self._port]
        return self.workspace.start(command).wait(), folder / self.original.name, {}


class PhaseFetch:
    """`phase-client fetch` from `phase-provider serve`, over TCP with TLS. It verifies chunks with BLAKE3.

    With a store, the file is fetched into the store and then exported to the output, so there are two copies. Without
    one, the chunks are written where the file will be used.
    """

    def __init__(self, phase: Phase, store: Path, original: Path, with_store: bool):
        self.phase, self.store, self.original, self.with_store = phase, store, original, with_store
        self.name = "Phase, store and copy" if with_store else "Phase"

    def missing(self) -> str | None:
        return None

    def serve(self) -> Process:
        provider = self.phase.serve(self.store)
        provider.wait_until_announced()
        self._address = provider.address
        return provider.process

    def fetch(self, folder: Path) -> tuple:
        fetch = self.phase.fetch(folder, self._address, with_store=self.with_store)
        usage = fetch.process.wait()
        report = fetch.report()
        inside = {"resolve_seconds": report["resolve_seconds"], "download_seconds": report["seconds"]}
        return usage, fetch.output / self.original.name, inside


def end_server(contender, server: Process) -> Usage:
    """Stops a server with the signal that its user would send."""
    return server.end(signal.SIGINT if isinstance(contender, Sendme) else signal.SIGTERM)


def bare_pipeline(workspace: Workspace, path: str, rounds: int, size: int, folder: Path) -> dict:
    """Runs `side-by-side --json`, which compares the time of Phase's download alone with that of the bare pipeline."""
    options = ["--json", "--rounds", rounds, "--size", size, "--dir", folder]
    return json.loads(workspace.run([path, *options]).stdout)


def free_port() -> int:
    """Returns a free TCP port of the loopback interface."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return listener.getsockname()[1]


def wait_for_port(server: Process, port: int) -> None:
    """Waits until a program listens on the port."""
    deadline = time.monotonic() + READY_TIMEOUT
    while True:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        if server.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"{server.name} does not listen{server.quote()}")
        time.sleep(0.01)
