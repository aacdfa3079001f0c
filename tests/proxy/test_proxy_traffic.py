"""What the real Envoy does with requests under a table."""

import asyncio
import contextlib
from collections import Counter

import pytest
from tests.proxy.lab import Lab, Silent, ask, edge, eventually, here, route, service, upstream

from atoll.model.state import Address
from atoll.model.traffic import Ack

pytestmark = pytest.mark.e2e


async def many(where: Address, count: int, path: str = "/", **more: str) -> Counter[str]:
    return Counter([(await ask(where, path, **more)).who for _ in range(count)])


# --- where requests go ------------------------------------------------------------------------------------------------


async def test_weights_share_requests_between_releases_on_edges_and_at_the_gateway(lab: Lab) -> None:
    one, two, port = await lab.backend("one"), await lab.backend("two"), here()
    both = (upstream(1, one.address), upstream(2, two.address))
    await lab.apply(
        service("web", edges=(edge("orders", port),)),
        service("orders", *both, weights={1: 70, 2: 30}, routes=(route(releases=(1, 2)),)),
    )
    for where in (port, lab.gateway):
        seen = await many(where, 200)
        assert 100 < seen["one"] < 175
        assert seen["one"] + seen["two"] == 200
    await lab.apply(service("orders", *both, weights={1: 0, 2: 100}, routes=(route(releases=(1, 2)),)))
    assert await many(port, 20) == {"two": 20}
    assert await many(lab.gateway, 20) == {"two": 20}


async def test_a_path_that_one_release_alone_declares_goes_there(lab: Lab) -> None:
    one, two = await lab.backend("one"), await lab.backend("two")
    routes = (route("/", releases=(1, 2)), route("/new", releases=(2,)))
    await lab.apply(
        service("web", upstream(1, one.address), upstream(2, two.address), weights={1: 100, 2: 0}, routes=routes)
    )
    assert await many(lab.gateway, 10) == {"one": 10}
    assert await many(lab.gateway, 10, "/new") == {"two": 10}


async def test_paths_match_by_segment_the_longest_first_and_hosts_before_none(lab: Lab) -> None:
    names = ("root", "orders", "deep", "host", "strip")
    of = {name: await lab.backend(name) for name in names}
    routes = {
        "root": route("/"),
        "orders": route("/orders"),
        "deep": route("/orders/deep/"),
        "host": route("/", host="api.example"),
        "strip": route("/api", strip=True),
    }
    await lab.apply(*(service(name, upstream(1, of[name].address), routes=(routes[name],)) for name in names))
    expected = {
        "/": "root",
        "/orders": "orders",
        "/orders?a=1": "orders",
        "/orders/": "orders",
        "/orders/5": "orders",
        "/ordersx": "root",
        "/orders/deep": "deep",
        "/orders/deep/er": "deep",
        "/x/../orders/5": "orders",
    }
    assert {path: (await ask(lab.gateway, path)).who for path in expected} == expected
    assert (await ask(lab.gateway, "/orders", host="API.example:8080")).who == "host"
    for path, seen in {"/api": "/", "/api/": "/", "/api/x?y=/api": "/x?y=/api"}.items():
        assert (await ask(lab.gateway, path)).who == "strip"
        assert of["strip"].heads[-1].split()[1] == seen


async def test_who_cannot_be_served_is_told_why(lab: Lab) -> None:
    one, ports = await lab.backend("one"), [here() for _ in range(3)]
    await lab.apply(
        service("web", edges=(edge("nobody", ports[0]), edge("down", ports[1]), edge("empty", ports[2]))),
        service("down", upstream(1, one.address), weights={1: 0}, routes=(route("/down"),)),
        service("empty", upstream(1)),
    )
    assert b'there is no service "nobody"' in (await ask(ports[0])).body
    assert b'no release of "down" takes requests' in (await ask(ports[1])).body
    assert [(await ask(port)).status for port in ports] == [503, 503, 503]
    assert (await ask(lab.gateway, "/down")).status == 503
    unknown = await ask(lab.gateway, "/nowhere")
    assert unknown.status == 404
    assert b"no service has a route" in unknown.body


async def test_requests_in_flight_finish_while_their_endpoint_drains(lab: Lab) -> None:
    one, two, port = await lab.backend("one"), await lab.backend("two"), here()
    await lab.apply(
        service("web", edges=(edge("orders", port),)),
        service("orders", upstream(1, one.address), routes=(route(),)),
    )
    slow = [asyncio.create_task(ask(where, "/wait")) for where in (port, lab.gateway, lab.gateway)]

    async def inflight(where: Address) -> int:
        found = await lab.proxy.inflight([where])
        assert found is not None
        return found[where]

    async def three() -> bool:
        return await inflight(one.address) == 3

    async def none() -> bool:
        return await inflight(one.address) == 0

    await eventually(three)
    draining = upstream(1, one.address, two.address, draining=(one.address,))
    await lab.apply(service("orders", draining, routes=(route(),)))
    assert await many(port, 5) == {"two": 5}
    assert await inflight(one.address) == 3
    one.go.set()
    assert [(await task).status for task in slow] == [200, 200, 200]
    await eventually(none)
    await lab.kill_envoy()
    assert await lab.proxy.inflight([one.address]) is None


# --- headers ----------------------------------------------------------------------------------------------------------


async def test_clients_cannot_steer_envoy_by_headers_nor_pose_as_another_service(lab: Lab) -> None:
    one, port = await lab.backend("one"), here()
    one.delay_s = 0.3
    await lab.apply(
        service("web", edges=(edge("orders", port),)),
        service("orders", upstream(1, one.address), routes=(route(),)),
    )
    steer = {"x_envoy_upstream_rq_timeout_ms": "50", "x_envoy_max_retries": "9", "x_atoll_caller": "bank"}
    for where in (lab.gateway, port):
        assert (await ask(where, **steer)).status == 200
    gateway, edge_head = (head.lower() for head in one.heads)
    assert "x-envoy-" not in gateway.replace("x-envoy-external-address", "")
    assert "x-envoy-" not in edge_head
    assert "x-atoll-caller" not in gateway
    assert "x-atoll-caller: web\r\n" in edge_head
    assert "bank" not in edge_head


async def test_a_request_id_is_kept_and_answers_are_left_as_they_are(lab: Lab) -> None:
    one, port = await lab.backend("one"), here()
    await lab.apply(
        service("web", edges=(edge("orders", port),)),
        service("orders", upstream(1, one.address), routes=(route(),)),
    )
    for where in (lab.gateway, port):
        reply = await ask(where, x_request_id="my-own-id")
        assert "x-request-id: my-own-id\r\n" in one.heads[-1]
        assert reply.headers["server"] == "mine"
        assert not [name for name in reply.headers if name.startswith("x-envoy")]


async def test_a_body_over_the_limit_is_refused(lab: Lab) -> None:
    one = await lab.backend("one")
    await lab.apply(service("web", upstream(1, one.address), routes=(route(max_body_bytes=1000),)))
    assert (await ask(lab.gateway, "/echo", method="POST", body=b"x" * 1000)).body == b"x" * 1000
    assert (await ask(lab.gateway, "/echo", method="POST", body=b"x" * 1001)).status == 413


# --- time-outs, streams, upgrades -------------------------------------------------------------------------------------


async def test_an_ordinary_request_is_cut_at_its_time_out_but_event_streams_go_on(lab: Lab) -> None:
    one = await lab.backend("one")
    await lab.apply(service("web", upstream(1, one.address), routes=(route(timeout_s=0.5),)))
    assert (await ask(lab.gateway, "/sleep/20")).status == 504
    reader, writer = await asyncio.open_connection(lab.gateway.host, lab.gateway.port)
    writer.write(b"GET /sse HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\nconnection: close\r\n\r\n")
    stream = await asyncio.wait_for(reader.read(), 30)
    assert stream.count(b"data: ") == 5  # over two seconds
    writer.close()


async def test_a_silent_stream_ends_at_its_idle_time_out(lab: Lab) -> None:
    one = await lab.backend("one")
    policy = {"timeout_s": 0.0, "idle_timeout_s": 0.5}
    await lab.apply(service("web", upstream(1, one.address), routes=(route(**policy),)))
    assert (await ask(lab.gateway, "/sleep/20", accept="text/event-stream")).status in {408, 504}


async def test_a_websocket_outlives_the_time_out(lab: Lab) -> None:
    one, port = await lab.backend("one"), here()
    await lab.apply(
        service("web", edges=(edge("orders", port, timeout_s=0.5),)),
        service("orders", upstream(1, one.address), routes=(route(timeout_s=0.5),)),
    )
    for where in (lab.gateway, port):
        reader, writer = await asyncio.open_connection(where.host, where.port)
        writer.write(b"GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        assert b" 101 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        for word in (b"a", b"b", b"c"):
            writer.write(word)
            assert await asyncio.wait_for(reader.readexactly(1), 30) == word.upper()
            await asyncio.sleep(0.4)
        writer.close()


# --- retries ----------------------------------------------------------------------------------------------------------


async def test_every_method_is_tried_again_when_no_byte_was_sent(lab: Lab) -> None:
    one, dead = await lab.backend("one"), here()
    await lab.apply(service("web", upstream(1, one.address, dead), routes=(route(eject_after=0),)))
    for method in ("GET", "POST"):
        assert {(await ask(lab.gateway, method=method)).status for _ in range(20)} == {200}


@pytest.mark.slow
async def test_no_request_fails_that_waited_for_a_replica_which_does_not_answer_any_more(lab: Lab) -> None:
    """They fail at one instant, far more of them than a budget of retries would let through."""
    one, silent = await lab.backend("one"), Silent()
    with contextlib.closing(silent):
        await lab.apply(service("web", upstream(1, one.address, silent.address), routes=(route(),)))
        asked = (ask(lab.gateway, method=method) for _ in range(100) for method in ("GET", "POST"))
        assert Counter(reply.who for reply in await asyncio.gather(*asked)) == {"one": 200}


async def test_a_request_that_was_sent_is_never_sent_again_unless_asked_for_and_safe(lab: Lab) -> None:
    one = await lab.backend("one")
    routes = (route("/a", eject_after=0), route("/status", eject_after=0, retry_on=("5xx", "reset"), retries=2))
    await lab.apply(service("web", upstream(1, one.address), routes=routes))

    async def tries(method: str, path: str) -> int:
        before = len(one.heads)
        await ask(lab.gateway, path, method=method)
        return len(one.heads) - before

    one.reset = True
    assert await tries("POST", "/a") == 1
    assert await tries("GET", "/a") == 1
    assert await tries("GET", "/status/200") == 3
    assert await tries("POST", "/status/200") == 1
    one.reset = False
    assert await tries("GET", "/status/503") == 3
    assert await tries("HEAD", "/status/503") == 3
    assert await tries("POST", "/status/503") == 1


async def test_a_retry_goes_to_another_replica(lab: Lab) -> None:
    good, bad = await lab.backend("good"), await lab.backend("bad")
    bad.status = 503
    routes = (route(eject_after=0, retry_on=("5xx",), retries=1),)
    await lab.apply(service("web", upstream(1, good.address, bad.address), routes=routes))
    assert (await many(lab.gateway, 60))["good"] == 60
    assert bad.heads


# --- ejection ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_bad_replicas_are_ejected_but_never_the_last(lab: Lab, count: int) -> None:
    bad = [await lab.backend(f"bad{number}") for number in range(count)]
    for backend in bad:
        backend.status = 500
    addresses = [backend.address for backend in bad]
    await lab.apply(service("web", upstream(1, *addresses), routes=(route(eject_after=3, eject_for_s=300.0),)))

    async def one_is_left() -> bool:
        return len(await many(lab.gateway, 10 * count)) == 1

    await eventually(one_is_left)
    assert list((await many(lab.gateway, 40)).values()) == [40]  # and it takes them all


async def test_one_bad_replica_of_two_is_left_alone_and_comes_back(lab: Lab) -> None:
    good, bad = await lab.backend("good"), await lab.backend("bad")
    bad.status = 500
    await lab.apply(service("web", upstream(1, good.address, bad.address), routes=(route(eject_for_s=2.0),)))
    await many(lab.gateway, 30)
    bad.status = 200

    async def back() -> bool:
        return (await ask(lab.gateway)).who == "bad"

    await eventually(back)


# --- other protocols --------------------------------------------------------------------------------------------------


async def test_tcp_edges_carry_bytes_and_open_connections_survive_a_change_of_weights(lab: Lab) -> None:
    async def server(name: bytes) -> tuple[asyncio.Server, Address]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(100):
                writer.write(name + data)
            writer.close()

        where = here()
        return await asyncio.start_server(serve, where.host, where.port), where

    (first, one), (second, two), port = await server(b"1"), await server(b"2"), here()
    both = (upstream(1, one, port="db", protocol="tcp"), upstream(2, two, port="db", protocol="tcp"))
    tcp = edge("store", port, port="db", protocol="tcp")
    assert await lab.apply(service("web", edges=(tcp,)), service("store", *both, weights={1: 100, 2: 0})) == Ack()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"x")
        return await asyncio.wait_for(reader.readexactly(2), 30)

    old = await asyncio.open_connection(port.host, port.port)
    assert await echo(*old) == b"1x"
    assert await lab.apply(service("store", *both, weights={1: 0, 2: 100})) == Ack()
    new = await asyncio.open_connection(port.host, port.port)
    assert await echo(*new) == b"2x"
    assert await echo(*old) == b"1x"
    assert await lab.proxy.inflight([one, two]) == {one: 1, two: 1}
    await lab.apply(service("store", *both, weights={1: 50, 2: 50}))
    seen: Counter[bytes] = Counter()
    for _ in range(40):
        reader, writer = await asyncio.open_connection(port.host, port.port)
        seen[await echo(reader, writer)] += 1
        writer.close()
    assert min(seen[b"1x"], seen[b"2x"]) > 5
    for _, writer in (old, new):
        writer.close()
    first.close()
    second.close()
