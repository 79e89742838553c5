"""Machines on one switch, made of network namespaces: each with a link whose sending rate can be limited.

Linux and root are needed. Everything is named after this process and removed at the end of the block.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from .program import BenchError, find_program, tell

PREFIX = "phasecmp"
SUBNET = "10.213.77"
# What a token bucket lets through at once, in bytes: little against seconds of traffic, more than a frame.
BURST = 16 << 10
# The longest that a frame waits in a link's queue, as a home router's would.
QUEUE = "50ms"
# Bytes of a full Ethernet frame, and of TCP's payload in it: IPv4, timestamps.
FRAME, PAYLOAD = 1514, 1448


class Host:
    """A machine."""

    def __init__(self, namespace: str, address: str):
        self.namespace, self.address = namespace, address
        # Put before a command, runs it there, as the same process.
        self.prefix = [find_program("ip"), "netns", "exec", namespace]


class Network:
    """A switch, and hosts at it."""

    def __init__(self):
        self._made = []
        self._name = f"{PREFIX}{os.getpid()}"

    def __enter__(self) -> Network:
        require_means()
        remove_leftovers()
        try:
            self._switch = self._namespace("switch")
            ip("-n", self._switch, "link", "add", "br0", "type", "bridge")
            ip("-n", self._switch, "link", "set", "br0", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        for namespace in self._made:
            subprocess.run([find_program("ip"), "netns", "del", namespace], stderr=subprocess.DEVNULL)

    def host(self, name: str) -> Host:
        """A new machine at the switch. What it sends is not limited yet."""
        number = len(self._made)
        namespace = self._namespace(name)
        ip("-n", self._switch, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        ip("-n", self._switch, "link", "set", name, "master", "br0", "up")
        ip("-n", namespace, "link", "set", "lo", "up")
        ip("-n", namespace, "addr", "add", f"{SUBNET}.{number}/24", "dev", "eth0")
        ip("-n", namespace, "link", "set", "eth0", "up")
        return Host(namespace, f"{SUBNET}.{number}")

    def _namespace(self, name: str) -> str:
        namespace = f"{self._name}-{name}"
        self._made.append(namespace)
        ip("netns", "add", namespace)
        return namespace


def shape(host: Host, megabits: float) -> None:
    """Limits what a host sends, frames with their Ethernet headers, to so many million bits a second."""
    words = [f"{megabits * 1e6:.0f}bit", "burst", str(BURST), "latency", QUEUE]
    call([find_program("tc"), "-n", host.namespace, "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", *words])


def reshape(host: Host, megabits: float) -> None:
    """Changes the limit while frames wait: none of them is lost by that alone."""
    words = [f"{megabits * 1e6:.0f}bit", "burst", str(BURST), "latency", QUEUE]
    call([find_program("tc"), "-n", host.namespace, "qdisc", "change", "dev", "eth0", "root", "tbf", "rate", *words])


def payload_rate(megabits: float) -> float:
    """Bytes a second of TCP payload that fit into a limit."""
    return megabits * 1e6 / 8 * PAYLOAD / FRAME


def ip(*words: str) -> None:
    call([find_program("ip"), *words])


def call(command: list) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise BenchError(f"{' '.join(command)}: {done.stdout.strip()}")


def require_means() -> None:
    """An error unless namespaces can be made and links limited here."""
    if not Path("/proc/self/ns/net").exists() or os.geteuid() != 0:
        raise BenchError("network namespaces are needed: Linux, and root")
    for name in ("ip", "tc"):
        if find_program(name) is None:
            raise BenchError(f"{name} is not installed: apt-get install iproute2")


def remove_leftovers() -> None:
    """Removes the namespaces of runs that were killed: those whose process is gone."""
    listed = subprocess.run([find_program("ip"), "netns", "list"], stdout=subprocess.PIPE, text=True).stdout
    for namespace in (line.split()[0] for line in listed.splitlines() if line.strip()):
        found = re.fullmatch(rf"{PREFIX}(\d+)-.*", namespace)
        if found and not Path(f"/proc/{found[1]}").exists():
            tell(f"removing {namespace}, which an earlier run left")
            ip("netns", "del", namespace)
