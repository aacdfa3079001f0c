"""Who calls whom in a Compose file: variables that hold another service's address become calls, those that hold a
store's point at this machine, and passwords become secrets.
"""

import re
from collections.abc import Mapping, Sequence

import msgspec

from atoll.adopt.compose_values import NAME
from atoll.adopt.found import CallFound, Found, Left, slug
from atoll.model.templates import literal

_HOST = re.compile(
    r"(?:^|_)(?:HOST|HOSTNAME|HOSTS|ADDR|ADDRESS|SERVER|SERVERS|ENDPOINT|UPSTREAM|BROKERS?|URL|URI)$", re.IGNORECASE
)
_SECRET = re.compile(
    r"PASSWORD|PASSWD|(?:^|_)PASS$|SECRET|(?:^|_)TOKEN$|API_?KEY|PRIVATE_KEY|ACCESS_KEY|CREDENTIALS", re.IGNORECASE
)
_INLINE = re.compile(r"://[^/@\s:]*:[^/@\s]+@")
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
    used_by: list[str] = []

    @property
    def store(self) -> int:
        """The usual port, when the image is a store; 0 otherwise."""
        return next((port for word, port in STORES.items() if word in self.image.lower()), 0)

    def at(self, port: int) -> int:
        """The port on this machine that stands for a container's port."""
        return self.ports.get(port, port)


class Edges:
    """Goes through the variables of every service, once all of them are known."""

    def __init__(self, services: Mapping[str, Found], outside: Mapping[str, Outside], left: list[Left]) -> None:
        self.services, self.outside, self.left = services, outside, left
        self._secrets: dict[tuple[str, str], str] = {}
        names = sorted((*services, *outside), key=len, reverse=True)
        any_name = "|".join(re.escape(name) for name in names) or "(?!)"
        self._address = re.compile(
            rf"(?<![\w.@/-])((?:[a-z][a-z0-9+]*://)?(?:[^/@\s,]*@)?)({any_name})(?::(\d{{1,5}}))?(?![\w.:-])"
        )

    def take(self, found: Found, variables: Mapping[str, str | None]) -> None:
        """Sort a service's variables into calls, secrets, values and those taken over."""
        for name, value in variables.items():
            if not NAME.fullmatch(name):
                self.tell(found, f"variable {name!r} has no name that a shell allows", "rename it")
            elif value is None:
                found.inherit.append(name)
            elif not self._call(found, name, value, variables):
                value = self._outside(found, name, value, variables)
                if value and _is_secret(name, value):
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
            self.tell(found, f"{name} holds several addresses ({names})", "give each a variable of its own, as a call")
            return False
        match, callee = inner[0], self.services[inner[0][2]]
        if callee.protocol == "none":
            self.tell(
                found, f"{name} holds an address of {callee.name}, which has no port", f"give {callee.name} a port"
            )
            return False
        if match[3] and callee.listens and int(match[3]) not in {callee.listens, *_ports(callee)}:
            self.tell(
                found,
                f"{name} asks port {match[3]} of {callee.name}, which listens on {callee.listens}",
                f"name that port in {callee.folder}/service.toml, and in [calls.{callee.name}]",
            )
        template = self._template(value, match)
        if callee is found:
            found.env[name] = template
            return True
        pairs = {name: "" if template == _usual(callee) else template}
        if template == "{host}":
            pairs |= self._port_beside(name, callee.listens, variables)
        known = found.calls.get(callee.name)
        found.calls[callee.name] = CallFound(env={**(known.env if known else {}), **pairs})
        return True

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
        url = f"http://127.0.0.1:{other.at(int(match[3] or 80))}"
        if known and known.url != url:
            return False
        other.used_by.append(f"{found.name} {name}")
        found.calls[callee] = CallFound(
            env={**(known.env if known else {}), name: self._template(value, match)}, url=url
        )
        found.notes[f"calls.{callee}"] = f"{other.image}: runs beside Atoll"
        return True

    def _outside(self, found: Found, name: str, value: str, variables: Mapping[str, str | None]) -> str:
        """The value with the addresses of images on this machine."""

        def here(match: re.Match[str]) -> str:
            other = self.outside.get(match[2])
            if other is None or not (match[3] or match[1] or (match[0] == value and _HOST.search(name))):
                return match[0]
            other.used_by.append(f"{found.name} {name}")
            return f"{match[1]}127.0.0.1{f':{other.at(int(match[3]))}' if match[3] else self._implied(other, match[1])}"

        moved: list[str] = []

        def noted(match: re.Match[str]) -> str:
            new = here(match)
            if new != match[0]:
                moved.append(f"{match[2]}{f':{match[3]}' if match[3] else ''} is {new.removeprefix(match[1])}")
            return new

        new = self._address.sub(noted, value)
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
            self.tell(found, f"{name} holds a secret, which is not copied{where}", f"atoll secret set {known}")
        found.notes.pop(f"env.{name}", "")
        found.secrets[name] = known

    def tell(self, found: Found, what: str, fix: str) -> None:
        """One line of what is left to do."""
        self.left.append(Left(service=found.name, what=what, fix=fix))


def _is_secret(name: str, value: str) -> bool:
    return bool(_INLINE.search(value)) or (bool(_SECRET.search(name)) and not name.endswith("_FILE"))


def outside_left(other: Outside, file: str) -> Left:
    """What to do about an image that others need."""
    used = f"; used by {', '.join(dict.fromkeys(other.used_by))}" if other.used_by else ""
    if re.search(r"nginx|traefik|caddy|haproxy|envoy", other.image):
        fix = "Atoll's gateway stands there: `route` in a service.toml says what it sends where"
    elif other.ports:
        ports = ", ".join(f"127.0.0.1:{published}" for published in other.ports.values())
        fix = f"`docker compose -f {file} up -d {other.name}` runs it at {ports}, or run your own there"
    elif other.store:
        fix = f'publish its port in {file} (ports: ["127.0.0.1:{other.store}:{other.store}"]) and `docker compose -f {file} up -d {other.name}`, or run your own there'
    else:
        fix = f"if it is needed: publish its port and `docker compose -f {file} up -d {other.name}`"
    kind = "store" if other.store else "service"
    return Left(service=other.name, what=f"image {other.image} is a {kind} that Atoll does not run{used}", fix=fix)


def _usual(callee: Found) -> str:
    return "{url}" if callee.protocol == "http" else "{address}"


def _ports(callee: Found) -> set[int]:
    return {80} if callee.protocol == "http" and not callee.listens else set()
