"""An HTTP/1.1 service for containers: on SIGTERM it accepts nothing more, finishes what it has begun, and ends.

Listens on HOST and PORT. The answer is `VERSION INSTANCE` after WORK_MS; each process is another instance. Its health is
always fine.
"""

import asyncio
import os
import secrets
import signal

ANSWER = f"{os.environ['VERSION']} {secrets.token_hex(4)}".encode()
WORK_S = float(os.environ["WORK_MS"]) / 1000
ENDING = asyncio.Event()
WITHIN_S = 2.0
busy = 0


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    global busy
    try:
        while not ENDING.is_set():
            head = await reader.readuntil(b"\r\n\r\n")
            busy += 1
            if not head.startswith(b"GET /healthz"):
                await asyncio.sleep(WORK_S)
            last = b"Connection: close\r\n" if ENDING.is_set() else b""
            writer.write(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (last, len(ANSWER), ANSWER))
            await writer.drain()
            busy -= 1
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main() -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ENDING.set)
    server = await asyncio.start_server(serve, os.environ["HOST"], int(os.environ["PORT"]), backlog=1024)
    await ENDING.wait()
    server.close()
    for _ in range(int(WITHIN_S / 0.01)):
        await asyncio.sleep(0.01)  # at least one, for a request that has just arrived
        if busy <= 0:
            break


asyncio.run(main())
