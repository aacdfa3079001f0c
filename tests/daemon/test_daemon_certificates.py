"""The keeper of the gateway's certificates in virtual time: real files, real X.509, a real answer at plain HTTP.

The proxy and the authority are small stand-ins that refuse when told to; hours pass in milliseconds, and the daemon is
killed and started again as often as a scenario wants.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from world import Life

from atoll.certificates import pair
from atoll.daemon.certificates import LOOK_S, Certificates, Parts, names
from atoll.daemon.pulse import Pulse
from atoll.decide.certificates import again_s
from atoll.model.certificate import Certificate
from atoll.model.environment import Acme, CertificateFiles, Tls
from atoll.model.errors import Retryable
from atoll.model.traffic import Ack, Disconnected, Outcome, Refused
from atoll.realise.records import Records
from atoll.testing.clock import VirtualClock

WEEK_S = 7 * 86_400.0  # how long the certificates here are good: told at its last quarter, renewed at its half
PATH = "/.well-known/acme-challenge/x"


class Gateway:
    """What clients are shown. Plain HTTP answers for real."""

    def __init__(self) -> None:
        self.shown: dict[str, Certificate] = {}
        self.answers: dict[str, str] = {}
        self.refuses: set[str] = set()  # fingerprints
        self.away = False
        gateway = self

        class Plain(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = gateway.answers.get(self.path, "").encode()
                self.send_response(200 if body else 404)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Plain)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    async def show(self, certificates: Mapping[str, Certificate], answers: Mapping[str, str], _: float) -> Outcome:
        await asyncio.sleep(0.001)
        if any(each.fingerprint in self.refuses for each in certificates.values()):
            return Refused((), "a key that nobody likes")
        self.shown |= certificates
        self.answers = dict(answers)
        return Disconnected("away") if self.away else Ack()


class Notary:
    """An authority whose certificates are good for a week."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock, self.refusal, self.asks = clock, "", True
        self.asked: list[tuple[str, float]] = []  # host, when

    async def certificate(self, host: str, show: Callable[[str, str], object]) -> Certificate:
        self.asked.append((host, self.clock.now().wall))
        await asyncio.sleep(1.0)
        if self.refusal:
            raise Retryable(self.refusal, id="certificate-not-given")
        if self.asks:
            await show(PATH, f"{host}.answer")  # type: ignore[misc]
        return pair.stand_in(host, self.clock.now().wall)


class World(Life):
    """Everything that outlives the daemon."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.gateway, self.notary = Gateway(), Notary(self.clock)
        self.tls = Tls(certificates=(CertificateFiles(cert="a.crt", key="a.key"),))
        self.plain_url = self.gateway.url
        self.made: Certificates

    async def start(self) -> None:
        await self.store.lead()
        parts = Parts(
            read=pair.read,
            made=pair.made,
            stand_in=pair.stand_in,
            showcase=self.gateway,
            authority=self.notary if self.tls.acme else None,
            vault=self.vault,
            plain_url=self.plain_url,
            folder=self.folder / "tls",
        )
        records = Records(self.store, await self.store.load())
        self.made = Certificates(self.tls, self.folder, parts, records, self.clock, Pulse())
        await self.made.start()
        self.begin(self.made.run())

    def put(self, certificate: Certificate, name: str = "a") -> Certificate:
        (self.folder / f"{name}.crt").write_text(certificate.chain)
        (self.folder / f"{name}.key").write_text(certificate.key)
        return certificate

    def fresh(self, host: str = "a.test") -> Certificate:
        """A pair that is good for a week from now."""
        return pair.stand_in(host, self.clock.now().wall)

    def showing(self, n: int = 0) -> Certificate:
        return self.gateway.shown[names(self.tls)[n]]

    async def told(self, kind: str) -> list[str]:
        """The messages of the events of a kind; after what is going on has ended."""
        await asyncio.sleep(5.0)
        return [event.message for event in await self.store.events() if event.kind == f"certificate.{kind}"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.gateway.server.shutdown()
    made.gateway.server.server_close()


def test_the_end_of_a_certificate_is_told_once_when_it_comes_near_and_once_when_it_is_there(world: World) -> None:
    world.put(world.fresh())

    async def scenario() -> None:
        assert (await world.told("expiring"), world.made.notices()) == ([], ())
        assert [check.ok for check in world.made.checks()] == [True]
        world.clock.shift_wall(WEEK_S * 3 / 4 - 60.0)
        assert await world.told("expiring") == []
        world.clock.shift_wall(60.0)
        assert await world.told("expiring") == ["the certificate of a.test (a.crt) ends in 41 hours"]
        assert world.made.notices() == ("the certificate of a.test (a.crt) ends in 41 hours",)
        assert [check.ok for check in world.made.checks()] == [None]
        await world.restart()
        assert len(await world.told("expiring")) == 1  # the next daemon knows that it was told
        world.clock.shift_wall(WEEK_S / 4)
        assert await world.told("expired") == ["the certificate of a.test (a.crt) ended 0 min ago"]
        assert [check.ok for check in world.made.checks()] == [False]
        # A new one ends that, and has an end of its own.
        world.put(world.fresh())
        assert len(await world.told("replaced")) == 1
        assert world.made.notices() == ()
        world.clock.shift_wall(WEEK_S * 3 / 4)
        assert len(await world.told("expiring")) == 2

    world.run(scenario)


def test_a_broken_pair_is_told_when_two_looks_agree_and_the_last_good_one_stays_over_a_restart(world: World) -> None:
    good = world.put(world.fresh())

    async def scenario() -> None:
        await asyncio.sleep(1.0)
        (world.folder / "a.key").write_text("half a ")  # as while it is written
        await asyncio.sleep(LOOK_S)
        world.put(good)
        assert await world.told("refused") == []
        (world.folder / "a.key").write_text(world.fresh().key)
        told = await world.told("refused")
        assert len(told) == 1
        assert "a.key: is not the key of" in told[0]
        assert "the last good one stays" in told[0]
        await asyncio.sleep(600.0)
        assert len(await world.told("refused")) == 1
        await world.restart()
        assert world.showing() == good
        world.gateway.shown.clear()  # an Envoy that starts anew gets it as well
        await world.restart()
        assert world.showing() == good
        assert len(world.made.notices()) == 0  # suspected only: another look must agree
        await asyncio.sleep(5.0)
        assert len(world.made.notices()) == 1
        world.put(final := world.fresh())
        assert len(await world.told("replaced")) == 1
        assert (world.showing(), world.made.notices()) == (final, ())

    world.run(scenario)


def test_a_pair_that_the_proxy_refuses_is_taken_back_and_told_once(world: World) -> None:
    good = world.put(world.fresh())

    async def scenario() -> None:
        bad = world.put(world.fresh())
        world.gateway.refuses.add(bad.fingerprint)
        told = await world.told("refused")
        assert told == ["a.crt: the proxy refuses it: a key that nobody likes; the last good one stays"]
        assert world.showing() == good
        await asyncio.sleep(60.0)
        assert len(await world.told("refused")) == 1
        # Neither the next daemon nor an Envoy that starts anew under it gets what was refused.
        world.gateway.shown.clear()
        await world.restart()
        assert world.showing() == good
        assert len(await world.told("refused")) == 2
        assert world.showing() == good

    world.run(scenario)


def test_a_pair_that_changed_while_no_daemon_looked_is_told_as_replaced_once_the_proxy_took_it(world: World) -> None:
    good = world.put(world.fresh())

    async def scenario() -> None:
        world.gateway.away = True
        final = world.put(world.fresh())
        await world.restart()
        assert await world.told("replaced") == []
        assert world.made.views()[0].fingerprint == good.fingerprint
        world.gateway.away = False
        assert len(await world.told("replaced")) == 1
        assert world.showing() == final
        assert world.made.views()[0].fingerprint == final.fingerprint

    world.run(scenario)


def _by_authority(world: World, *hosts: str) -> None:
    world.tls = Tls(acme=Acme(hosts=hosts, agree=True), http=80)


def test_an_authority_is_asked_at_the_start_and_at_half_a_short_life_and_never_between(world: World) -> None:
    _by_authority(world, "a.test")

    async def scenario() -> None:
        assert not world.made.views()[
            0
        ].fingerprint  # something is shown before anybody was asked, and is called nothing
        assert world.showing()
        assert len(await world.told("obtained")) == 1
        first = world.showing()
        assert world.gateway.answers == {}  # the question is answered no longer
        world.clock.shift_wall(WEEK_S / 2 - 60.0)
        await world.restart()
        await asyncio.sleep(30.0)
        assert (len(world.notary.asked), world.showing()) == (1, first)
        await asyncio.sleep(60.0)
        assert len(await world.told("renewed")) == 1
        assert world.showing().ends_wall > first.ends_wall + WEEK_S / 3
        assert len(world.notary.asked) == 2

    world.run(scenario)


def test_a_refusal_is_told_each_time_and_waited_out_longer_each_time_over_a_daemon_that_dies(world: World) -> None:
    _by_authority(world, "a.test")
    world.notary.refusal = "no such name (dns)"

    async def scenario() -> None:
        for _ in range(70):  # a daemon that crashes every 47 seconds
            await asyncio.sleep(47.0)
            await world.restart()
        waits = [then - now for (_, now), (_, then) in zip(world.notary.asked, world.notary.asked[1:], strict=False)]
        assert len(waits) == 3
        for wait, least in zip(waits, (again_s(1), again_s(2), again_s(3)), strict=True):
            assert least <= wait < least + 10.0
        told = await world.told("failed")
        assert told[0] == "a.test: no certificate was given: no such name (dns) (attempt 1, the next in 2 min)"
        assert len(told) == 4
        assert [check.ok for check in world.made.checks()] == [False]
        # A clock that is set back a year holds up no attempt for longer than a failure does.
        world.clock.shift_wall(-365 * 86_400.0)
        world.notary.refusal = ""
        await asyncio.sleep(again_s(99) + 10.0)
        assert len(await world.told("obtained")) == 1
        assert world.made.notices() == ()
        await world.restart()
        assert [check.ok for check in world.made.checks()] == [True]

    world.run(scenario)


def test_the_authority_is_not_told_before_this_machine_answers_its_question_itself(world: World) -> None:
    _by_authority(world, "a.test")
    world.plain_url = "http://127.0.0.1:9"  # nobody is there

    async def scenario() -> None:
        await asyncio.sleep(30.0)
        told = await world.told("failed")
        assert len(told) == 1
        assert "the gateway does not answer at its port of plain HTTP (http://127.0.0.1:9: " in told[0]
        assert not world.made.views()[0].fingerprint

    world.run(scenario)


def test_one_host_that_is_refused_holds_up_no_other(world: World) -> None:
    _by_authority(world, "bad.test", "good.test")
    give = world.notary.certificate

    async def certificate(host: str, show: Callable[[str, str], object]) -> Certificate:
        world.notary.refusal = "no" if host == "bad.test" else ""
        return await give(host, show)

    world.notary.certificate = certificate  # type: ignore[method-assign]

    async def scenario() -> None:
        assert len(await world.told("obtained")) == 1
        assert world.showing(1).hosts == ("good.test",)
        assert len(await world.told("failed")) == 1
        assert [check.ok for check in world.made.checks()] == [False, True]

    world.run(scenario)


def test_what_was_given_cannot_be_kept_and_is_shown_all_the_same(world: World) -> None:
    _by_authority(world, "a.test")

    async def full(name: str, value: str) -> int:
        raise Retryable("the disk is full", id="store-failed")

    world.vault.set = full  # type: ignore[method-assign]

    async def scenario() -> None:
        assert len(await world.told("obtained")) == 1
        assert world.made.views()[0].fingerprint == world.showing().fingerprint

    world.run(scenario)
