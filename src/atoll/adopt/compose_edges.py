"""Who calls whom in a Compose file: variables that hold another service's address become calls, those that hold a
store's point at this machine, and passwords become secrets.
"""

import re
from collections.abc import Mapping, Sequence

import msgspec

from atoll.adopt.compose_ports import named
from atoll.adopt.compose_servers import Run
from atoll.adopt.compose_told import Told
from atoll.adopt.compose_values import NAME
from atoll.adopt.found import CallFound, Found, Left, Place, StoreFound, slug
from atoll.model.templates import literal

_HOST = re.compile(
    r"(?:^|_)(?:HOST|HOSTNAME|HOSTS|ADDR|ADDRESS|SERVER|SERVERS|ENDPOINT|UPSTREAM|BROKERS?|URL|URI)$", re.IGNORECASE
)
_SECRET = re.compile(
    r"PASSWORD|PASSWD|(?:^|_)PASS$|SECRET|(?:^|_)TOKEN$|API_?KEY|PRIVATE_KEY|ACCESS_KEY|CREDENTIALS", re.IGNORECASE
)
_INLINE = re.compile(r"://[^/@\s:]*:[^/@\s]+@|(?:^|;)\s*(?:password|pwd)\s*=\s*[^;\s]", re.IGNORECASE)
_GRPC = {4317, 50051}  # OpenTelemetry's collector, and what gRPC's examples listen on
# Usual ports and what they are, by a word of the image's name.
STORES: Mapping[str, int] = {
    "postgres": 5432, "postgis": 5432, "timescale": 5432, "pgvector": 5432, "mysql": 3306, "mariadb": 3306,
    "redis": 6379, "valkey": 6379, "keydb": 6379, "mongo": 27017, "rabbitmq": 5672, "kafka": 9092, "redpanda": 9092,
    "nats": 4222, "memcached": 11211, "elasticsearch": 9200, "opensearch": 9200, "minio": 9000, "cassandra": 9042,
    "couchdb": 5984, "zookeeper": 2181, "clickhouse": 8123, "influxdb": 8086, "mssql": 1433, "consul": 8500,
    "etcd": 2379, "neo4j": 7687, "dynamodb": 8000, "meilisearch": 7700,
}  # fmt: skip


class Outside(msgspec.Struct, kw_only=True):
    """A service of the Compose file that Atoll does not run: an image. `ports`: container -> published on this machine."""

    name: str
    image: str
    ports: dict[int, int] = {}
    place: Place = Place()
    told: bool = False  # that it does not run is said already
    used_by: list[tuple[str, str]] = []  # service and variable
    run: Run | None = None  # what Atoll can run in its stead
    runs: bool = False  # that it does

    @property
    def store(self) -> int:
        """The usual port, when the image is a store; 0 otherwise."""
        return next((port for word, port in STORES.items() if word in self.image.lower()), 0)

    def at(self, port: int) -> int:
        """The port on this machine that stands for a container's port."""
        return self.ports.get(port, port)


class Edges:
    """Goes through the variables of every service, once all of them are known."""

    _told: Told  # of the service that is being taken

    def __init__(self, services: Mapping[str, Found], outside: Mapping[str, Outside]) -> None:
        self.services, self.outside = services, outside
        self._secrets: dict[tuple[str, str], str] = {}
        names = sorted((*services, *outside), key=len, reverse=True)
        any_name = "|".join(re.escape(name) for name in names) or "(?!)"
        self._in_words = re.compile(  # .NET's and ODBC's connection strings
            rf"((?:^|;)\s*(?:Server|Host|Data Source|Address)\s*=\s*(?:tcp:)?)({any_name})(?:([,:])(\d{{1,5}}))?(?=\s*(?:;|$))",
            re.IGNORECASE,
        )
        self._address = re.compile(
            rf"(?<![\w.@/-])((?:[a-z][a-z0-9+]*://)?(?:[^/@\s,]*@)?)({any_name})(?::(\d{{1,5}}))?(?![\w.:-])"
        )

    def take(self, found: Found, variables: Mapping[str, str | None], told: Told) -> None:
        """Sort a service's variables into calls, secrets, values and those taken over."""
        self._told = told
        for name, value in variables.items():
            if not NAME.fullmatch(name):
                self._tell(name, f"variable {name!r} has no name that a shell allows", "rename it")
            elif value is None:
                found.inherit.append(name)
            elif not self._call(found, name, value, variables):
                value = self._outside(found, name, value, variables)
                if value and is_secret(name, value):
                    self._secret(found, name, value)
                else:
                    found.env[name] = literal(value)
        for name in {key for call in found.calls.values() for key in call.env} & set(found.env):
            del found.env[name]  # the port that stood before its host

    def _matches(self, value: str, name: str) -> list[re.Match[str]]:
        """The addresses within a value. A mere name is one only in a variable that asks for a host."""
        found = list(self._address.finditer(value))
        return [each for each in found if each[3] or each[1] or (each[0] == value and _HOST.search(name))]

    def _call(self, found: Found, name: str, value: str, variables: Mapping[str, str | None]) -> bool:
        """Whether the value is the address of a service here (or of an outside one that speaks HTTP), and so a call."""
        if name in {key for call in found.calls.values() for key in call.env}:
            return True  # the port that goes with a host
        matches = self._matches(value, name)
        inner = [each for each in matches if each[2] in self.services]
        if not inner:
            return bool(matches) and self._web(found, name, value, matches)
        callees = {each[2] for each in inner}
        if len(callees) > 1 or len(inner) != len(matches):
            names = ", ".join(sorted({each[2] for each in matches}))
            self._tell(name, f"{name} holds several addresses ({names})", "give each a variable of its own, as a call")
            return False
        match, callee = inner[0], self.services[inner[0][2]]
        if callee.protocol == "none":
            self._tell(
                name, f"{name} holds an address of {callee.name}, which has no port", f"give {callee.name} a port"
            )
            return False
        port = self._port(name, callee, int(match[3] or 0))
        template = self._template(value, match)
        if callee is found:
            found.env[name] = template
            return True
        pairs = {name: template}
        if template == "{host}":
            pairs |= self._port_beside(name, callee.listens, variables)
        known = found.calls.get(callee.name)
        if known and known.port != port:
            what = f"{name} asks a second port of {callee.name}, but a call has one"
            self._tell(name, what, f"let {callee.name} answer both on one port, or split it")
            return False
        found.calls[callee.name] = CallFound(
            env={**(known.env if known else {}), **pairs}, usual=_usual(callee, port), port=port
        )
        return True

    def _port(self, variable: str, callee: Found, number: int) -> str:
        """The name of the port that is asked; "" is the first. A number that nobody listens on is told."""
        port = named(callee, number)
        if port is None and number not in _ports(callee):
            self._tell(
                variable,
                f"{variable} asks port {number} of {callee.name}, which listens on {callee.listens}",
                f"name that port in {callee.folder}/service.toml, and in [calls.{callee.name}]",
            )
        return port or ""

    def _template(self, value: str, match: re.Match[str]) -> str:
        """The value with the address as Atoll's placeholder."""
        scheme, at = match[1], "{address}"
        if scheme == "http://":
            scheme, at = "", "{url}"
        elif not scheme and not match[3]:
            at = "{host}"
        return literal(value[: match.start()]) + scheme + at + literal(value[match.end() :])

    def _port_beside(self, name: str, port: int, variables: Mapping[str, str | None]) -> dict[str, str]:
        """`ORDERS_PORT` beside `ORDERS_HOST`."""
        other = re.sub(r"(?:HOSTNAME|HOST|ADDR|ADDRESS|SERVER)$", "PORT", name)
        value = variables.get(other)
        return {other: "{port}"} if other != name and value and (not port or value == str(port)) else {}

    def _web(self, found: Found, name: str, value: str, matches: Sequence[re.Match[str]]) -> bool:
        """An HTTP service that Atoll does not run is a call all the same: its address is a URL."""
        match, other = matches[0], self.outside[matches[0][2]]
        if len(matches) > 1 or match[1] != "http://" or other.store:
            return False
        callee = slug(other.name)
        known = found.calls.get(callee)
        port = int(match[3] or 80)
        url = f"{'grpc' if port in _GRPC else 'http'}://127.0.0.1:{other.at(port)}"
        if known and known.url != url:
            return False
        other.used_by.append((found.name, name))
        pairs = {**(known.env if known else {}), name: self._template(value, match)}
        found.calls[callee] = CallFound(env=pairs, usual="{address}" if url.startswith("grpc") else "{url}", url=url)
        found.notes[f"calls.{callee}"] = f"{other.image}: runs beside Atoll"
        return True

    def _outside(self, found: Found, name: str, value: str, variables: Mapping[str, str | None]) -> str:
        """The value with the addresses of images on this machine."""

        def here(match: re.Match[str]) -> str:
            other = self.outside.get(match[2])
            if other is None or not (match[3] or match[1] or (match[0] == value and _HOST.search(name))):
                return match[0]
            other.used_by.append((found.name, name))
            return f"{match[1]}127.0.0.1{f':{other.at(int(match[3]))}' if match[3] else self._implied(other, match[1])}"

        moved: list[str] = []

        def noted(match: re.Match[str]) -> str:
            new = here(match)
            if new != match[0]:
                moved.append(f"{match[2]}{f':{match[3]}' if match[3] else ''} is {new.removeprefix(match[1])}")
            return new

        def in_words(match: re.Match[str]) -> str:
            other = self.outside.get(match[2])
            if other is None:
                return match[0]
            other.used_by.append((found.name, name))
            port = other.at(int(match[4] or other.store)) if match[4] or other.store else 0
            told = match[4] or port != other.store
            moved.append(f"{match[2]} is 127.0.0.1{f':{port}' if told else ''}")
            return f"{match[1]}127.0.0.1{f'{match[3] or chr(44)}{port}' if told else ''}"

        new = self._in_words.sub(in_words, value) if ";" in value else self._address.sub(noted, value)
        if name.startswith("ConnectionStrings__") and value in self.outside:
            new = self._in_words.sub(in_words, f"Server={value}").removeprefix("Server=").replace(",", ":")
        if moved:
            found.notes[f"env.{name}"] = ", ".join(moved)
        elif re.fullmatch(r"\d{1,5}", value) and name.endswith("PORT"):
            host = variables.get(f"{name[:-4]}HOST") or variables.get(f"{name[:-4]}SERVER")
            other = self.outside.get(host or "")
            return str(other.at(int(value))) if other else value
        return new

    def _implied(self, other: Outside, scheme: str) -> str:
        """A port that the value leaves out is said where this machine's differs."""
        usual = other.store or (80 if scheme == "http://" else 0)
        return f":{other.at(usual)}" if scheme and usual and other.at(usual) != usual else ""

    def _secret(self, found: Found, name: str, value: str) -> None:
        """One secret for one value, named after its variable."""
        known = self._secrets.get((name, value))
        if known is None:
            known = slug(name)
            if known in self._secrets.values():
                known = slug(f"{found.name}-{name}", set(self._secrets.values()))
            self._secrets[name, value] = known
            was = found.notes.get(f"env.{name}", "")
            where = f"; in it {was} now" if was else ""
            self._tell(name, f"{name} holds a secret, which is not copied{where}", _ask(known))
        found.notes.pop(f"env.{name}", "")
        found.secrets[name] = known
        if re.fullmatch(r"[a-z][a-z0-9+.-]*://[^\s,;]+", value):
            found.secret_urls[name] = value

    def unasked(self, shared: Mapping[str, StoreFound]) -> set[str]:
        """What was asked for secrets that nobody has any more: their stores are run by Atoll, by passwords of its own."""
        had = {secret for found in self.services.values() for secret in found.secrets.values()}
        stores = [store for found in self.services.values() for store in found.stores.values()]
        had |= {store.secret for store in (*stores, *shared.values())}
        return {_ask(secret) for secret in self._secrets.values() if secret not in had}

    def _tell(self, variable: str, what: str, fix: str) -> None:
        """One line of what is left to do."""
        self._told.left(what, fix, "environment", variable)


def _ask(secret: str) -> str:
    return f"atoll secret set {secret}"


def is_secret(name: str, value: str) -> bool:
    return bool(_INLINE.search(value)) or (bool(_SECRET.search(name)) and not name.endswith("_FILE"))


def outside_left(other: Outside, file: str) -> list[Left]:
    """What to do about an image that others need."""
    if other.told:
        return []
    if other.runs:
        what = f"image {other.image} is a store that Atoll runs itself now, empty at first; used by {_users(other)}"
        fix = "copy what it holds, if it matters; one that runs elsewhere has a `url` in [stores]"
        return [Left(service=other.name, what=what, fix=fix, places=(other.place,))]
    used = f"; used by {_users(other)}" if other.used_by else ""
    if re.search(r"nginx|traefik|caddy|haproxy|envoy", other.image):
        fix = "Atoll's gateway stands there: `route` in a service.toml says what it sends where"
    elif other.ports:
        ports = ", ".join(f"127.0.0.1:{outer}" for outer in other.ports.values())
        fix = f"`docker compose -f {file} up -d {other.name}` runs it at {ports}, or run your own there"
    elif other.store:
        fix = f'publish its port in {file} (ports: ["127.0.0.1:{other.store}:{other.store}"]) and `docker compose -f {file} up -d {other.name}`, or run your own there'
    else:
        fix = f"if it is needed: publish its port and `docker compose -f {file} up -d {other.name}`"
    kind = "store" if other.store else "service"
    what = f"image {other.image} is a {kind} that Atoll does not run{used}"
    return [Left(service=other.name, what=what, fix=fix, places=(other.place,))]


def _users(other: Outside) -> str:
    """`ORDERS_DB of orders, CACHE of web and 3 others`."""
    services: dict[str, list[str]] = {}
    for service, variable in dict.fromkeys(other.used_by):
        services.setdefault(variable, []).append(service)
    return ", ".join(
        f"{variable} of {', '.join(names[:3])}" + (f" and {len(names) - 3} others" if names[3:] else "")
        for variable, names in services.items()
    )


def _usual(callee: Found, port: str) -> str:
    protocol = callee.more_ports[port][0] if port in callee.more_ports else callee.protocol
    return "{url}" if protocol == "http" else "{address}"


def _ports(callee: Found) -> set[int]:
    return {80} if callee.protocol == "http" and not callee.listens else set()
