"""`EnvoyProxy`, the Traffic port over Envoy: a table goes in, an acknowledgement or a refusal comes out.

`app` makes it, the daemon's one traffic actor calls it. A change goes make-before-break: clusters and endpoints, then
listeners and routes, then what is no more; each step waits for Envoy. Envoy's life is the keeper's affair: everything
here works while it is away, and it gets the whole table when it comes.
"""

import asyncio
import logging
import os
import ssl
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import grpc.aio

from atoll import ports
from atoll.model.certificate import Certificate
from atoll.model.signals import ReplicaKey
from atoll.model.state import Address
from atoll.model.traffic import Ack, Disconnected, Outcome, Reading, Refused, ServiceTraffic, Table
from atoll.proxy import handover, refusals
from atoll.proxy.admin import Admin
from atoll.proxy.ads import Ads, Verdict
from atoll.proxy.hold import Holder
from atoll.proxy.listening import not_listening
from atoll.proxy.names import GATEWAY, PLAIN, Measured
from atoll.proxy.resources import CDS, EDS, LDS, RDS, Key, Made, listen_port
from atoll.proxy.sockets import Sockets, User
from atoll.proxy.stats import Statistics
from atoll.proxy.tls import Door, plain_routes, secrets
from atoll.proxy.translate import (
    endpoint_sets,
    endpoints_at,
    held_choice,
    keys,
    measured,
    translate,
    untranslatable,
    widened,
)

_log = logging.getLogger(__name__)
STALL_S = 5.0  # without an answer from a connected Envoy a change is taken for refused: it sometimes withholds one
UNDO_S = 2.0  # how long the old entries' return is waited for


_AUTHORITIES = (  # where Debian, Fedora, SUSE and Alpine keep them; a Python of one's own knows none of these
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def _authorities() -> str:
    """The file of the authorities that this machine trusts, $SSL_CERT_FILE first; "" when there is none."""
    known = (ssl.get_default_verify_paths().cafile or "", *_AUTHORITIES)
    return next((file for file in known if file and Path(file).is_file()), "")


class EnvoyProxy(ports.Traffic, ports.Showcase):
    """The proxy of one environment. `run_dir` holds the sockets, `state_dir` Envoy's bootstrap; `user` is whom Envoy runs as, if
    somebody else.

    With a `door` the gateway speaks TLS, and `show` must have been called for each of its secrets before the first `apply`.
    """

    def __init__(
        self, run_dir: Path, state_dir: Path, door: Door | None = None, https_port: int = 443, user: User | None = None
    ) -> None:
        """`https_port` is where plain HTTP leads to."""
        self.run_dir, self.state_dir = run_dir, state_dir
        self._sockets = Sockets(run_dir, user)
        self._door, self._https_port = door, https_port
        self._ads = Ads()
        self._holder = Holder(self._holding, lambda asked: held_choice(self._table, asked) if self._table else {})
        self._admin = Admin(self._sockets.admin)
        self._statistics = Statistics(self._admin)
        self._alone = handover.Alone(self._admin)
        self._table: Table | None = None
        self._measured: tuple[Table | None, dict[str, Measured]] = (None, {})
        self._listening: set[tuple[int, str, str]] = set()  # generation, listener, version: seen to listen
        self._lock = asyncio.Lock()
        self._server: grpc.aio.Server | None = None
        self._retrying: asyncio.Task[None] | None = None
        self._ca_file = _authorities()

    async def start(self) -> None:
        """Listen for Envoy. Nothing is answered before the first `apply`. Raises OSError when the socket cannot be made."""
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        server = grpc.aio.server(options=options)
        server.add_generic_rpc_handlers((self._ads.handler(), self._holder.handler()))
        self._sockets.make()
        # Bound elsewhere and then moved: a predecessor that is still closing removes only the path that it bound.
        socket = self._sockets.xds
        draft = socket.with_name(f"x{os.getpid()}")
        server.add_insecure_port(f"unix:{draft}")
        self._sockets.share(draft)
        draft.replace(socket)
        await server.start()
        self._server = server
        self._retrying = asyncio.create_task(self._ads.retry_refused(), name="envoy-retry-refused")
        self._retrying.add_done_callback(_report)

    async def close(self) -> None:
        """Let go of Envoy, which goes on serving."""
        if self._retrying:
            self._retrying.cancel()
            await asyncio.gather(self._retrying, return_exceptions=True)  # if it failed, that was reported
        if self._server:
            self._ads.close()
            await self._server.stop(0.2)

    def close_gateway(self) -> None:
        """Take no new connection from outside, until it is opened again or this object ends. What is in flight there is
        answered, and each answer says that the connection ends.
        """
        self._ads.remove({(LDS, GATEWAY), (LDS, PLAIN)})

    def open_gateway(self) -> None:
        """Take connections from outside again. One that is open stays so."""
        if self._table is not None:
            made = translate(self._table, (), ca_file=self._ca_file, door=self._door)
            self._ads.put({key: resource for key, resource in made.items() if key[0] == LDS})

    # --- certificates ----------------------------------------------------------------------------------------------

    async def show(
        self, certificates: Mapping[str, Certificate], answers: Mapping[str, str], deadline_s: float
    ) -> Outcome:
        """Show these from the next handshake on, and answer these paths at the port of plain HTTP."""
        assert self._door is not None
        async with self._lock:
            made = secrets(certificates) | plain_routes(self._https_port, self._door, answers)
            self._ads.put(made)
            if not self._ads.opened:
                return Disconnected()
            verdict = await self._settle(made, asyncio.get_running_loop().time() + deadline_s)
        if verdict.refused:
            return Refused((), "; ".join(verdict.refused.values()))
        return Disconnected("the proxy does not answer") if verdict.open else Ack()

    # --- the table -------------------------------------------------------------------------------------------------

    async def apply(self, table: Table, changed: frozenset[str], deadline_s: float) -> Outcome:
        """Make `table` so. The first call sends all of it whatever `changed` says; later ones only what that names."""
        async with self._lock:
            deadline = asyncio.get_running_loop().time() + deadline_s
            if self._table is None:
                return await self._first(table, deadline)
            return await self._change(table, changed, deadline)

    async def _first(self, table: Table, deadline: float) -> Outcome:
        """There are no old entries to go back to, so what Envoy refuses now stands, and is tried again until it is good."""
        refused = untranslatable(table, frozenset(table.services), ca_file=self._ca_file)
        table = _with(table, Table(gateway=table.gateway), refused)
        made = translate(table, table.services, ca_file=self._ca_file, door=self._door)
        self._ads.put(made)
        self._adopt(table)
        self._ads.open()
        verdict = await self._settle(made, deadline)
        while verdict.refused and verdict.open:
            verdict = _joined(verdict, await self._settle(verdict.open, deadline))
        refused |= refusals.by_service(verdict.refused, made, frozenset(table.services))
        return await self._outcome(refused, verdict, deadline)

    async def _change(self, table: Table, changed: frozenset[str], deadline: float) -> Outcome:
        base = self._table
        assert base is not None
        refused = untranslatable(table, changed, ca_file=self._ca_file)
        remaining = changed - refused.keys()
        target = _with(base, table, remaining)
        ours: set[Key] = (
            set()
        )  # the gateway's own listeners that are refused: they stand as a problem and delay no service
        while True:
            verdict, made = await self._transition(base, target, remaining, deadline, ours)
            blamed = refusals.by_service(verdict.refused, made, remaining)
            if verdict.refused and not blamed:
                ours |= verdict.refused.keys()
                continue
            if not blamed and verdict.connected and verdict.open and await self._admin.get("/ready"):
                blamed = refusals.stalled(verdict.open, made, remaining)
            if not blamed:
                return await self._outcome(refused, verdict, deadline)
            attempted, target = target, _with(target, base, frozenset(blamed))
            await self._transition(attempted, target, frozenset(blamed), asyncio.get_running_loop().time() + UNDO_S)
            if len(blamed) > 1 and refusals.ambiguous(verdict):
                return await self._one_by_one(table, remaining, refused, deadline)
            refused |= blamed
            remaining -= blamed.keys()

    async def _one_by_one(
        self, table: Table, names: frozenset[str], refused: Mapping[str, str], deadline: float
    ) -> Outcome:
        """Find the culprit where a shared resource was refused, or no answer came: each service alone."""
        texts = dict(refused)
        for name in sorted(names):
            outcome = await self._change(table, frozenset({name}), deadline)
            if isinstance(outcome, Refused):
                texts[name] = outcome.text
            elif isinstance(outcome, Disconnected):
                return outcome
        return await self._outcome(texts, Verdict(), deadline)

    async def _transition(
        self, old: Table, new: Table, names: frozenset[str], deadline: float, unawaited: Collection[Key] = ()
    ) -> tuple[Verdict, Made]:
        """Bring Envoy from one table to another, in steps that never take away what requests still use.

        What becomes of `unawaited` is not waited for.
        """
        made = translate(new, names, before=old, ca_file=self._ca_file, door=self._door)
        differing = {key for key, resource in made.items() if self._ads.version(key) != resource.version}
        gone = keys(old, names) - made.keys()
        gone = gone - keys(new, frozenset(new.services)) if gone else gone
        switching = gone or any(key[0] in (LDS, RDS) for key in differing)
        # What stood refused before does not speak against this change, unless it is the same change once more.
        again = {name for name in names if old.services.get(name) == new.services.get(name)}
        standing = {key for key in self._ads.refusals if key in made and not again.issuperset(made[key].owners[:1])}
        standing -= differing
        steps = []
        if switching:
            wide = endpoint_sets(widened(old, new, names), names)
            steps.append({key: wide.get(key, made[key]) for key in made if key[0] in (CDS, EDS)})
            steps.append({key: made[key] for key in made if key[0] in (LDS, RDS)})
        steps.append({key: made[key] for key in made if not switching or key[0] == EDS})
        verdict = Verdict()
        for number, step in enumerate(steps, 1):
            if any(key[0] == LDS for key in step):
                self._ads.remove(self._in_the_way(step, gone))
            self._ads.put(step)
            waited = step.keys() - standing - set(unawaited)
            if number == len(steps):
                self._ads.remove(gone)
                self._adopt(new)
                waited |= gone
            elif not self._ads.connected:
                continue
            verdict = await self._settle(waited, deadline)
            if verdict.refused or verdict.open:
                break
        if not verdict.connected:  # it gets all of it when it comes
            self._ads.put(made)
            self._ads.remove(gone)
            self._adopt(new)
        return verdict, made

    def _in_the_way(self, step: Made, gone: Iterable[Key]) -> set[Key]:
        """Listeners of before on ports that others get now: two cannot have one, be it for a moment."""
        former = {key: self._ads.want[LDS].get(key[1]) for key in gone if key[0] == LDS}
        if not former:
            return set()
        ports = {listen_port(resource) for key, resource in step.items() if key[0] == LDS}
        return {key for key, resource in former.items() if resource and listen_port(resource) in ports}

    async def _settle(self, waited: Iterable[Key], deadline: float) -> Verdict:
        waited = frozenset(waited)
        while True:
            left = deadline - asyncio.get_running_loop().time()
            was, generation = self._ads.connected, self._ads.generation
            verdict = await self._ads.settle(waited, max(0.0, min(left, STALL_S)))
            same = was and generation == self._ads.generation
            if verdict.refused or not verdict.open or left <= STALL_S or (verdict.connected and same):
                return verdict

    def _adopt(self, table: Table) -> None:
        self._table = table
        self._holder.wake()

    async def _outcome(self, refused: Mapping[str, str], verdict: Verdict, deadline: float) -> Outcome:
        if refused:
            return Refused(tuple(sorted(refused)), "; ".join(dict.fromkeys(refused.values())))
        if verdict.open:
            why = "does not answer" if verdict.connected else "is not connected"
            return Disconnected(f"the proxy {why}; it gets the change when it does")
        return await self._listened(deadline)

    async def _listened(self, deadline: float) -> Outcome:
        """Wait until Envoy's workers have the listeners that it took."""
        while missing := self._not_listening():
            if asyncio.get_running_loop().time() > deadline or not self._ads.connected:
                return Disconnected(f"the proxy does not listen yet on port {min(missing)}; it gets there by itself")
            await asyncio.sleep(0.002)
        return Ack()

    def _not_listening(self) -> set[int]:
        generation = self._ads.generation
        unseen = {
            listen_port(resource): (generation, name, resource.version)
            for name, resource in self._ads.want[LDS].items()
            if (generation, name, resource.version) not in self._listening and (LDS, name) not in self._ads.refusals
        }
        missing = not_listening(unseen)
        seen = {entry for port, entry in unseen.items() if port not in missing}
        self._listening = {entry for entry in self._listening if entry[0] == generation} | seen
        return missing

    # --- questions -------------------------------------------------------------------------------------------------

    async def inflight(self, addresses: Sequence[Address]) -> Mapping[Address, int] | None:
        """Requests in flight per endpoint, over every cluster that has it; connections for a TCP port.

        None, too, while one Envoy takes over from another that still has connections: it cannot be asked for its own.
        """
        if self._table is None or (pid := await self._alone.ask(self._ads.envoys)) is None:
            return None
        wanted = set(addresses)
        places = {
            (service, upstream.port)
            for service, upstream, point in endpoints_at(self._table)
            if point.address in wanted
        }
        keys = (one.key for one in self._clusters().values())
        counts = await self._statistics.inflight(addresses, [k for k in keys if (k.callee, k.port) in places])
        return counts if self._admin.pid == pid else None

    async def read(self) -> Reading | None:
        """What went through every edge since the last call."""
        if self._table is None:
            return None
        replicas = {
            point.address: ReplicaKey(service, upstream.release, point.replica)
            for service, upstream, point in endpoints_at(self._table)
        }
        return await self._statistics.read(self._clusters(), replicas)

    def _clusters(self) -> Mapping[str, Measured]:
        if self._table is not None and self._measured[0] is not self._table:
            self._measured = (self._table, measured(self._table))
        return self._measured[1]

    def generation(self) -> int:
        """How often an Envoy has connected."""
        return self._ads.generation

    def problem(self) -> str:
        """What Envoy refuses now, or that it is away."""
        if self._table is None:
            return ""
        if not self._ads.connected:
            return "the proxy (Envoy) is not connected"
        return refusals.problem({key: refusal.text for key, refusal in self._ads.refusals.items()}, self._table)

    def _holding(self, service: str) -> bool:
        entry = self._table.services.get(service) if self._table else None
        return entry is not None and entry.hold


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (fault := task.exception()):
        _log.error("refused resources are no longer tried again", exc_info=fault)


def _joined(first: Verdict, second: Verdict) -> Verdict:
    return Verdict({**first.refused, **second.refused}, second.open, second.connected)


def _with(base: Table, source: Table, names: Iterable[str]) -> Table:
    """`base` with the entries of `names` as `source` has them (or has not), and the gateway of `source`."""
    services: dict[str, ServiceTraffic] = dict(base.services)
    for name in names:
        services.pop(name, None)
        if name in source.services:
            services[name] = source.services[name]
    return Table(gateway=source.gateway, services=services)
