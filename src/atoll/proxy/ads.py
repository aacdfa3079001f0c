"""The delta ADS server: keeps Envoy at the wanted resources and knows what it acknowledged or refused.

`EnvoyProxy` alone calls it. It knows nothing of services and tables. Envoy's traps that it handles (measured in 1.40):

- A changed or new cluster warms until it has its endpoint set; Envoy does not ask again for one it already has, and
  holds the acknowledgement for 15 s. So a cluster is always followed by its endpoint set.
- A refusal is not atomic and need not name the resource. So a refused response is sent again resource by resource: the
  one that is refused alone is the culprit, and the others are not held up by it.
- A refusal stands until Envoy takes the resource: it is sent again every second, so that a port that became free heals.
- Nothing is sent before `open`: an Envoy that outlived its daemon would take an empty answer for an order to drop all.
- While one Envoy takes over from another, both are connected. The older one gets endpoints, clusters and routes for the
  requests that it still has, but no listener, whose port it would fight for; what it refuses counts for nothing.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import grpc
import msgspec

from atoll.proxy.envoy import NODE
from atoll.proxy.protos import message
from atoll.proxy.resources import CDS, EDS, LDS, RDS, SDS, TYPES, Key, Made, Resource
from atoll.proxy.stream import Answer, Stream

RETRY_S = 1.0  # between attempts of a standing refusal


class Refusal(msgspec.Struct, frozen=True):
    """Envoy's words against one version of a resource."""

    version: str
    text: str


class Verdict(msgspec.Struct, frozen=True):
    """Where some resources stand: refused ones with Envoy's text, and those that it has not answered."""

    refused: Mapping[Key, str] = {}
    open: frozenset[Key] = frozenset()
    connected: bool = True


class Ads:
    """The wanted resources, the streams, and the refusals that stand."""

    def __init__(self) -> None:
        self.want: dict[str, dict[str, Resource]] = {kind: {} for kind in TYPES}
        self.refusals: dict[Key, Refusal] = {}
        self.generation = 0
        self._streams: list[Stream] = []  # the newest Envoy's last
        self._opened = False
        self._pulse = asyncio.Event()

    # --- what is wanted --------------------------------------------------------------------------------------------

    @property
    def opened(self) -> bool:
        """Whether anything is answered yet."""
        return self._opened

    @property
    def connected(self) -> bool:
        """Whether an Envoy has a stream."""
        return bool(self._streams)

    @property
    def envoys(self) -> int:
        """How many have a stream: two while one takes over from the other."""
        return len({stream.since for stream in self._streams})

    def open(self) -> None:
        """Begin to answer; the wanted resources are complete."""
        self._opened = True
        for stream in self._streams:
            for kind in TYPES:
                if kind in stream.types:
                    self._sync(stream, kind, first=True)

    def close(self) -> None:
        """End every stream in order, so that nothing has to be cancelled."""
        for stream in self._streams:
            stream.out.put_nowait(None)

    def version(self, key: Key) -> str:
        """The wanted version of a resource; "" when there is none."""
        resource = self.want[key[0]].get(key[1])
        return resource.version if resource else ""

    def put(self, made: Made) -> None:
        """Want these resources, and send those that Envoy does not have."""
        for (kind, name), resource in made.items():
            self.want[kind][name] = resource
            self._forget_refusal((kind, name), resource.version)
        for kind in TYPES:
            if any(key[0] == kind for key in made):
                self._sync_all(kind)

    def remove(self, keys: Iterable[Key]) -> None:
        """Want these resources no more; listeners go before the clusters they use."""
        gone = set(keys)
        for kind, name in gone:
            self.want[kind].pop(name, None)
            self._forget_refusal((kind, name), "")
        for kind in (LDS, CDS):
            if any(key[0] == kind for key in gone):
                self._sync_all(kind)

    def _forget_refusal(self, key: Key, version: str) -> None:
        refusal = self.refusals.get(key)
        if refusal and refusal.version != version:
            del self.refusals[key]

    # --- sending ---------------------------------------------------------------------------------------------------

    def _sync_all(self, kind: str) -> None:
        if self._opened:
            for stream in self._streams:
                if kind in stream.types:
                    self._sync(stream, kind)

    def _sync(self, stream: Stream, kind: str, *, first: bool = False) -> None:
        if kind == LDS and stream is not self._streams[-1]:
            return
        state, want = stream.types[kind], self.want[kind]
        new = {
            name: resource
            for name, resource in want.items()
            if state.sent.get(name) != resource.version
            and state.wants(name)
            and not self._refused((kind, name), resource.version)
        }
        # Endpoint sets and routes are never removed: Envoy drops them with the cluster or listener that used them.
        gone = [name for name in {*state.sent, *state.acked} if name not in want] if kind in (CDS, LDS) else []
        # An Envoy that starts waits for its clusters and listeners, be there none.
        if new or gone or (first and kind in (CDS, LDS) and not state.acked):
            stream.push(kind, new, gone)
        if kind == CDS:
            self._follow_with_endpoints(stream, new)

    def _refused(self, key: Key, version: str) -> bool:
        refusal = self.refusals.get(key)
        return refusal is not None and refusal.version == version

    def _follow_with_endpoints(self, stream: Stream, clusters: Mapping[str, Resource]) -> None:
        names = {cluster.endpoints for cluster in clusters.values()} & stream.subscription(EDS).names
        again = {name: self.want[EDS][name] for name in names if name in self.want[EDS]}
        if again:
            stream.push(EDS, again)

    def _warming(self, stream: Stream) -> Mapping[str, Resource]:
        """Clusters that were sent and not acknowledged."""
        state = stream.subscription(CDS)
        waiting = [name for name, version in state.sent.items() if state.acked.get(name) != version]
        return {name: self.want[CDS][name] for name in waiting if name in self.want[CDS]}

    def _send_alone(self, stream: Stream, kind: str, name: str) -> None:
        resource = self.want[kind].get(name)
        if resource is not None and stream.subscription(kind).wants(name):
            stream.push(kind, {name: resource})
            if kind == CDS:
                self._follow_with_endpoints(stream, {name: resource})

    # --- receiving -------------------------------------------------------------------------------------------------

    def _receive(self, stream: Stream, request: Any) -> None:
        if stream.since < 0:
            self._place(stream, request.node.id)
        answer = stream.answer(request)
        if answer is not None:
            self._take(stream, answer)
        first, asked = stream.note(request)
        if self._opened and request.type_url in self.want:
            if first:
                self._sync(stream, request.type_url, first=True)
                if request.type_url == EDS:  # its clusters came before it was known what they wait for
                    self._follow_with_endpoints(stream, self._warming(stream))
            elif asked:
                # Each subscription must be answered, also when the version is one that was sent before.
                have = self.want[request.type_url]
                found = {name: have[name] for name in asked if name in have}
                if found:
                    stream.push(request.type_url, found)
        self._wake()

    def _place(self, stream: Stream, node: str) -> None:
        """Among the streams by the age of its Envoy: after a restart of the daemon the older one may connect last."""
        started = node.removeprefix(NODE)
        stream.since = int(started) if started.isdigit() else 0
        self._streams.append(stream)
        self._streams.sort(key=lambda each: each.since)
        if stream is self._streams[-1]:
            self.refusals.clear()  # this Envoy will say anew what it refuses
            self.generation += 1

    def _lose(self, stream: Stream) -> None:
        newest = stream is self._streams[-1]
        self._streams.remove(stream)
        if newest and self._streams and self._opened:  # it did not get to take over: the one before it goes on
            self.refusals.clear()
            self.generation += 1
            for kind in TYPES:
                if kind in self._streams[-1].types:
                    self._sync(self._streams[-1], kind)

    def _take(self, stream: Stream, answer: Answer) -> None:
        if stream is not self._streams[-1]:
            return
        kind, versions = answer.pushed.kind, answer.pushed.versions
        if not answer.refusal:
            for name, version in versions.items():
                if self._refused((kind, name), version or ""):
                    del self.refusals[kind, name]
            return
        names = [name for name, version in versions.items() if version is not None]
        if len(versions) == 1 and names:
            name = names[0]
            resource = self.want[kind].get(name)
            if resource is not None and resource.version == versions[name]:
                self.refusals[kind, name] = Refusal(resource.version, answer.refusal)
            return
        for name in names:
            self._send_alone(stream, kind, name)
        gone = [name for name, version in versions.items() if version is None and name not in self.want[kind]]
        if gone and names:
            stream.push(kind, {}, gone)

    def _wake(self) -> None:
        self._pulse.set()
        self._pulse = asyncio.Event()

    # --- waiting ---------------------------------------------------------------------------------------------------

    def standing(self, keys: Iterable[Key]) -> Verdict:
        """Where these resources stand on the newest stream now."""
        if not self._streams:
            return Verdict(open=frozenset(keys), connected=False)
        stream = self._streams[-1]
        refused: dict[Key, str] = {}
        missing: set[Key] = set()
        for key in keys:
            refusal = self.refusals.get(key)
            if refusal is not None:
                refused[key] = refusal.text
            elif not self._settled(stream, key):
                missing.add(key)
        return Verdict(refused, frozenset(missing))

    def _settled(self, stream: Stream, key: Key) -> bool:
        kind, name = key
        state, resource = stream.subscription(kind), self.want[kind].get(name)
        if kind in (EDS, SDS) and not state.wants(name):
            return True  # nothing uses it; what does is acknowledged only after it asked for this
        if kind == RDS and (name not in self.want[LDS] or (LDS, name) in self.refusals):
            return True
        if resource is None:
            return kind in (EDS, RDS) or (name not in state.acked and not stream.awaits(kind, name))
        return state.acked.get(name) == resource.version

    async def settle(self, keys: Iterable[Key], within_s: float) -> Verdict:
        """Wait until Envoy acknowledged each of these, or refused one, or the time is over."""
        wanted = frozenset(keys)
        deadline = asyncio.get_running_loop().time() + within_s
        while True:
            pulse, verdict = self._pulse, self.standing(wanted)
            left = deadline - asyncio.get_running_loop().time()
            if verdict.refused or not verdict.open or left <= 0:
                return verdict
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(pulse.wait(), left)

    async def retry_refused(self) -> None:
        """Send what is refused again, for ever; a task of `EnvoyProxy`."""
        while True:
            await asyncio.sleep(RETRY_S)
            for stream in self._streams[-1:]:
                for kind, name in list(self.refusals):
                    if not stream.awaits(kind, name):
                        self._send_alone(stream, kind, name)

    # --- gRPC ------------------------------------------------------------------------------------------------------

    def handler(self) -> grpc.GenericRpcHandler:
        """The service for `grpc.aio.Server.add_generic_rpc_handlers`."""
        method = grpc.stream_stream_rpc_method_handler(
            self._serve,
            request_deserializer=message("envoy.service.discovery.v3.DeltaDiscoveryRequest").FromString,
            response_serializer=message("envoy.service.discovery.v3.DeltaDiscoveryResponse").SerializeToString,
        )
        return grpc.method_handlers_generic_handler(
            "envoy.service.discovery.v3.AggregatedDiscoveryService", {"DeltaAggregatedResources": method}
        )

    async def _serve(self, requests: AsyncIterator[Any], _context: Any) -> AsyncIterator[Any]:
        stream = Stream()

        async def read() -> None:
            try:
                async for request in requests:
                    self._receive(stream, request)
            finally:
                stream.out.put_nowait(None)

        reader = asyncio.create_task(read())
        try:
            while (response := await stream.out.get()) is not None:
                yield response
            if reader.done():
                reader.result()  # a fault of ours must not pass for an end of Envoy's
        finally:
            reader.cancel()
            if stream in self._streams:
                self._lose(stream)
            self._wake()
