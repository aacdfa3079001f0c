"""The stores that Atoll runs, one module a type: what is started, its files, how it is asked, how it ends.

`app` calls it when a command or the daemon needs a store's specification; which stores there are and whether they may be
run is decided elsewhere. Each type makes a `ServiceSpec` like any other, so that whoever supervises, probes and restarts
services does the same for stores. Nothing here starts anything.
"""

import platform
from collections.abc import Mapping, Sequence
from types import ModuleType

from msgspec.structs import replace

from atoll.model.errors import UserError
from atoll.model.spec import (
    Health,
    Limits,
    Probe,
    RolloutSpec,
    Server,
    ServiceSpec,
    Stop,
    Store,
)
from atoll.model.state import Artifact, Image
from atoll.model.wire import Draft
from atoll.servers import image, nats, postgres, redis
from atoll.servers.programs import Program

_BY_TYPE: Mapping[str, ModuleType] = {"postgres": postgres, "redis": redis, "nats": nats}
_START_BUDGET_S = 120.0  # a database that was killed reads its log first
_GRACE_S = 60.0  # and writes everything down when it ends


def draft(store: Store, made: Program | Image) -> Draft:
    """What would become a release of a store that Atoll runs, with a program of this machine or in an image."""
    server = _server(store)
    inside = isinstance(made, Image)
    spec = _settled(store, _module(store).service(store.name, server, None if inside else made), inside=inside)
    what = made.id if isinstance(made, Image) else f"{store.type} {server.version}".rstrip()
    artifact = Artifact(
        key=f"store-{store.type or 'image'}",
        digest=what,
        builder="store",
        platform=platform.machine(),
        path="/",
        image=made if isinstance(made, Image) else None,
    )
    return Draft(spec=spec, artifact=artifact)


def image_name(store: Store, bases: Mapping[str, str]) -> str:
    """The image of a store: the file's own, else the environment's for its type (`docker.bases`), else the usual one."""
    server = _server(store)
    if server.image:
        return server.image
    if store.type in bases:
        return bases[store.type]
    usual: str = _module(store).IMAGE
    name, _, tag = usual.partition(":")
    _, dash, variant = tag.partition("-")
    return f"{name}:{server.version}{dash}{variant}" if server.version else usual


def image_user(store: Store, named: str) -> str:
    """Whom it runs as in an image that names `named`: a database that insists on a user with a name gets its own."""
    own: str = getattr(_module(store), "USER", "")
    return own if named in {"", "root", "0"} else named


def programs(store: Store, search: Sequence[str]) -> Program:
    """The server's programs on this machine, in one of the folders of `search`. Raises UserError, with what to install."""
    server = _server(store)
    if store.type not in _BY_TYPE:
        raise UserError(
            f"the store {store.name} is the image {server.image}, which an engine of processes cannot run",
            "Atoll knows how postgres, redis and nats are run without one",
            f'say where it is: [stores.{store.name}] url = "{store.type or "tcp"}://..."; or let containers run: engine = "docker"',
            id="store-not-here",
        )
    module = _module(store)
    found: Program | None = module.find(server.version, search)
    if found is None:
        other: Program | None = module.find("", search)
        has = f"has {other.version} ({other.path})" if other else "has none"
        raise UserError(
            f"the store {store.name} needs a {f'{store.type} {server.version}'.rstrip()} server, and this machine {has}",
            f"{module.PROGRAM} is looked for on the PATH, and where Debian has it",
            f"sudo apt-get install {module.PACKAGE}; or say where one is: "
            f'[stores.{store.name}] url = "{store.type}://..."; or let containers run: engine = "docker"',
            id="store-not-here",
        )
    return found


def _server(store: Store) -> Server:
    assert store.server is not None, store.name
    return store.server


def _module(store: Store) -> ModuleType:
    return _BY_TYPE.get(store.type, image)


def _settled(store: Store, spec: ServiceSpec, *, inside: bool) -> ServiceSpec:
    """With what is the same for every store: one at a time, its old release never warm, nobody watches its numbers."""
    server, module = _server(store), _module(store)
    # Alone with its addresses it may as well listen where everybody expects it.
    ports = (
        tuple(replace(port, number=module.NUMBER) for port in spec.ports)
        if inside and store.type in _BY_TYPE
        else spec.ports
    )
    return replace(
        spec,
        ports=ports,
        store=store.type or "image",
        description=f"{store.type or server.image}, run by Atoll",
        health=Health(ready=_patient(spec.health.ready), start_budget_s=_START_BUDGET_S, stable_for_s=0.2),
        stop=Stop(signal=spec.stop.signal, grace_s=_GRACE_S, drain_s=0.0),
        limits=Limits(memory_bytes=server.memory_bytes),
        rollout=RolloutSpec(strategy="all-at-once", bake_s=0.0),
        replicas=1,
        overlap=False,
    )


def _patient(probe: Probe) -> Probe:
    """A database under load answers late, and must not be taken out for it."""
    return replace(probe, timeout_s=max(probe.timeout_s, 5.0))
