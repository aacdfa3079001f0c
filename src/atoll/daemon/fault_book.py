"""Faults that people inject: begun, listed, ended. Part of `Environment`; a service's loop lifts those whose time is over."""

import secrets
from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from atoll.daemon.loops import Loops
from atoll.daemon.pulse import Pulse
from atoll.daemon.service import ServiceLoop
from atoll.decide.facts import is_ready
from atoll.decide.faults import check, in_force
from atoll.model.errors import Conflict, NotFound, UserError
from atoll.model.rows import Change
from atoll.model.state import Event, Fault, Replica
from atoll.model.suggest import did_you_mean
from atoll.model.wire import FaultRequest, FaultView, Mutation
from atoll.ports import Clock
from atoll.realise.engine import HostEngine
from atoll.realise.records import Records


class FaultBook:
    """The environment's faults. `allowed` is what its file says."""

    def __init__(
        self,
        environment: str,
        allowed: bool,
        loops: Loops,
        records: Records,
        engine: HostEngine,
        clock: Clock,
        pulse: Pulse,
    ) -> None:
        self._environment, self._allowed = environment, allowed
        self._loops, self._records, self._engine, self._clock, self._pulse = loops, records, engine, clock, pulse

    async def inject(self, service: str, request: FaultRequest) -> FaultView:
        """Begin a fault, or kill; back when the proxy has acknowledged it, or with the reason why not after some seconds.

        Raises NotFound, Refused, UserError, Conflict (nothing is there to break).
        """
        loop = self._loops.known(service)
        fault = self._fault(service, request)
        check(fault, request.seconds, allowed=self._allowed, environment=self._environment)
        async with loop.lock:
            hit = self._replicas(service, request.most) if request.kind in ("kill", "pause") else []
            now = self._clock.now()
            names = ", ".join(one.id for one in hit)
            event = Event(
                kind="fault.injected", service=service, author=request.author, wall=now.wall,
                message=f"{describe(fault, request)}{f': {names}' if names else ''}",
                data={"fault": fault.id, "kind": request.kind, "seconds": request.seconds},
            )  # fmt: skip
            if request.kind == "kill":
                await self._records.commit(Change(events=(event,)))
                for one in hit:
                    await self._engine.signal(one.id, "SIGKILL")
                return FaultView(id="", service=service, kind="kill", text=event.message)
            await self._begin(loop, fault, hit, event)
        # Without the lock: who clears it meanwhile need not wait for the proxy.
        if fault.kind == "pause" or await self._engine.acknowledged(
            service, lambda entry: fault.id in _ids(entry.faults)
        ):
            return self._view(service, fault)
        over = "" if fault.id in _ids(loop.intent().faults) else "it was over before the proxy had it: "
        return replace(self._view(service, fault), waits=over + self._engine.obstacle(service))

    async def _begin(self, loop: ServiceLoop, fault: Fault, hit: Sequence[Replica], event: Event) -> None:
        """Written down before it is done: whoever leads then knows what to lift."""
        intent = loop.intent()
        fault = replace(fault, replicas=tuple(one.id for one in hit))
        await self._records.commit(Change(puts=(replace(intent, faults=(*intent.faults, fault)),), events=(event,)))
        for one in hit:
            await self._engine.signal(one.id, "SIGSTOP")
        loop.apply()
        loop.hint()
        self._pulse.beat(loop.service)

    async def faults(self) -> Sequence[FaultView]:
        """Those in force, by service; also those that are over, while the proxy has yet to acknowledge that."""
        return tuple(
            self._view(service, fault) for service in self._records.services() for fault in self._standing(service)
        )

    async def clear(self, service: str, request: Mutation) -> Sequence[FaultView]:
        """End all faults of a service now, and wait like `inject`; those that were in force."""
        loop = self._loops.known(service)
        async with loop.lock:
            over = tuple(self._standing(service))
            if faults := loop.intent().faults:
                await loop.end(faults, request.author)
        if any(fault.kind != "pause" for fault in over):
            await self._engine.acknowledged(service, lambda entry: not _ids(over) & _ids(entry.faults))
        return tuple(self._view(service, fault) for fault in over)

    def _standing(self, service: str) -> Iterator[Fault]:
        intended = in_force(self._loops.of(service).intent().faults, self._clock.now())
        yield from intended
        ids = _ids(intended)
        yield from (fault for fault in self._engine.observe(service).faults if fault.id not in ids)

    def _fault(self, service: str, request: FaultRequest) -> Fault:
        now = self._clock.now()
        known = [*self._records.services(), "gateway"]
        if request.caller is not None and request.caller not in known:
            raise NotFound(
                f"nobody is called '{request.caller}'", f"--edge names who calls {service}",
                did_you_mean(request.caller, known) or "a service, or gateway", id="unknown-service",
            )  # fmt: skip
        if request.kind == "latency" and request.latency_s <= 0:
            raise UserError("a latency of nothing is no fault", "", "such as --latency 300ms", id="bad-request")
        if request.kind == "abort" and not 200 <= request.status <= 599:
            raise UserError(f"{request.status} is no HTTP status", "", "such as --abort 503", id="bad-request")
        return Fault(
            id=f"{service}-{secrets.token_hex(3)}",
            kind=request.kind if request.kind != "kill" else "pause",
            boot_id=now.boot_id,
            until_s=now.boot_s + request.seconds,
            caller="" if request.caller == "gateway" else request.caller,
            percent=request.percent,
            latency_s=request.latency_s,
            status=request.status,
            began_wall=now.wall,
            author=request.author,
        )

    def _replicas(self, service: str, most: int) -> list[Replica]:
        """Ready ones of the release with the traffic, the oldest first."""
        target = self._loops.of(service).intent().target
        ready = [
            one
            for one in self._engine.observe(service).replicas
            if is_ready(one) and one.record.release == target
        ]  # fmt: skip
        if not ready:
            why = "no replica of it is ready"
            raise Conflict(f"nothing of {service} is there to break", why, f"`atoll why {service}`", id="service-down")
        return sorted(ready, key=lambda one: one.record.created_s)[:most]

    def _view(self, service: str, fault: Fault) -> FaultView:
        now = self._clock.now()
        wanted = fault.id in _ids(in_force(self._loops.of(service).intent().faults, now))
        made = fault.kind == "pause" or fault.id in _ids(self._engine.observe(service).faults)
        left_s = max(0.0, fault.until_s - now.boot_s) if wanted else 0.0
        return FaultView(
            id=fault.id, service=service, kind=fault.kind, text=describe(fault), left_s=round(left_s, 1),
            caller="gateway" if fault.caller == "" else fault.caller, percent=fault.percent, author=fault.author,
            waits="" if made == wanted or fault.kind == "pause" else self._engine.obstacle(service),
        )  # fmt: skip


def _ids(faults: Iterable[Fault]) -> frozenset[str]:
    return frozenset(fault.id for fault in faults)


def describe(fault: Fault, request: FaultRequest | None = None) -> str:
    """`abort 503 for 20 % of the requests from web`."""
    if request is not None and request.kind == "kill":
        return "killed"
    who = "" if fault.caller is None else f" from {fault.caller or 'the gateway'}"
    share = f"{fault.percent} % of the requests" if fault.percent < 100 else "all requests"
    match fault.kind:
        case "latency":
            return f"{fault.latency_s * 1000:g} ms more for {share}{who}"
        case "abort":
            return f"{fault.status} for {share}{who}"
    return "stopped"
