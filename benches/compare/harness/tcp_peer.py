"""One side of a plain TCP transfer, a program of its own: what a link carries with nothing else in the way.

tcp_peer.py send ADDRESS PORT BYTES   serves that many zeros to one peer; prints "listening"
tcp_peer.py take ADDRESS PORT         takes everything; prints "took BYTES SECONDS"
"""

import socket
import sys
import time

PIECE = 256 << 10


def send(address, port, size):
    zeros, left = memoryview(bytes(PIECE)), int(size)
    with socket.create_server((address, int(port))) as listener:
        print("listening", flush=True)
        with listener.accept()[0] as stream:
            while left > 0:
                left -= stream.send(zeros[: min(left, PIECE)])


def take(address, port):
    buffer, total = bytearray(PIECE), 0
    started = time.monotonic()
    with socket.create_connection((address, int(port))) as stream:
        while read := stream.recv_into(buffer):
            total += read
    print("took", total, time.monotonic() - started, flush=True)


if __name__ == "__main__":
    {"send": send, "take": take}[sys.argv[1]](*sys.argv[2:])
