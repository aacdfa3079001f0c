"""CPU time per request of Envoy as Atoll configures it, beside a bare Envoy, nginx and HAProxy.

Atoll's configuration is what the proxy adapter sends for one service: retries with their budget, breakers, ejection,
counters per release, headers of the client removed; they are read each second, as the daemon does. The bare Envoy's is
written by hand: a listener, a route, a cluster. All have one worker, run at the same time and are loaded in turn, round by
round, with `wrk` (32 kept connections) towards the same nginx, which answers with a small constant. Where there are two
cores, the proxies have one and everything else the other. CPU time is user and system time of the whole proxy process over
the requests that `wrk` counts; ratios are taken round by round against the bare Envoy. Traefik and Caddy are in no package
registry that this uses, and are left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from examples.workspace import free_ports

from atoll.model.spec import EdgePolicy
from atoll.model.state import Address
from atoll.model.traffic import Ack, Edge, Endpoint, GatewayRoute, ServiceTraffic, Table, Upstream
from atoll.proxy import EnvoyProxy, command
from bench.report import Result
from bench.site import ended, get, temporary, until
from bench.stats import Sample, ratio

TARGET = 1.15
CONNECTIONS = 32
BARE = "bare Envoy"
OURS = "Atoll's Envoy, gateway"
EDGE = "Atoll's Envoy, a call between services"
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "envoy.extensions.filters.http.router.v3.Router"


@dataclass
class Proxy:
    """One of those compared: where it listens, and the process whose time counts (its children's too)."""

    port: int
    process: psutil.Process

    def cpu_s(self) -> float:
        total = 0.0
        for process in (self.process, *self.process.children(recursive=True)):
            times = process.cpu_times()
            total += times.user + times.system
        return total


def run(*, quick: bool) -> Result:
    rounds, seconds = (2, 1) if quick else (9, 4)
    result = Result()
    missing = [program for program in ("wrk", "nginx") if not shutil.which(program)]
    if missing:
        result.notes.append(f"Left out as a whole: {' and '.join(missing)} not installed (nginx is what answers).")
        return result
    with temporary() as folder, contextlib.ExitStack() as running:
        running.enter_context(_rest_of_the_machine())
        return asyncio.run(_compare(folder, running, result, rounds, seconds))


async def _compare(folder: Path, running: contextlib.ExitStack, result: Result, rounds: int, seconds: int) -> Result:
    ports = iter(range(first := free_ports(6), first + 6))
    backend = next(ports)
    running.enter_context(_started(_nginx(folder / "backend", backend, 'return 200 "hello, world";'), None))
    proxies: dict[str, Proxy] = {}

    def add(name: str, argv: list[str], port: int) -> None:
        process = running.enter_context(_started(argv, 0))
        proxies[name] = Proxy(port, psutil.Process(process.pid))

    adapter = EnvoyProxy(_made(folder / "ours"), folder / "ours")
    await adapter.start()
    try:
        gateway, edge = next(ports), next(ports)
        argv = [*command(folder / "ours", folder / "ours")]
        argv[argv.index("--concurrency") + 1] = "1"
        add(OURS, argv, gateway)
        proxies[EDGE] = Proxy(edge, proxies[OURS].process)
        outcome = await adapter.apply(_table(gateway, edge, backend), frozenset({"web", "caller"}), 30)
        if outcome != Ack():
            raise RuntimeError(f"Envoy did not take the table: {outcome}")
        envoy, port = argv[0], next(ports)
        add(BARE, _bare(envoy, folder, port, backend), port)
        add("nginx", _nginx(folder / "nginx", port := next(ports), _pass_on(backend), backend), port)
        if shutil.which("haproxy"):
            add("HAProxy", _haproxy(folder, port := next(ports), backend), port)
        else:
            result.notes.append("HAProxy is not installed: left out.")
        for proxy in proxies.values():
            await asyncio.to_thread(until, partial(get, f"http://127.0.0.1:{proxy.port}/"))
        reading = asyncio.ensure_future(_read_counters(adapter))
        try:
            spent, rates = await asyncio.to_thread(_rounds, proxies, rounds, seconds)
        finally:
            reading.cancel()
    finally:
        await adapter.close()
    for name in proxies:
        compared = ratio(spent[name], spent[BARE])
        ours = name in {OURS, EDGE}
        target, met = (f"at most {TARGET} x", compared.median <= TARGET) if ours else ("", None)
        absolute = f"{Sample.of(spent[name]).median:.1f} µs a request, {Sample.of(rates[name]).median:,.0f} requests/s"
        result.add(name, f"{compared.text('x')}; {absolute}", target, met)
    return result


def _rounds(
    proxies: dict[str, Proxy], rounds: int, seconds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Microseconds of CPU per request, and requests per second, by proxy."""
    spent: dict[str, list[float]] = {name: [] for name in proxies}
    rates: dict[str, list[float]] = {name: [] for name in proxies}
    for proxy in proxies.values():
        _load(proxy, 1)
    for _ in range(rounds):
        for name, proxy in random.sample(list(proxies.items()), len(proxies)):
            before = proxy.cpu_s()
            requests, took = _load(proxy, seconds)
            spent[name].append((proxy.cpu_s() - before) / requests * 1e6)
            rates[name].append(requests / took)
    return spent, rates


def _load(proxy: Proxy, seconds: int) -> tuple[int, float]:
    """Requests that were answered well, and the seconds that took. Raises RuntimeError when one was not."""
    argv = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", f"http://127.0.0.1:{proxy.port}/"]
    began = time.monotonic()
    text = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=seconds + 30).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(text)
    return int((re.search(r"(\d+) requests in", text) or ["", "0"])[1]), time.monotonic() - began


async def _read_counters(adapter: EnvoyProxy) -> None:
    while True:
        await adapter.read()
        await asyncio.sleep(1)


@contextlib.contextmanager
def _rest_of_the_machine() -> Iterator[None]:
    """Keep this process and the load off the core of the proxies."""
    before = os.sched_getaffinity(0)
    if len(before) > 1:
        os.sched_setaffinity(0, sorted(before)[1:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def _started(argv: list[str], core: int | None) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if core is not None and (os.cpu_count() or 1) > 1:
        for thread in psutil.Process(process.pid).threads():
            os.sched_setaffinity(thread.id, {core})  # those that it starts later inherit it
    with ended(process):
        yield process


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    return folder


def _table(gateway: int, edge: int, backend: int) -> Table:
    policy = EdgePolicy()
    upstream = Upstream(
        release=1,
        port="http",
        protocol="http",
        endpoints=(Endpoint(replica="web-1", address=Address("127.0.0.1", backend)),),
    )
    route = GatewayRoute(path="/", host=None, port="http", protocol="http", strip=False, policy=policy, releases=(1,))
    call = Edge(
        caller_release=1,
        callee="web",
        port="http",
        protocol="http",
        listen=Address("127.0.0.1", edge),
        policy=policy,
    )
    web = ServiceTraffic(service="web", weights={1: 100}, upstreams=(upstream,), routes=(route,))
    caller = ServiceTraffic(service="caller", weights={1: 100}, edges=(call,))
    return Table(gateway=Address("127.0.0.1", gateway), services={"web": web, "caller": caller})


def _bare(envoy: str, folder: Path, port: int, backend: int) -> list[str]:
    """The least that passes HTTP on."""

    def at(number: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    route = {"match": {"prefix": "/"}, "route": {"cluster": "web"}}
    manager = {
        "@type": f"type.googleapis.com/{HCM}",
        "stat_prefix": "bare",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"type.googleapis.com/{ROUTER}"}}],
    }
    listener = {"address": at(port), "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": at(backend)}}]}]
    cluster = {"name": "web", "type": "STATIC", "load_assignment": {"cluster_name": "web", "endpoints": endpoints}}
    file = folder / "bare.json"
    file.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
    return [envoy, "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]


def _nginx(folder: Path, port: int, location: str, backend: int = 0) -> list[str]:
    folder.mkdir()
    upstream = f"upstream web {{ server 127.0.0.1:{backend}; keepalive {CONNECTIONS * 2}; }}" if backend else ""
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"worker_processes 1; daemon off; pid {folder}/pid; error_log /dev/null;\n"
        f"events {{ worker_connections 4096; }}\nhttp {{ access_log off; keepalive_requests 1000000000; {paths}\n"
        f"{upstream}\nserver {{ listen 127.0.0.1:{port} backlog=4096; location / {{ {location} }} }} }}\n"
    )
    return ["nginx", "-e", "/dev/null", "-c", str(folder / "nginx.conf"), "-p", str(folder)]


def _pass_on(backend: int) -> str:
    return f'proxy_pass http://web; proxy_http_version 1.1; proxy_set_header Connection ""; # {backend}\n'


def _haproxy(folder: Path, port: int, backend: int) -> list[str]:
    file = folder / "haproxy.cfg"
    file.write_text(
        "global\n nbthread 1\n maxconn 4096\n"
        "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n http-reuse always\n"
        f"frontend in\n bind 127.0.0.1:{port}\n default_backend web\n"
        f"backend web\n server one 127.0.0.1:{backend}\n"
    )
    return ["haproxy", "-db", "-f", str(file)]
