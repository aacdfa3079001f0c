"""Runs in the containers of test_docker_reach.py, with the standard library: HTTP on 8080, lines of TCP on 8081.

GET /sleep/SECONDS, /status/N, else its host name; an upgrade is answered and echoed in capitals, as are lines.
"""

import asyncio
import socket


async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode():
            what, _, value = head.split()[1].lstrip("/").partition("/")
            if "upgrade: websocket" in head.lower():
                writer.write(b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
                return await echo(reader, writer)
            if what == "sleep":
                await asyncio.sleep(float(value))
            status, text = value if what == "status" else "200", socket.gethostname()
            writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode())
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data.upper())
    writer.close()


async def main() -> None:
    servers = [await asyncio.start_server(http, "0.0.0.0", 8080), await asyncio.start_server(echo, "0.0.0.0", 8081)]
    await asyncio.gather(*(server.serve_forever() for server in servers))


asyncio.run(main())
