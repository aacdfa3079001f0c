"""An HTTP/1.1 service that dies at once on SIGTERM, and works on each request. PORT, VERSION and what follows.

The answer to GET is VERSION, to POST what was sent, after VERSION. WORK_MS is how long it takes, SPREAD the sigma of a
log-normal distribution around that, FAIL_SHARE (0 to 1) how many answers are a 500. Its health is always fine.
"""

import asyncio
import os
import random

VERSION = os.environ.get("VERSION", "v1").encode()
WORK_S = float(os.environ.get("WORK_MS", "0")) / 1000
SPREAD = float(os.environ.get("SPREAD", "0"))
FAIL_SHARE = float(os.environ.get("FAIL_SHARE", "0"))


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            method, _, rest = (await reader.readuntil(b"\r\n\r\n")).partition(b" ")
            length = next(
                (line[15:] for line in rest.lower().split(b"\r\n") if line.startswith(b"content-length:")), b"0"
            )
            body = await reader.readexactly(int(length))
            work = not rest.startswith(b"/healthz")
            if work and WORK_S:
                await asyncio.sleep(WORK_S * random.lognormvariate(0, SPREAD) if SPREAD else WORK_S)
            status = b"500 Failed" if work and random.random() < FAIL_SHARE else b"200 OK"
            answer = VERSION + b" " + body if method == b"POST" else VERSION
            writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(answer), answer))
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", int(os.environ["PORT"]), backlog=1024)
    await server.serve_forever()


asyncio.run(main())
