"""Phase as a user runs it: keys, a published store, providers, a client that fetches from scratch."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from .processes import Process, Workspace
from .program import BenchError, binary

NAME = "bench/any"
LOOPBACK = "/ip4/127.0.0.1/tcp/0"
# What belongs to one node, and not to what is published.
NOT_COPIED = {"identity.key", "peers.toml", "provider.lock", "store.lock", "tmp"}


class Phase:
    """The programs, and one publisher."""

    def __init__(self, workspace: Workspace, bin_dir: Path):
        self.workspace = workspace
        self._phase = binary(bin_dir, "phase")
        self._provider = binary(bin_dir, "phase-provider")
        self._client = binary(bin_dir, "phase-client")
        self._key, self._root = workspace.path / "publisher.key", workspace.path / "root.cbor"
        workspace.run([self._phase, "key", "new", self._key])
        workspace.run([self._phase, "root", "new", "--channel", "bench", "--key", self._key, "-o", self._root])

    def publish(self, store: Path, *content: object) -> None:
        """Publishes into a new store: `content` is `--artifact ROLE:NAME=PATH` or `--dir PATH`."""
        signing = ["--root", self._root, "--key", self._key, "--channel", "bench", "--arch", "any"]
        self.workspace.run([self._phase, "publish", "--quiet", "--store", store, *signing, *content])

    def serve(self, store: Path, listen: str = LOOPBACK, bootstrap: str | None = None, prefix: list = ()) -> Provider:
        """A provider; `prefix` is a command that runs it elsewhere."""
        joining = ["--bootstrap", bootstrap] if bootstrap else []
        command = [*prefix, self._provider, "serve", "--store", store, "--listen", listen, *joining]
        return Provider(self.workspace.start(command))

    def fetch(self, folder: Path, bootstrap: str, listen: str = LOOPBACK, prefix: list = ()) -> Fetch:
        """Starts a client that fetches into a store below `folder`, which has nothing, and exports the files."""
        store, output = folder / "store", folder / "files"
        command = [*prefix, self._client, "fetch", NAME, "--root", self._root, "--json", "--listen", listen]
        command += ["--store", store, "--output", output, "--bootstrap", bootstrap]
        return Fetch(self.workspace.start(command), store, output)


class Provider:
    """A running `phase-provider`."""

    def __init__(self, process: Process):
        self.process = process
        process.line("serving ")
        self.address = process.line("listening ")

    def wait_until_announced(self) -> None:
        """Until it has told the network of everything in its store."""
        self.process.line("announced ")


class Fetch:
    """A running `phase-client fetch`."""

    def __init__(self, process: Process, store: Path, output: Path):
        self.process = process
        self.output = output
        self._artifacts = store / "artifacts"

    def report(self) -> dict:
        """What it says at its end, with `--json`."""
        try:
            return json.loads(self.process.stdout)
        except ValueError as error:
            raise BenchError(f"phase-client printed no JSON document{self.process.quote()}") from error

    def bytes_on_disk(self) -> int:
        """About how much of its artifact is written: the blocks of the file that is being put together."""
        try:
            with os.scandir(self._artifacts) as entries:
                return sum(entry.stat().st_blocks * 512 for entry in entries if entry.name.endswith(".part"))
        except FileNotFoundError:
            return 0


def copy_store(source: Path, target: Path) -> None:
    """A second store with the same content, for a node of its own. Whole artifacts are linked: they never change."""
    link = shutil.ignore_patterns(*NOT_COPIED)
    shutil.copytree(source, target, ignore=link, copy_function=_copy_or_link)


def _copy_or_link(source: str, target: str) -> None:
    if Path(source).parent.name == "artifacts":
        os.link(source, target)
    else:
        shutil.copy2(source, target)
