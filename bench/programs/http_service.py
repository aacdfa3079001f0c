"""An HTTP/1.1 service that dies at once on SIGTERM, and works WORK_MS on each request. PORT, VERSION and WORK_MS.

The answer to GET is VERSION, to POST what was sent, after VERSION.
"""

import asyncio
import os

VERSION = os.environ.get("VERSION", "v1").encode()
WORK_S = float(os.environ.get("WORK_MS", "0")) / 1000


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            method, _, rest = (await reader.readuntil(b"\r\n\r\n")).partition(b" ")
            length = next(
                (line[15:] for line in rest.lower().split(b"\r\n") if line.startswith(b"content-length:")), b"0"
            )
            body = await reader.readexactly(int(length))
            if WORK_S and not rest.startswith(b"/healthz"):
                await asyncio.sleep(WORK_S)
            answer = VERSION + b" " + body if method == b"POST" else VERSION
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", int(os.environ["PORT"]), backlog=1024)
    await server.serve_forever()


asyncio.run(main())
