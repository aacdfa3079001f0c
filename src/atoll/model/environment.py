"""What a person wants of a workspace and of one of its environments: the resolved content of `atoll.toml`.

As in `model.spec`, which has what a service's own file says, defaults stand here, once, each with its reason.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from atoll.model.cache import CacheSpec
from atoll.model.command import Command
from atoll.model.errors import Problem
from atoll.model.spec import Plain, SecretRef, ServiceSpec, Store
from atoll.model.task import Task


class Root(msgspec.Struct, frozen=True, kw_only=True):
    """Another repository with services of the workspace."""

    path: str  # relative to the workspace, absolute, or from `~` on
    services: tuple[str, ...] = ()  # globs within it; none are the usual ones
    optional: bool = False  # not everybody has it


class CertificateFiles(msgspec.Struct, frozen=True, kw_only=True):
    """A pair that somebody else keeps fresh: paths, relative to the workspace, absolute, or from `~` on."""

    cert: str  # the chain, the host's own certificate first
    key: str


class Acme(msgspec.Struct, frozen=True, kw_only=True):
    """An authority that is asked for certificates by ACME (RFC 8555), one for each host."""

    hosts: tuple[str, ...]
    agree: bool = False  # to the authority's terms of service; it must be
    email: str = ""
    directory: str = "https://acme-v02.api.letsencrypt.org/directory"
    ca: str = ""  # a file of certificates that the directory itself is trusted by; "" is the machine's


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """How the gateway encrypts."""

    certificates: tuple[CertificateFiles, ...] = ()
    acme: Acme | None = None
    http: int | None = None  # the port of plain HTTP, which leads to this one; None: there is none
    hsts_s: float = 0.0  # how long browsers shall refuse plain HTTP; 0 is not said to them
    minimum: Literal["1.2", "1.3"] = "1.2"  # what Mozilla's "intermediate" asks for; 1.0 and 1.1 are gone (RFC 8996)


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """The way in from outside."""

    host: str = "127.0.0.1"
    port: int = 8080
    tls: Tls | None = None  # None is plain HTTP

    def __str__(self) -> str:
        """`host:port`, as atoll.toml writes it."""
        return host_port(self.host, self.port)


def host_port(host: str, port: int) -> str:
    """An address as URLs have it: one of IPv6 in brackets (RFC 3986 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Freeze(msgspec.Struct, frozen=True, kw_only=True):
    """When nothing new is deployed: between two dates, or at hours of weekdays. Dates and hours are of `zone`."""

    first: str = ""  # a date, 2026-12-20; "" is a weekly freeze
    last: str = ""  # a date, the last frozen day
    days: tuple[str, ...] = ()  # mon .. sun; () is each day
    after: str = "00:00"
    before: str = "24:00"
    zone: str = "UTC"
    why: str = ""


class Notify(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook that is told of events, signed when it has a `secret`."""

    url: Plain | SecretRef
    events: tuple[str, ...] = (
        *("rollout.live", "rollout.undone", "rollout.paused", "rollout.condemned", "job.failed"),
        *("certificate.refused", "certificate.failed", "certificate.expiring", "certificate.expired"),
    )
    secret: str = ""  # the secret whose value signs


class Dev(msgspec.Struct, frozen=True, kw_only=True):
    """How `atoll dev` runs a service in its own folder, instead of building it. No part of its releases elsewhere."""

    run: Command
    reload: Command | None = None  # run for each replica after an edit; None: the program sees its files by itself


class DockerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What an environment of containers needs to know of Docker."""

    socket: str = ""  # path of dockerd's socket; "" is what Docker's own client would use
    networks: str = "10.201.0.0/16"  # from which each service gets a network; few machines route it anywhere
    registry: str = ""  # where images are pushed to and pulled from, host[:port]/path; "" keeps them on this machine
    bases: Mapping[str, str] = {}  # name of a technology -> the image to start from instead of the usual one


class ReadApi(msgspec.Struct, frozen=True, kw_only=True):
    """Where the API may be read over TCP, with a token."""

    host: str = "127.0.0.1"
    port: int = 9180
    names: tuple[str, ...] = ()  # of the machine, besides localhost and its addresses: what a Host header may say

    def __str__(self) -> str:
        """`host:port`."""
        return host_port(self.host, self.port)


class EnvironmentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One environment of a workspace as `atoll.toml` says it."""

    name: str = "local"
    host: str | None = None  # the URL of the machine that it runs on (`model.host`); None is this one
    engine: Literal["process", "docker"] = "process"
    docker: DockerSpec = DockerSpec()
    gateway: Gateway = Gateway()
    envoy: str | None = None  # a path to one's own Envoy; None is the wheel's
    freezes: tuple[Freeze, ...] = ()
    require: tuple[str, ...] = ()  # tasks that must be green, for the very files, of what is deployed
    notify: tuple[Notify, ...] = ()
    faults: bool | None = None  # whether faults may be injected; None is in `local` only
    dev: bool | None = None  # whether `atoll dev` may move services without watching them; None is in `local` only
    metrics: int | None = None  # a port on 127.0.0.1 for Prometheus; None: on the API's socket only
    api: ReadApi | None = None  # None: on sockets only
    ports: tuple[int, int] = (20000, 29999)  # leased to replicas and edges; outside Linux's ephemeral 32768-60999

    @property
    def for_development(self) -> bool:
        """Whether `atoll dev` works here."""
        return self.name == "local" if self.dev is None else self.dev


class WorkspaceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A repository with services, seen for one environment."""

    name: str
    root: str  # absolute path
    environment: EnvironmentSpec
    services: Mapping[str, ServiceSpec] = {}
    libraries: Mapping[str, ServiceSpec] = {}  # what has tasks and never runs: code that services share
    tasks: Mapping[str, tuple[Task, ...]] = {}  # of services and libraries, besides their builds; no part of releases
    dev: Mapping[str, Dev] = {}  # of services that `atoll dev` runs in their own folders
    cache: CacheSpec = CacheSpec()
    stores: Mapping[str, Store] = {}  # those of atoll.toml, whether a service uses them or not
    servers: Mapping[str, Store] = {}  # those that Atoll runs, also of a service; in `services` they say who, not what
    warnings: tuple[Problem, ...] = ()  # what does not stand in the way, but should be looked at

    @property
    def worked_on(self) -> Mapping[str, ServiceSpec]:
        """Everything that has tasks, services and libraries; no two have the same name."""
        return {**self.services, **self.libraries}
