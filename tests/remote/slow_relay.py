"""Leads connections to another address, each byte late: what a round trip to a far machine is.

Arguments: address, port, milliseconds there and back, and the file that gets the port on 127.0.0.1 where it listens.
"""

import asyncio
import sys
from pathlib import Path


async def main() -> None:
    address, port, late_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]) / 2000

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(address, port)
        await asyncio.gather(_late(reader, back, late_s), _late(there, writer, late_s))

    server = await asyncio.start_server(lead, "127.0.0.1", 0)
    ready = Path(sys.argv[4])
    fresh = ready.with_suffix(".new")
    fresh.write_text(str(server.sockets[0].getsockname()[1]))
    fresh.replace(ready)
    await server.serve_forever()


async def _late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, late_s: float) -> None:
    """Bytes in their order, none before its time."""
    loop = asyncio.get_running_loop()
    while data := await reader.read(65536):
        loop.call_later(late_s, writer.write, data)
    loop.call_later(late_s, writer.close)


asyncio.run(main())
