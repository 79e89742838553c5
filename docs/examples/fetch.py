#!/usr/bin/env python3
"""A client of Phase that shares no code with it, written from docs/protocol.md.

It connects to one provider, asks it for the release of a name, verifies the signatures, fetches every artifact and verifies each
chunk before it writes it. What one provider cannot show is left out: the DHT, several peers at once, resuming.

    pip install -r docs/examples/requirements.txt
    python docs/examples/fetch.py --root root.cbor --output boot \\
        /ip4/127.0.0.1/tcp/4001/p2p/12D3KooW… stable/x86_64

Exit codes: 0 done, 1 the provider cannot be reached or does not serve the release, 2 wrong command line, 6 something did not verify.
"""

import argparse
import hashlib
import io
import pathlib
import sys
import time

import blake3
import cbor2
import multiaddr
import nacl.bindings
import nacl.exceptions
import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE, Transport as NoiseTransport

PROTOCOL = "/phase/transfer/1.0.0"
MAX_HEADER, MAX_PAYLOAD, MAX_POINTER, MAX_RANGES = 49152, 1 << 20, 8192, 256
IN_ROOT, IN_LEAF, MAX_CHUNKS = 26208, 26213, 1 << 22
HASHES = {"blake3": (0x1E, lambda b: blake3.blake3(b).digest()), "sha2-256": (0x12, lambda b: hashlib.sha256(b).digest())}
SECONDS_PER_REPLY = 30


class Untrusted(Exception):
    """Bytes that do not verify, or that break a rule of the formats."""


class Refused(Exception):
    """The provider answered a request with a refusal."""


def check(condition, problem):
    if not condition:
        raise Untrusted(problem)


# Canonical DAG-CBOR. A CID is the byte string in tag 42.


def encode(value):
    return cbor2.dumps(value, canonical=True)


def decode(data):
    try:
        stream = io.BytesIO(data)
        value = cbor2.CBORDecoder(stream).decode()
        is_canonical = stream.read() == b"" and encode(value) == data
    except (cbor2.CBORDecodeError, cbor2.CBOREncodeError, ValueError, TypeError, RecursionError) as error:
        raise Untrusted(f"not DAG-CBOR: {error}") from error
    check(is_canonical, "not canonical DAG-CBOR")
    return value


def cid(block, hash_name="blake3"):
    code, digest = HASHES[hash_name]
    return cbor2.CBORTag(42, bytes([0, 1, 0x71, code, 32]) + digest(block))


# Signatures.


def verified(envelope, kind, keys, threshold):
    """Returns the payload of an encoded envelope that `threshold` of `keys` (by key id) have signed as `kind`."""
    envelope = decode(envelope)
    check(set(envelope) == {"payload", "signatures"} and len(envelope["signatures"]) <= 64, "not an envelope")
    payload, prefix = envelope["payload"], f"DSSEv1 {len(kind)} {kind} ".encode()
    message = prefix + f"{len(payload)} ".encode() + payload
    valid = set()
    for signature in envelope["signatures"]:
        key = keys.get(signature["key_id"])
        if key is not None and signature["alg"] == "ed25519" and is_signature(signature["sig"], message, key):
            valid.add(signature["key_id"])
    check(len(valid) >= max(threshold, 1), f"{kind} has {len(valid)} of {threshold} required signatures")
    value = decode(payload)
    check(value["v"] == 1, f"{kind} has the unknown format version {value['v']}")
    return value


def is_signature(signature, message, key):
    try:
        return nacl.bindings.crypto_sign_open(signature + message, key) == message
    except (nacl.exceptions.BadSignatureError, nacl.exceptions.ValueError):
        return False


class Root:
    """The trust root: the keys that may sign each channel."""

    def __init__(self, encoded):
        claimed = decode(decode(encoded)["payload"])
        self.keys = {blake3.blake3(key).digest(): key for key in claimed["keys"]}
        role = claimed["root"]
        self.value = verified(encoded, "phase/root/v1", self.select(role["keys"]), role["threshold"])
        check(self.value["expires_at"] > time.time(), "the trust root has expired")

    def select(self, ids):
        return {key_id: self.keys[key_id] for key_id in ids}

    def verify_release(self, pointer, manifest, name):
        """Returns the manifest if both envelopes are signed by keys of the name's channel and belong together."""
        role = self.value["channels"].get(name["channel"])
        check(role is not None, f"the trust root has no channel {name['channel']}")
        check(len(pointer) <= MAX_POINTER, "the pointer is too large")
        signed_pointer = verified(pointer, "phase/pointer/v1", self.select(role["pointer_keys"]), 1)
        signed = verified(manifest, "phase/manifest/v1", self.select(role["keys"]), role["threshold"])
        found = {"channel": signed["channel"], "arch": signed["arch"]}
        check(signed_pointer["name"] == name and found == name, "the release is for another name")
        check(min(signed_pointer["expires_at"], signed["expires_at"]) > time.time(), "the release has expired")
        points_to = (signed_pointer.get("manifest"), signed_pointer["version"])
        check(points_to == (cid(manifest), signed["version"]), "the pointer leads to another release")
        return signed


# The transfer protocol.


class Provider:
    """A stream to a provider. One request at a time is enough here, so replies need not be sorted by id."""

    def __init__(self, stream):
        self.stream, self.last_id, self.received = stream, 0, b""

    async def request(self, body):
        self.last_id += 1
        header = encode({"id": self.last_id, "body": body})
        await self.stream.write(len(header).to_bytes(4, "big") + header)

    async def reply(self):
        """Returns the body and the payload of the next reply."""
        with trio.fail_after(SECONDS_PER_REPLY):
            length = int.from_bytes(await self.read(4), "big")
            check(1 <= length <= MAX_HEADER, f"a header of {length} bytes")
            header = decode(await self.read(length))
            check(set(header) == {"id", "len", "body"} and header["id"] == self.last_id, "an unexpected reply")
            check(header["len"] <= MAX_PAYLOAD, f"a payload of {header['len']} bytes")
            payload = await self.read(header["len"])
        body = header["body"]
        if isinstance(body, dict) and "refused" in body:
            raise Refused(f"the provider refused: {body['refused']}")
        return body, payload

    async def read(self, length):
        while len(self.received) < length:
            more = await self.stream.read(MAX_PAYLOAD)
            if not more:
                raise ConnectionError("the provider closed the stream")
            self.received += more
        data, self.received = self.received[:length], self.received[length:]
        return data

    async def head(self, name):
        await self.request({"head": {"name": name}})
        body, payload = await self.reply()
        pointer_len = body["head"]["pointer_len"]
        return payload[:pointer_len], payload[pointer_len:]

    async def block(self, wanted, hash_name):
        await self.request({"block": {"cid": wanted}})
        body, block = await self.reply()
        check(body == "block" and cid(block, hash_name) == wanted, "a block that does not match its CID")
        return decode(block)

    async def chunks(self, artifact, start, end):
        """Yields the index and the bytes of each chunk of `start..end`, in the order in which they come."""
        await self.request({"chunks": {"artifact": artifact, "ranges": [[start, end]]}})
        while (reply := await self.reply())[0] != "done":
            chunk = reply[0]["chunk"]
            check(chunk["encoding"] == 0 and start <= chunk["index"] < end, "a chunk that was not requested")
            yield chunk["index"], reply[1]


async def fetch_index(provider, entry):
    """Returns the hash function and the list of `[digest, length]` of an artifact, checked as the document says."""
    hash_name = {code: name for name, (code, _) in HASHES.items()}[entry["cid"].value[3]]
    root = await provider.block(entry["cid"], hash_name)
    count, sizes = root["count"], root["chunker"]
    check((root["v"], root["hash"]) == (1, hash_name) and count <= MAX_CHUNKS, "an index of an unknown format")
    check((root["size"], root["sha256"]) == (entry["size"], entry["sha256"]), "the index is of another artifact")
    if count <= IN_ROOT:
        chunks = root["chunks"]
    else:
        check(len(root["leaves"]) == -(-count // IN_LEAF), "the index has another number of leaves")
        leaves = [await provider.block(leaf, hash_name) for leaf in root["leaves"]]
        check(all(leaf["v"] == 1 and len(leaf["chunks"]) == IN_LEAF for leaf in leaves[:-1]), "a leaf of another length")
        chunks = [chunk for leaf in leaves for chunk in leaf["chunks"]]
    lengths = [length for _, length in chunks]
    check(len(chunks) == count and sum(lengths) == root["size"], "the index contradicts itself")
    check(all(0 < length <= sizes["max"] for length in lengths), "a chunk length that is not permitted")
    check(all(length >= sizes["min"] for length in lengths[:-1]), "a chunk length that is not permitted")
    return HASHES[hash_name][1], chunks


async def fetch_artifact(provider, entry, output):
    digest, chunks = await fetch_index(provider, entry)
    offsets = [0]
    for _, length in chunks:
        offsets.append(offsets[-1] + length)
    path = file_path(output, entry["filename"])
    partial = path.with_name(path.name + ".part")
    missing = set(range(len(chunks)))
    with partial.open("wb") as file:
        for start in range(0, len(chunks), MAX_RANGES):
            async for index, data in provider.chunks(entry["cid"], start, min(start + MAX_RANGES, len(chunks))):
                check([digest(data), len(data)] == chunks[index], f"chunk {index} of {entry['filename']} is corrupt")
                file.seek(offsets[index])
                file.write(data)
                missing.discard(index)
    check(not missing, f"{len(missing)} chunks of {entry['filename']} did not come")
    partial.rename(path)
    print(f"verified {entry['filename']}: {entry['size']} bytes, {len(chunks)} chunks")


def file_path(output, filename):
    parts = filename.split("/")
    check(all(part not in ("", ".", "..") and part.isprintable() for part in parts), f"file name {filename!r}")
    path = output.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def new_client():
    """A libp2p host with an identity of its own, which speaks Noise and yamux."""
    identity = create_new_key_pair()
    noise = NoiseTransport(identity, noise_privkey=create_noise_key_pair().private_key)
    return new_host(key_pair=identity, sec_opt={NOISE: noise}, muxer_preference="YAMUX")


async def fetch(args):
    root = Root(args.root.read_bytes())
    host = new_client()
    async with host.run(listen_addrs=[]):
        with trio.fail_after(SECONDS_PER_REPLY):
            await host.connect(args.address)
            stream = await host.new_stream(args.address.peer_id, [PROTOCOL])
        peer = Provider(stream)
        manifest = root.verify_release(*await peer.head(args.name), args.name)
        print(f"verified {manifest['channel']}/{manifest['arch']}: version {manifest['version']}, {len(manifest['artifacts'])} artifacts")
        for entry in manifest["artifacts"]:
            await fetch_artifact(peer, entry, args.output)
        await stream.close()


def address(text):
    return info_from_p2p_addr(multiaddr.Multiaddr(text))


def name(text):
    channel, slash, arch = text.partition("/")
    if not (channel and slash and arch):
        raise argparse.ArgumentTypeError(f"{text!r} is not channel/architecture")
    return {"channel": channel, "arch": arch}


def parse(arguments):
    parser = argparse.ArgumentParser(description="Fetches one release from one provider.")
    parser.add_argument("address", type=address, help="address of the provider, which ends in /p2p/<peer id>")
    parser.add_argument("name", type=name, help="name of the release, such as stable/x86_64")
    parser.add_argument("--root", type=pathlib.Path, required=True, help="trust root, as `phase root new` writes it")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="folder for the files")
    return parser.parse_args(arguments)


def cause(error):
    """Returns the error inside the groups that trio puts around it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def main():
    args = parse(sys.argv[1:])
    try:
        trio.run(fetch, args)
    except* Untrusted as group:
        sys.exit(failed(6, f"not trusted: {cause(group)}"))
    except* (KeyError, IndexError, TypeError, AttributeError) as group:
        sys.exit(failed(6, f"not trusted: a message has another form than the protocol says: {cause(group)!r}"))
    except* (Refused, OSError, trio.TooSlowError, BaseLibp2pError) as group:
        sys.exit(failed(1, cause(group) or "the provider did not answer in time"))


def failed(code, problem):
    print(f"error: {problem}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
