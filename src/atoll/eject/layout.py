"""Where everything is once Atoll is gone: fixed ports and addresses, templates filled in, an order of starting.

The writers (`compose`, `units`, `nginx`) ask it. Pure. On a host (systemd) every replica has a port of its own on
loopback and every edge one of nginx; in compose every service has a host name, and ports that are the same everywhere.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from atoll.model.building import Step
from atoll.model.environment import WorkspaceSpec
from atoll.model.errors import UserError
from atoll.model.spec import Call, Command, Job, Plain, Port, SecretRef, ServiceSpec
from atoll.model.templates import PORT_PLACEHOLDERS, SECRET_PREFIX, fill, placeholders

LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"
RELEASE = "ejected"  # what `{release}` is
CONTAINER_PORT = 8080  # of a service's first port in compose; the next ones follow
CONTAINER_DATA = "/data"
CONTAINER_FILES = "/files"
UNIT_FILES = "systemd/files"  # below it a folder a replica
_USUAL_PORTS = {"http": 80, "https": 443, "grpc": 80, "grpcs": 443}


class Recipe(NamedTuple):
    """How one service is built without Atoll. `env` is what the run command needs; `{folder}` is where it was built."""

    builder: str
    steps: tuple[Step, ...] = ()
    env: Mapping[str, str] = {}


class Edge(NamedTuple):
    """A call, and the port on which nginx takes it on a host."""

    caller: ServiceSpec
    call: Call
    callee: ServiceSpec | None  # None: outside, or absent
    port: int


class Layout:
    """One workspace, laid out. `folder` is where the files go, absolute."""

    def __init__(self, workspace: WorkspaceSpec, recipes: Mapping[str, Recipe], folder: str) -> None:
        self.workspace, self.recipes, self.folder = workspace, recipes, folder
        self.services = [workspace.services[name] for name in sorted(workspace.services)]
        self.name = re.sub(r"[^a-z0-9]+", "-", workspace.name.lower()).strip("-") or "workspace"
        self.ports: dict[tuple[str, int, str], int] = {}  # (service, replica, port's name) -> number on a host
        self.edges: list[Edge] = []
        first, last = workspace.environment.ports
        numbers = iter(range(first, last + 1))
        try:
            for spec in self.services:
                for replica in range(1, spec.replicas + 1):
                    for port in spec.ports:
                        self.ports[spec.name, replica, port.name] = port.number or next(numbers)
            self.edges += [self._edge(spec, call, next(numbers)) for spec, call in self._inner_calls()]
        except StopIteration:
            why = "every replica and every call needs one of its own"
            raise UserError(
                f"the ports {first}-{last} are too few", why, "widen `ports` in atoll.toml", id="port-range"
            ) from None
        self.after, self.circles = _order(self.services, workspace.services)

    def _inner_calls(self) -> Iterator[tuple[ServiceSpec, Call]]:
        return ((spec, call) for spec in self.services for call in spec.calls if call.url is None and call.env)

    def _edge(self, spec: ServiceSpec, call: Call, port: int) -> Edge:
        callee = self.workspace.services.get(call.callee)
        return Edge(spec, call, callee if callee and callee.port(call.port) else None, port)

    @property
    def routed(self) -> bool:
        """Whether anything is reached through the gateway."""
        return any(spec.routes for spec in self.services)

    @property
    def needs_nginx(self) -> bool:
        """Whether a host needs it."""
        return self.routed or bool(self.edges)

    def upstream(self, spec: ServiceSpec, port: Port) -> Sequence[str]:
        """Where the replicas of a service listen on a host."""
        return [f"{LOOPBACK}:{self.ports[spec.name, n, port.name]}" for n in range(1, spec.replicas + 1)]

    # --- jobs -----------------------------------------------------------------------------------------------------

    def jobs_of(self, spec: ServiceSpec) -> Iterator[Job]:
        """A service's jobs, and what runs before its releases as one more, `before`."""
        yield from spec.jobs
        if before := spec.rollout.before:
            yield Job(name="before", run=before.run, env=before.env, timeout_s=before.timeout_s)

    def job_name(self, spec: ServiceSpec, job: Job) -> str:
        """`orders-nightly`; unlike any service's."""
        name = f"{spec.name}-{job.name}"
        return f"{name}-job" if name in self.workspace.services else name

    # --- what a service is started with ---------------------------------------------------------------------------

    def on_host(self, spec: ServiceSpec, replica: int) -> "Started":
        """One replica, from 1 on, under systemd."""
        ports = {port.name: self.ports[spec.name, replica, port.name] for port in spec.ports}
        at = f"{self.folder}/build/{spec.name}"
        data = f"/var/lib/{self.name}/{spec.name}"
        kept = {"data": data, "files": f"{self.folder}/{UNIT_FILES}/{spec.name}-{replica}"}
        addresses = {}
        for edge in self.edges:
            if edge.caller is spec:
                addresses[edge.call.callee, edge.call.port] = (LOOPBACK, edge.port)
        return self._started(spec, ports, LOOPBACK, kept, at, addresses)

    def in_container(self, spec: ServiceSpec) -> "Started":
        """Any replica, in compose."""
        ports = container_ports(spec)
        kept = {"data": CONTAINER_DATA, "files": CONTAINER_FILES}
        addresses = {}
        for edge in self.edges:
            if edge.caller is spec:
                port = edge.callee.port(edge.call.port) if edge.callee else None
                number = container_ports(edge.callee)[port.name] if edge.callee and port else 80
                addresses[edge.call.callee, edge.call.port] = (edge.call.callee, number)
        return self._started(spec, ports, EVERYWHERE, kept, "/app", addresses)

    def _started(
        self,
        spec: ServiceSpec,
        ports: Mapping[str, int],
        host: str,
        kept: Mapping[str, str],
        folder: str,
        addresses: Mapping[tuple[str, str], tuple[str, int]],
    ) -> "Started":
        names = {"service": spec.name, "release": RELEASE}
        values = {**names, **kept, "host": host} | {f"port.{name}": str(number) for name, number in ports.items()}
        if first := spec.port(""):
            values |= _address(host, ports[first.name])
        env: dict[str, str] = {}
        before: dict[str, str] = {}
        recipe = self.recipes.get(spec.name)
        for name, text in (recipe.env if recipe else {}).items():
            into = before if name.endswith("+") else env
            into[name.removesuffix("+")] = text.replace("{folder}", folder)
        env |= {port.env: str(ports[port.name]) for port in spec.ports if port.env}
        for call in spec.calls:
            if call.url is not None:
                where = _outside(call.url)
            elif (call.callee, call.port) in addresses:
                where = _address(*addresses[call.callee, call.port])
            else:
                where = _address(host, 80)
            values |= {f"calls.{call.callee}.{part}": text for part, text in where.items()}
            if call.url is None and (call.callee, call.port) not in addresses:
                continue
            env |= {name: fill(template, where | names) for name, template in call.env.items()}
        secrets: dict[str, str] = {}
        for name, value in spec.env.items():
            env.pop(name, None)
            if isinstance(value, SecretRef):
                secrets[name] = f"{value.name}-{name.lower()}" if value.part else value.name  # nobody can take it apart
            else:
                env[name] = fill(value.value, values)
        known = env | {name: marked("secret", secret) for name, secret in secrets.items()}
        known |= {name: marked("variable", name) for name in spec.inherit if name not in known}
        inside = values | {f"env.{name}": text for name, text in known.items()}
        inside |= {f"{SECRET_PREFIX}{name}": marked("secret", name) for name in spec.file_secrets}
        files = {name: fill(file.text, inside) for name, file in spec.files.items()}
        workdir = folder if spec.workdir == "." else f"{folder}/{spec.workdir}"
        return Started(spec, workdir, env, before, secrets, values, ports, files)


class Started(NamedTuple):
    """What one replica is started with; templates are filled in.

    `before` comes before what a variable holds anyway (PATH); `secrets` maps variables to secrets' names.
    """

    spec: ServiceSpec
    workdir: str
    env: Mapping[str, str]
    before: Mapping[str, str]
    secrets: Mapping[str, str]
    values: Mapping[str, str]
    ports: Mapping[str, int]
    files: Mapping[str, str]  # what only a person or a shell can fill in is `marked`

    def filled(self, command: Command) -> Sequence[str]:
        """A command as an argument vector."""
        if command.shell is not None:
            return ["/bin/sh", "-c", fill(command.shell, self.values)]
        return [fill(word, self.values) for word in command.argv]

    def as_job(self, job: Job) -> "Started":
        """The same without a port, and with the job's own variables."""
        ported = {port.env for port in self.spec.ports}
        ported |= {
            name
            for name, value in self.spec.env.items()
            if isinstance(value, Plain)
            and any(each.partition(".")[0] in PORT_PLACEHOLDERS for each in placeholders(value.value))
        }
        env = {name: text for name, text in self.env.items() if name not in ported}
        secrets = dict(self.secrets)
        for name, value in job.env.items():
            env.pop(name, None)
            secrets.pop(name, None)
            if isinstance(value, SecretRef):
                secrets[name] = value.name
            else:
                env[name] = fill(value.value, self.values)
        return self._replace(env=env, secrets=secrets)

    @property
    def keeps_data(self) -> bool:
        """Whether it names its own folder, `{data}`."""
        texts = [command.text for command in self.spec.every_command]
        texts += [v.value for env in self.spec.every_env for v in env.values() if isinstance(v, Plain)]
        texts += [file.text for file in self.spec.files.values()]
        return any("data" in placeholders(text) for text in texts)

    @property
    def probed_port(self) -> int:
        """The number of the port that its readiness probe asks."""
        port = self.spec.port(self.spec.health.ready.port)
        return self.ports[port.name] if port else 0


def container_ports(spec: ServiceSpec) -> dict[str, int]:
    """The same for every service, since each container has its own network."""
    return {port.name: port.number or CONTAINER_PORT + index for index, port in enumerate(spec.ports)}


def marked(kind: Literal["secret", "variable"], name: str) -> str:
    """A value in a rendered file that is not known here; each writer turns it into its own words by `turned`."""
    return f"\0{kind}:{name}\0"


def turned(text: str, of: Callable[[str, str], str]) -> str:
    """A rendered file with every mark replaced by `of(kind, name)`."""
    return re.sub("\0([a-z]+):([^\0]*)\0", lambda found: of(found[1], found[2]), text)


def variable(secret: str) -> str:
    """The variable that carries a secret into compose: `orders-db` is ORDERS_DB."""
    name = re.sub(r"[^A-Za-z0-9]", "_", secret).upper()
    return f"_{name}" if name[0].isdigit() else name


def _address(host: str, port: int) -> dict[str, str]:
    return {"host": host, "port": str(port), "address": f"{host}:{port}", "url": f"http://{host}:{port}"}


def _outside(url: str) -> dict[str, str]:
    """The address of a callee outside the workspace, which is reached directly."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _USUAL_PORTS.get(parts.scheme, 80)
    shown = f"[{host}]" if ":" in host else host
    return {"host": shown, "port": str(port), "address": f"{shown}:{port}", "url": url.rstrip("/")}


def _order(
    services: Sequence[ServiceSpec], known: Mapping[str, ServiceSpec]
) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
    """Whom each service starts after, without circles; and the calls that were left out to break them."""
    after: dict[str, list[str]] = {spec.name: [] for spec in services}
    circles: list[tuple[str, str]] = []

    def reaches(start: str, goal: str) -> bool:
        return start == goal or any(reaches(each, goal) for each in after[start])

    for spec in services:
        for callee in sorted({call.callee for call in spec.calls if call.url is None and not call.optional}):
            if callee not in known:
                continue
            if reaches(callee, spec.name):
                circles.append((spec.name, callee))
            else:
                after[spec.name].append(callee)
    return after, circles
