"""What the real Envoy sends to callees outside the workspace, and to whom it sends nothing."""

import asyncio
import ssl
import time
from pathlib import Path

import pytest
from tests.proxy.lab import Lab, ask, edge, eventually, here, service

from atoll.certificates.pair import stand_in
from atoll.model.traffic import Ack

pytestmark = pytest.mark.e2e


async def test_external_callees_get_their_own_host_and_path_and_nothing_of_ours(lab: Lab) -> None:
    one, by_ip, by_name = await lab.backend("one"), here(), here()
    port = one.address.port
    edges = (
        edge("bank", by_ip, url=f"http://127.0.0.1:{port}/v1"),
        edge("shop", by_name, url=f"http://localhost:{port}"),
    )
    assert await lab.apply(service("web", edges=edges)) == Ack()
    assert (await ask(by_ip, "/pay?x=1")).who == "one"
    assert one.heads[-1].startswith("GET /v1/pay?x=1 ")
    assert f"host: 127.0.0.1:{port}\r\n" in one.heads[-1]
    assert "x-atoll" not in one.heads[-1]

    async def named() -> bool:
        return (await ask(by_name, "/")).who == "one"

    await eventually(named)
    assert f"host: localhost:{port}\r\n" in one.heads[-1]
    assert one.heads[-1].startswith("GET / ")


async def test_an_external_callee_whose_certificate_is_not_trusted_gets_nothing(lab: Lab) -> None:
    plain, port = await lab.backend("plain"), here()
    url = f"https://localhost:{plain.address.port}"
    assert await lab.apply(service("web", edges=(edge("bank", port, url=url),))) == Ack()
    assert (await ask(port)).status == 503
    assert plain.heads == []


async def test_an_external_callee_is_reached_by_tls_when_its_certificate_is_trusted_for_its_name(
    lab: Lab, tmp_path: Path
) -> None:
    trusted = stand_in("localhost", time.time())
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_text(trusted.chain)
    key.write_text(trusted.key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nx-who: bank\r\ncontent-length: 0\r\n\r\n")

    where, good, bad = here(), here(), here()
    server = await asyncio.start_server(serve, where.host, where.port, ssl=context)
    lab.proxy._ca_file = str(certificate)
    edges = (
        edge("bank", good, url=f"https://localhost:{where.port}"),
        edge("other", bad, url=f"https://127.0.0.1:{where.port}"),  # the certificate does not name it
    )
    assert await lab.apply(service("web", edges=edges)) == Ack()

    async def reached() -> bool:
        return (await ask(good)).who == "bank"

    await eventually(reached)
    assert set(names) == {"localhost"}
    assert (await ask(bad)).status == 503
    server.close()
