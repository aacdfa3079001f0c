"""What was found of a repository: services as they will be written, what could not be carried over, and questions.

Readers make these, `choices` settles them, `text` writes them. Data and naming only.
"""

import re
from typing import Literal

import msgspec

Protocol = Literal["http", "grpc", "tcp", "none"]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where something is written: a file, its line (0 when that is not known), the field's dotted name."""

    file: str = ""
    line: int = 0
    key: str = ""

    def __str__(self) -> str:
        at = f"{self.file}:{self.line}" if self.line else self.file
        return f"{at} {self.key}".strip()


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that does not go on by itself. `what` reads alone; `fix` says what to do, "" for nothing."""

    service: str
    what: str
    fix: str = ""
    places: tuple[Place, ...] = ()


class CallFound(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a service calls: templates by variable; `url` when the callee lies outside.

    `usual` is the template that a variable's bare name means.
    """

    env: dict[str, str]
    usual: str = "{url}"
    url: str = ""
    port: str = ""  # the callee's, by name; "" is its first
    optional: bool = False


class StoreFound(msgspec.Struct, frozen=True, kw_only=True):
    """Where a store is, by `url` or by the name of a `secret`; neither when atoll.toml says it, or Atoll runs it by its `type`.

    `env` has templates by variable.
    """

    url: str = ""
    secret: str = ""
    type: str = ""
    version: str = ""
    user: str = ""
    database: str = ""
    env: dict[str, str] = {}
    shared: bool = False  # by processes of one program, so that it is meant


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """A variable that the code reads and nothing sets, and where. `callee` is the service whose address it looks to be,
    `template` that address.
    """

    place: Place
    callee: str = ""
    template: str = ""


class Found(msgspec.Struct, kw_only=True):
    """One service as its `service.toml` will say it. Empty fields are not written; `notes` are comments by field.

    Mutable: a reader of files makes it, and `compose` and `choices` add what they know.
    """

    name: str
    folder: str  # of service.toml, relative to the repository, POSIX
    source: str  # the file that told
    run: str | list[str] = ""
    builder: str = ""  # named where the files would leave a doubt
    language: str = ""  # the builder that makes it when nothing else is said; "" for none
    package: str = ""  # what a compiler is told to build when the builder would choose by the service's name
    steps: list[str] = []
    context: str = "."
    inputs: list[str] = []
    outputs: list[str] = []
    build_env: dict[str, str] = {}
    image: dict[str, object] = {}  # how its image is made, where that is not by the Dockerfile of its folder
    workdir: str = "."
    protocol: Protocol = "http"
    port_env: str = ""  # the variable with the port's number; "" is PORT, or none is needed
    more_ports: dict[str, tuple[Protocol, str]] = {}  # by name: protocol and variable
    health: str = ""  # a path, "tcp", "grpc", or "" for the usual
    probe: str | list[str] = ""  # a command that tells, instead of `health`
    health_port: str = ""  # the port that is asked, by name; "" is the first
    health_fields: dict[str, str | int] = {}  # interval, start_budget, ... as written
    probe_timeout: str = ""
    calls: dict[str, CallFound] = {}
    route: str = ""
    strip: bool = False
    route_hint: str = ""  # a route that is written as a comment
    env: dict[str, str] = {}
    secrets: dict[str, str] = {}  # variable -> the secret's name
    secret_urls: dict[str, str] = {}  # those of them whose value is nothing but a URL, which is written nowhere
    stores: dict[str, StoreFound] = {}
    inherit: list[str] = []
    reads: dict[str, Read] = {}  # by variable; written as comments, for a person to decide
    limits: dict[str, str | int] = {}
    stop: dict[str, str] = {}
    replicas: int = 1
    alone: str = ""  # why two releases must not run at once; "" when they may
    overlap: bool = True
    test: list[str] = []  # the commands that test it
    test_needs: list[str] = []  # tasks that these need
    listens: int = 0  # the port in its container: how others' addresses are recognised
    also_listens: dict[int, str] = {}  # further ones, and what they are called in `more_ports`; "" until that is known
    published: bool = False  # reached from outside until now
    notes: dict[str, str] = {}


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What only a person knows. `default` is the safe answer."""

    key: str
    text: str
    choices: tuple[str, ...]
    default: str


class Findings(msgspec.Struct, kw_only=True):
    """All of a repository. `unneeded` is what has no meaning here: nothing is to be done about it, but it is told."""

    services: list[Found] = []
    left: list[Left] = []
    unneeded: list[Left] = []
    stores: dict[str, StoreFound] = {}  # those that several services have


SCHEDULER = re.compile(
    r"(?:^|[^a-z])(?:beat|scheduler|clock|crond?|cronjobs?|apscheduler|clockwork)(?:[^a-z]|$)", re.IGNORECASE
)


def slug(text: str, used: set[str] | frozenset[str] = frozenset()) -> str:
    """A service's name made of any text, other than those `used`."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:36].strip("-") or "service"
    if not name[0].isalpha():
        name = f"s-{name}"
    number, unique = 2, name
    while unique in used:
        unique, number = f"{name}-{number}", number + 1
    return unique


def together(left: list[Left]) -> list[Left]:
    """The same said of several services becomes one line, where the first one stood."""
    same: dict[tuple[str, str], list[Left]] = {}
    for each in left:
        same.setdefault((each.what, each.fix), []).append(each)
    return [
        Left(
            service=", ".join(dict.fromkeys(each.service for each in group)),
            what=what,
            fix=fix,
            places=tuple(dict.fromkeys(place for each in group for place in each.places)),
        )
        for (what, fix), group in same.items()
    ]


def join(*parts: str) -> str:
    """A relative POSIX path with `.` and `..` resolved; "." for the top. Climbing above it stays above: `../x`."""
    out: list[str] = []
    for part in "/".join(parts).split("/"):
        if part == ".." and out and out[-1] != "..":
            out.pop()
        elif part not in {"", "."}:
            out.append(part)
    return "/".join(out) or "."


def up(folder: str, to: str = ".") -> str:
    """The way from `folder` up to `to`, a folder above it (or itself): "../.."."""
    rest = folder if to == "." else folder[len(to) :].strip("/")
    return "/".join(".." for _ in rest.split("/")) if rest not in {"", "."} else "."


def below(path: str, folder: str) -> str | None:
    """`path` relative to `folder`; None when it does not lie there."""
    if folder == ".":
        return path
    if path == folder:
        return "."
    return path[len(folder) + 1 :] if path.startswith(f"{folder}/") else None
