"""Plays a machine whose resolver is a stub on 127.0.0.99, and asks it for a name from inside a replica's network.

Run in a mount namespace of its own, with the resolv.conf to use. Prints the answer, and a word that its file kept.
"""

import os
import signal
import socket
import struct
import subprocess
import sys
import threading

from atoll.keeper import network
from atoll.keeper.client import proc
from atoll.keeper.shim import be_subreaper


def answer(server: socket.socket) -> None:
    """Every name is 203.0.113.7; other questions have no answer."""
    while True:
        asked, whom = server.recvfrom(512)
        end = asked.index(b"\0", 12) + 5
        found = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + bytes([203, 0, 113, 7])
        count = int(asked[end - 4 : end - 2] == b"\0\x01")
        head = asked[:2] + b"\x81\x80" + asked[4:6] + struct.pack(">HHH", count, 0, 0)
        server.sendto(head + asked[12:end] + found * count, whom)


def main() -> None:
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "--bind", sys.argv[1], "/etc/resolv.conf"], check=True)
    be_subreaper("stub")
    ready, told = os.pipe()
    replica = os.fork()
    if replica == 0:
        network.leave()
        os.write(told, b"+")
        signal.pause()
    os.read(ready, 1)
    asker = os.fork()
    if asker == 0:
        os.read(ready, 1)
        network.enter(replica, proc.start_of(replica))
        with open("/etc/resolv.conf", encoding="utf-8") as file:
            print(socket.gethostbyname("db.example.test"), file.read().split()[2], flush=True)
        os._exit(0)
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.99", 53))
    threading.Thread(target=answer, args=(server,), daemon=True).start()
    forwarder = network.Forwarder({"inward": [], "outward": []})
    try:
        forwarder.start(replica)
        os.write(told, b"+")
        os.waitpid(asker, 0)
    finally:
        forwarder.end()
        os.kill(replica, signal.SIGKILL)


if __name__ == "__main__":
    main()
