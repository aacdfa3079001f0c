"""The promises, kept under load, in about two minutes: `make demo`, and `make demo ENGINE=docker`.

Copies the shop to a temporary folder, starts it with Atoll, runs services' own tests, and sends it a steady load through the gateway while orders
is deployed and rolled back, a good and a bad release of web are tried on a part of the customers, a replica is killed,
then Atoll's own daemon, then Envoy. A control shows that the load does see a switch that is done the plain way. Ends
with a table; exits 1 when a promise was broken.

Everything it starts ends with it, on Ctrl-C too. Needs node and npm for one of the services. Three others are in Go, Java
and Rust: a machine without one of these goes without that service, and the demo says so. In containers (`--engine docker`) it
needs Docker instead; what differs is in engines.py.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from engines import Containers, Processes, Unfit
from load import Load, Phase, Request, run, shop
from outcomes import Outcome, no_failure, report
from workspace import SHOP, Atoll, Broken, copy_shop, free_ports, page_shows, say, until

CANARY_S = 400  # a canary takes the longer the fewer requests there are
DEADLINE_S = 30.0  # within which an answer counts; nobody waits longer
CONNECTIONS = 900  # that may wait for an answer: a small machine that pauses for seconds fails nobody by that
FLUENT_MS = 250.0  # a machine that needs longer for its slower answers is given less to do
LEAST_RATE = 20.0
TESTED = ("catalog", "orders", "payments", "web")  # whose own tests take seconds
CONTROL_RATE = 100.0  # enough to see a switch of a tenth of a second; it goes to one small service directly
BAD_SHARE = 0.05  # of its answers that a bad release fails
BAD_PCT = 1.0  # of all requests in its rollout may fail until it is gone
GATEWAY_AWAY_S = 5.0  # Envoy's own start, with the configuration given to it anew, on a busy machine

ENGINES: dict[str, type[Processes]] = {"process": Processes, "docker": Containers}


class Play:
    """The acts, in order; each marks its phase of the load and adds its row."""

    def __init__(self, atoll: Atoll, url: str, rate: float, engine: Processes) -> None:
        self.atoll, self.url, self.rate, self.engine = atoll, url, rate, engine
        self.outcomes: list[Outcome] = []
        self.load: Load

    async def run(self) -> None:
        say("[dim]building and starting seven services …[/]")
        began = time.monotonic()
        lacking = await self.atoll.up()
        for name, why in sorted(lacking.items()):
            say(f"  [yellow]without {name}:[/] {(why.splitlines() or ['?'])[0]}", soft_wrap=True)
        await until("the shop's page", lambda: page_shows(self.url, "Reading lamp"))
        say(f"  the shop is open at {self.url}, {time.monotonic() - began:.1f} s after `atoll up`")
        await self.pipeline([name for name in TESTED if name not in lacking and name not in self.engine.untested()])
        await self.settle_rate()
        self.load = Load(self.url, self.rate, shop(), deadline_s=DEADLINE_S, connections=CONNECTIONS)
        self.load.start("start")
        try:
            await self.steady()
            await self.deploy()
            await self.kill_replica()
            await self.good_canary()
            await self.bad_canary()
            await self.kill_part("daemon", "no request fails, a new one takes over", no_failure)
            await self.roll_back()
            await self.kill_part(
                "proxy", f"back within {GATEWAY_AWAY_S:g} s", lambda phase: phase.failing_s <= GATEWAY_AWAY_S
            )
            self.load.mark("end")
        finally:
            await self.load.stop()

    async def pipeline(self, services: list[str]) -> None:
        """The services' own tests: all of them, none since nothing changed, and after an edit those of one service."""
        say("[dim]testing services, twice, and once more after an edit of catalog …[/]")
        source = self.atoll.root / "catalog" / "server.py"
        text = source.read_text()
        first = await self.atoll.json("ci", *services)
        again = await self.atoll.json("ci", *services)
        source.write_text(f"{text}\n# edited\n")
        edited = await self.atoll.json("ci", *services)
        source.write_text(text)
        ran = {task["task"].partition(".")[0] for task in edited["tasks"] if not task["cached"]}
        if again["cached"] != len(again["tasks"]) or ran != {"catalog"}:
            raise Broken(f"`atoll ci` ran again what nothing had changed: {again['passed']} tasks, then {sorted(ran)}")
        say(
            f"  {len(first['tasks'])} tasks of {len(services)} services: {first['seconds']:.1f} s; again, all cached:"
            f" {again['seconds']:.2f} s; after the edit, catalog's alone: {edited['seconds']:.1f} s"
        )

    async def settle_rate(self) -> None:
        """Find a rate that this machine carries with ease: what is judged is the switch, not the machine."""
        while True:
            phase = await run(self.url, self.rate, 2, shop(), DEADLINE_S)
            slow = phase.failed or phase.percentile_ms(95) > FLUENT_MS
            if not slow or self.rate <= LEAST_RATE:
                break
            self.rate = max(LEAST_RATE, self.rate / 2)
        say(f"  {self.rate:g} requests per second from now on, one in five buys something")

    async def act(self, phase: str, promise: str, keeps: Callable[[Phase], bool] = no_failure) -> Outcome:
        say(f"[dim]{phase} …[/]")
        self.load.mark(phase)
        await self.load.settle()  # what the act before left in flight is not this one's victim
        self.outcomes.append(Outcome(phase, promise, keeps))
        return self.outcomes[-1]

    async def steady(self) -> None:
        row = await self.act("steady load", "no request fails")
        row.seconds = 3
        await asyncio.sleep(3)

    async def deploy(self) -> None:
        source = self.atoll.root / "orders" / "orders.py"
        text = source.read_text()
        source.write_text(text.replace('VERSION = "1"', 'VERSION = "2"'))
        self.load.mark("between")
        # It builds: what is judged is the switch, not a small machine's build.
        await self.atoll("deploy", "orders", "--plan")
        await self.switch("deploy orders, blue-green", "deploy", "orders", version="2")

    async def roll_back(self) -> None:
        await self.switch("roll orders back", "rollback", "orders", version="1")

    async def switch(self, phase: str, *command: str, version: str) -> None:
        """Move orders to another release; every purchase must then be taken by that version, and no other moved."""
        row = await self.act(phase, "no request fails, nothing else is touched")
        operation = await self.atoll.json(*command)
        operation = operation[0] if isinstance(operation, list) else operation
        receipt = operation.get("receipt") or operation
        if receipt.get("outcome") != "live":
            raise Broken(f"`atoll {' '.join(command)}` ended {receipt.get('outcome')}: {receipt.get('reason', '')}")
        row.seconds = receipt["seconds"].get("total", 0.0)
        row.touched = ", ".join(receipt["touched"]) or "none"
        if receipt["touched"]:
            row.keeps = lambda _: False
        for _ in range(20):
            page = await self.buy()
            if f"Taken by orders {version}" not in page:
                raise Broken(f"after `atoll {' '.join(command)}` a purchase was not taken by version {version}: {page}")
        await asyncio.sleep(2)

    async def buy(self) -> str:
        """Buy a lamp, as a browser would; the page that thanks for it."""
        request = next(one for one in shop() if one.method == "POST")
        body = request.body() if request.body else b""

        def post() -> str:
            with urllib.request.urlopen(f"{self.url}{request.path}", body, timeout=DEADLINE_S) as answer:
                return str(answer.read().decode())

        try:
            return await asyncio.to_thread(post)
        except OSError as problem:
            raise Broken(f"could not buy: {problem}") from problem

    async def good_canary(self) -> None:
        """A release of the shop's page that is as good as the one before: its numbers let it have all customers."""
        self.change_page('page("The lagoon shop"', 'page("The lagoon shop II"')
        row, operation = await self.canary("deploy web, canary", "no request fails, nothing else is touched")
        if operation["phase"] != "live":
            raise Broken(f"a good release of web is {operation['phase']}: {told(operation)}")
        await self.page_is("The lagoon shop II")
        say(f"  live: {told(operation)}", soft_wrap=True)
        row.touched = ", ".join(operation["receipt"]["touched"]) or "none"
        if operation["receipt"]["touched"]:
            row.keeps = lambda _: False

    async def bad_canary(self) -> None:
        """One that fails a share of its answers while its health is fine. Nobody does anything about it."""
        failing = f'if (path !== "/healthz" && Math.random() < {BAD_SHARE:g}) throw new Refused(500, "Sorry.");'
        self.change_page('const path = request.url.split("?")[0];', f"\\g<0> {failing}", file="shop.js")
        row, operation = await self.canary(
            f"deploy web, fails {100 * BAD_SHARE:g} %",
            f"undone by its numbers, at most {BAD_PCT:g} % fail",
            lambda phase: phase.failed <= phase.sent * BAD_PCT / 100,
        )
        row.share = True
        if operation["phase"] != "undone" or operation.get("reason_id") != "candidate-worse":
            raise Broken(f"a bad release of web is {operation['phase']}: {told(operation)}")
        say(f"  undone by its numbers: {told(operation)}", soft_wrap=True)
        row.touched = ", ".join(operation["receipt"]["touched"]) or "none"
        await self.page_is("The lagoon shop II")

    def change_page(self, old: str, new: str, file: str = "pages.js") -> None:
        """Edit web in place. `new` may refer to the old text as in `re.sub`."""
        source = self.atoll.root / "web" / file
        text, count = re.subn(re.escape(old), new, source.read_text())
        if count != 1:
            raise Broken(f"{source.name} has changed: {count} x {old}")
        source.write_text(text)

    async def canary(
        self, phase: str, promise: str, keeps: Callable[[Phase], bool] = no_failure
    ) -> tuple[Outcome, Any]:
        """Deploy web and count from when it was built to the end of its rollout. Broken when it was no canary."""
        self.load.mark("between")
        await self.atoll("deploy", "web", "--detach")  # it returns before anything of the candidate is ready
        row = await self.act(phase, promise, keeps)
        operation: Any = {}

        async def ended() -> bool:
            operation.update(await self.atoll.json("rollout", "show", "web"))
            return bool(operation.get("ended") or (operation.get("stepping") or {}).get("paused"))

        await until("the end of web's rollout", ended, CANARY_S)
        self.load.mark("between")
        await self.load.settle()
        stepping = operation["stepping"] or {}
        if stepping.get("strategy") != "canary":
            raise Broken(f"web was no canary but {stepping.get('strategy')}: {stepping.get('why')}")
        row.seconds = operation["seconds"]
        return row, operation

    async def page_is(self, title: str) -> None:
        """Every customer must see this page now."""
        for _ in range(20):
            if not await page_shows(self.url, f"<title>{title}</title>"):
                raise Broken(f"a customer does not see {title}")

    async def kill_replica(self) -> None:
        row = await self.act("kill -9 a replica of catalog", "no request fails, replaced")
        service = await self.atoll.service("catalog")
        before = {replica["pid"]: replica for replica in service["replicas"] if replica["ready"]}
        victim = min(before)
        await asyncio.to_thread(self.engine.kill, before[victim])

        async def replaced() -> bool:
            service = await self.atoll.service("catalog")
            ready = {replica["pid"] for replica in service["replicas"] if replica["ready"]}
            return len(ready) == len(before) and victim not in ready

        row.seconds = await until("a replica in its place", replaced)
        await asyncio.sleep(2)

    async def kill_part(self, part: str, promise: str, keeps: Callable[[Phase], bool]) -> None:
        """Kill one of Atoll's own processes; the keeper starts another, which must then answer."""
        name = {"daemon": "Atoll's daemon", "proxy": "Envoy"}[part]
        victim = await self.atoll.pid(part)
        if victim is None:
            raise Broken(f"`atoll status` shows no process for {name}")
        row = await self.act(f"kill -9 {name}", promise, keeps)
        os.kill(victim, signal.SIGKILL)

        async def back() -> bool:
            return await self.atoll.pid(part) not in {None, victim} and await page_shows(self.url, "Reading lamp")

        row.seconds = await until(f"another process for {name}", back)
        await asyncio.sleep(3)


def told(operation: Any) -> str:
    """What an operation's last verdict says, or whatever ended it."""
    verdict = (operation.get("stepping") or {}).get("verdict") or {}
    return str(verdict.get("text") or operation.get("text") or operation["phase"])


@contextlib.contextmanager
def plain_orders(folder: Path, port: int) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """A copy of orders outside Atoll: a function that starts it. What runs at the end is killed."""
    started: list[subprocess.Popen[bytes]] = []
    env = os.environ | {"PORT": str(port), "ORDERS_DB": str(folder / "control.db")}

    def start() -> subprocess.Popen[bytes]:
        started.append(
            subprocess.Popen([sys.executable, SHOP / "orders" / "orders.py"], env=env, stdout=subprocess.DEVNULL)
        )
        return started[-1]

    try:
        yield start
    finally:
        for process in started:
            process.kill()
            process.wait()


async def control(folder: Path, rate: float) -> tuple[Outcome, Phase]:
    """The same service and the same kind of load, switched the plain way: stop the old one, start the new one."""
    say("[dim]control: the same switch without Atoll …[/]")
    port = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    buy = Request(
        "POST",
        "/orders",
        body=lambda: json.dumps({"id": f"c{random.getrandbits(64)}", "sku": "lamp", "price_cents": 1}).encode(),
        statuses=frozenset({200, 201}),
    )
    with plain_orders(folder, port) as start:
        old = start()
        await until("the control", lambda: page_shows(f"{url}/healthz", "true"))
        load = Load(url, rate, [buy], deadline_s=5)
        load.start("stop, then start")
        try:
            await asyncio.sleep(1)
            began = time.monotonic()
            old.terminate()
            await asyncio.to_thread(old.wait)
            start()
            await until("the control's new version", lambda: page_shows(f"{url}/healthz", "true"))
            seconds = time.monotonic() - began
            await asyncio.sleep(1)
        finally:
            await load.stop()
    row = Outcome(
        "control: stop, then start", "requests fail (else this load sees nothing)", lambda phase: phase.failed > 0
    )
    row.seconds = seconds
    return row, load.phases[0]


async def play(folder: Path, atoll: Atoll, port: int, rate: float, engine: Processes) -> bool:
    """Every act and the control; whether all promises were kept."""
    acts = Play(atoll, f"http://127.0.0.1:{port}", rate, engine)
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await acts.run()
    last = await control(folder, max(acts.rate, CONTROL_RATE))
    phases = {phase.name: phase for phase in acts.load.phases}
    return report([*((row, phases[row.phase]) for row in acts.outcomes), last])


def main() -> int:
    parser = argparse.ArgumentParser(description="Atoll's promises, kept under load; exits 1 when one is broken.")
    parser.add_argument("--rate", type=float, default=200, help="requests per second, less on a slow machine")
    parser.add_argument("--engine", choices=list(ENGINES), default="process", help="what runs the replicas")
    asked = parser.parse_args()
    engine = ENGINES[asked.engine]()
    try:
        engine.prepare()
    except Unfit as problem:
        say(f"[red]{problem}[/]")
        return 2
    began = time.monotonic()
    kept = False
    with tempfile.TemporaryDirectory(prefix="atoll-demo-") as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)  # services may run as a user of their own
        port = copy_shop(folder, engine.settings)
        atoll = Atoll(folder)
        try:
            kept = asyncio.run(play(folder, atoll, port, asked.rate, engine))
        except Broken as problem:
            say(f"[red]the demo cannot go on:[/] {problem}")
        except (KeyboardInterrupt, asyncio.CancelledError):
            say("interrupted")
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # ending in order takes seconds; then it is over
            engine.remember(folder)
            atoll.down()
            left = engine.end_what_is_left(folder)
    for process in left:
        say(f"[red]left running by `atoll down`, killed:[/] {process}")
    print(f"{time.monotonic() - began:.0f} s; nothing is left running" if not left else "something was left running")
    return 0 if kept and not left else 1


if __name__ == "__main__":
    sys.exit(main())
