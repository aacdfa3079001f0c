"""One Envoy's delta ADS stream: what it asked for, what was sent, what it acknowledged. No I/O; `ads` drives it."""

import itertools
from asyncio import Queue
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from atoll.proxy.protos import message
from atoll.proxy.resources import CDS, LDS, Resource

_ids = itertools.count(1)


class Subscription(msgspec.Struct):
    """One resource type on one stream. `sent` and `acked` map a name to the version."""

    everything: bool = False  # a wildcard: clusters and listeners
    names: set[str] = msgspec.field(default_factory=set)
    sent: dict[str, str] = msgspec.field(default_factory=dict)
    acked: dict[str, str] = msgspec.field(default_factory=dict)

    def wants(self, name: str) -> bool:
        """Whether Envoy asked for it."""
        return self.everything or name in self.names


class Pushed(msgspec.Struct, frozen=True):
    """A response that was not answered yet: the version of each name, None for a removal."""

    kind: str
    versions: Mapping[str, str | None]


class Answer(msgspec.Struct, frozen=True):
    """What a request said about an earlier response. `refusal` is Envoy's text, "" for an acknowledgement."""

    pushed: Pushed
    refusal: str


class Stream:
    """The state of one stream; responses are put into `out`, None at its end."""

    def __init__(self) -> None:
        self.id = next(_ids)
        self.since = -1  # when its Envoy was started, by the keeper's clock; -1 before it has said so
        self.out: Queue[Any] = Queue()
        self.types: dict[str, Subscription] = {}
        self._pending: dict[str, Pushed] = {}
        self._nonces = itertools.count(1)

    def subscription(self, kind: str) -> Subscription:
        """The state of one type, empty before Envoy asked for it."""
        return self.types.get(kind) or Subscription()

    def note(self, request: Any) -> tuple[bool, set[str]]:
        """Take in what a request subscribes to: whether it is the type's first, and the names it asked for now."""
        kind, first = request.type_url, request.type_url not in self.types
        state = self.types.setdefault(kind, Subscription())
        asked = set(request.resource_names_subscribe)
        if first:
            # A reconnecting Envoy says what it has, by our content hashes.
            state.sent.update(request.initial_resource_versions)
            state.acked.update(request.initial_resource_versions)
            state.everything = not asked and kind in (CDS, LDS)
        if "*" in asked:
            state.everything = True
            asked.discard("*")
        state.names |= asked
        for name in request.resource_names_unsubscribe:
            state.names.discard(name)
            state.sent.pop(name, None)
            state.acked.pop(name, None)
        return first, asked

    def answer(self, request: Any) -> Answer | None:
        """What a request acknowledges or refuses; None when it answers nothing that is open."""
        pushed = self._pending.pop(request.response_nonce, None) if request.response_nonce else None
        if pushed is None:
            return None
        state = self.types[pushed.kind]
        refused = request.HasField("error_detail")
        for name, version in pushed.versions.items():
            if refused:
                # A refusal is not atomic: Envoy keeps the good ones of the same response. What it has is unknown.
                state.sent.pop(name, None)
                state.acked.pop(name, None)
            elif version is None:
                state.acked.pop(name, None)
            elif state.wants(name):
                state.acked[name] = version
        return Answer(pushed, (request.error_detail.message or "refused without a reason") if refused else "")

    def push(self, kind: str, resources: Mapping[str, Resource], removed: Iterable[str] = ()) -> None:
        """Send resources and removals in one response."""
        nonce = f"{self.id}.{next(self._nonces)}"
        response = message("envoy.service.discovery.v3.DeltaDiscoveryResponse")(type_url=kind, nonce=nonce)
        state = self.types.setdefault(kind, Subscription())
        versions: dict[str, str | None] = {}
        for name, resource in resources.items():
            response.resources.add(name=name, version=resource.version, resource=resource.body)
            versions[name] = state.sent[name] = resource.version
        for name in removed:
            response.removed_resources.append(name)
            versions[name] = None
            state.sent.pop(name, None)
        self._pending[nonce] = Pushed(kind, versions)
        self.out.put_nowait(response)

    def awaits(self, kind: str, name: str) -> bool:
        """Whether a response with this resource is not answered yet."""
        return any(pushed.kind == kind and name in pushed.versions for pushed in self._pending.values())
