"""Runs Phase as a user would: creates keys, publishes a release, starts providers, and fetches into an empty store."""

from __future__ import annotations

import json
from pathlib import Path

from .processes import Process, Workspace
from .program import BenchError, binary

NAME = "bench/any"
LOOPBACK = "/ip4/127.0.0.1/tcp/0"


class Phase:
    """The programs of Phase, with the key and trust root of one publisher."""

    def __init__(self, workspace: Workspace, bin_dir: Path):
        self.workspace = workspace
        self._phase = binary(bin_dir, "phase")
        self._provider = binary(bin_dir, "phase-provider")
        self._client = binary(bin_dir, "phase-client")
        self._key, self._root = workspace.path / "publisher.key", workspace.path / "root.cbor"
        workspace.run([self._phase, "key", "new", self._key])
        workspace.run([self._phase, "root", "new", "--channel", "bench", "--key", self._key, "-o", self._root])

    def publish(self, store: Path, *content: object) -> None:
        """Publishes a release into a new store. `content` is `--artifact ROLE:NAME=PATH` or `--dir PATH`."""
        signing = ["--root", self._root, "--key", self._key, "--channel", "bench", "--arch", "any"]
        self.workspace.run([self._phase, "publish", "--quiet", "--store", store, *signing, *content])

    def serve(self, store: Path) -> Provider:
        """Starts a provider of a store."""
        return Provider(self.workspace.start([self._provider, "serve", "--store", store, "--listen", LOOPBACK]))

    def fetch(self, folder: Path, bootstrap: str, with_store: bool = True) -> Fetch:
        """Starts a client that fetches into an empty store below `folder` and exports the files, or that keeps no store."""
        store, output = folder / "store", folder / "files"
        command = [self._client, "fetch", NAME, "--root", self._root, "--json"]
        command += ["--listen", LOOPBACK, "--store", store] if with_store else ["--ephemeral"]
        command += ["--output", output, "--bootstrap", bootstrap]
        return Fetch(self.workspace.start(command), output)


class Provider:
    """A running `phase-provider`."""

    def __init__(self, process: Process):
        self.process = process
        process.line("serving ")
        self.address = process.line("listening ")

    def wait_until_announced(self) -> None:
        """Waits until the provider has announced all releases in its store."""
        self.process.line("announced ")


class Fetch:
    """A running `phase-client fetch`."""

    def __init__(self, process: Process, output: Path):
        self.process = process
        self.output = output

    def report(self) -> dict:
        """Returns the JSON report that the client prints before it exits."""
        try:
            return json.loads(self.process.stdout)
        except ValueError as error:
            raise BenchError(f"phase-client did not print a JSON object{self.process.quote()}") from error
