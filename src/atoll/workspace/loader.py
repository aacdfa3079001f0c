"""Reads a workspace: `atoll.toml` and every `service.toml`, for one environment, with all their mistakes at once.

The CLI, the daemon and the pipeline call it. It only reads; the rows of `fields_workspace` and `fields_service` say
what may stand in a file, `decide.validate` what must fit across services. It must stay fast to import.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from atoll.decide import gate
from atoll.decide.validate import check
from atoll.model.cache import CacheSpec
from atoll.model.environment import Dev, DockerSpec, EnvironmentSpec, WorkspaceSpec
from atoll.model.errors import InvalidWorkspace, NotFound, Problem, UserError
from atoll.model.spec import Command, EnvValue, ImageSpec, RolloutSpec, ServiceSpec, Store
from atoll.model.suggest import did_you_mean
from atoll.model.task import Task
from atoll.workspace import template_files
from atoll.workspace.assemble import address_templates, environment_mistakes, own_env, service, without_root
from atoll.workspace.authorities import read_authorities
from atoll.workspace.bases import doubtful
from atoll.workspace.discover import SERVICE_FILE
from atoll.workspace.fields_jobs import settled
from atoll.workspace.fields_service import LIBRARY_FIELDS, SERVICE
from atoll.workspace.fields_values import SERVICE_NAME
from atoll.workspace.fields_workspace import LOCAL, WORKSPACE
from atoll.workspace.kinds import Mistake, Wrong
from atoll.workspace.names import usual_name
from atoll.workspace.positions import field_text, key_lines, line_of
from atoll.workspace.roots import Place, find
from atoll.workspace.stores import Stores, servers, unread
from atoll.workspace.tables import Table

WORKSPACE_FILE = "atoll.toml"
MAX_FILE_BYTES = 1024 * 1024  # a file that a person wrote is far smaller
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_PORT_FIELDS = {"port", "ports"}


def find_root(start: Path) -> Path:
    """The folder with `atoll.toml`, from `start` upward, links resolved. Raises UserError when there is none."""
    try:
        here = start.resolve(strict=True)
        found = next((folder for folder in (here, *here.parents) if (folder / WORKSPACE_FILE).is_file()), None)
    except (OSError, RuntimeError) as exc:  # RuntimeError: a circle of links, until Python 3.13
        raise UserError(
            f"{start} cannot be looked into",
            str(exc),
            "start from a folder that exists and is yours",
            id="no-workspace",
        ) from exc
    if found is None:
        raise UserError(
            f"no {WORKSPACE_FILE} in {here} or above",
            "it marks the top of a workspace",
            f"go to your workspace's folder, or make an empty {WORKSPACE_FILE} at its top",
            id="no-workspace",
        )
    return found


def load(root: Path, environment: str = LOCAL, looked: set[str] | None = None) -> WorkspaceSpec:
    """The workspace at `root` for one environment.

    `looked` gets the paths of the files that say which services and tasks there are and how they are built, and of those
    that would if they were there; with a slash at its end a folder, of which the names of folders count.

    Raises InvalidWorkspace with every mistake of every file; NotFound for an environment that was not declared.
    """
    root = Path(root).resolve()
    files = _Files(root)
    if looked is not None:
        looked.add(str(root / WORKSPACE_FILE))
    top, _ = files.read(WORKSPACE_FILE, WORKSPACE)
    environments = {LOCAL, *_declared(files.raw.get(WORKSPACE_FILE, {}))}
    if environment not in environments and not files.errors:
        raise NotFound(
            f"no environment '{environment}'",
            f"{WORKSPACE_FILE} does not declare it",
            f"{did_you_mean(environment, environments)}; or add [environments.{environment}]",
            id="unknown-environment",
        )
    if "host" in top.get("environments", {}).get(LOCAL, {}):
        fix = "give the environment of that machine a name, such as [environments.production]"
        files.mistakes(WORKSPACE_FILE, [Mistake("is this machine, always", fix, ("environments", LOCAL, "host"))])
    spec, env = _environment(top, environment)
    known = Stores(environment, environments)
    shared = known.shared(top.get("stores", {}))
    files.mistakes(WORKSPACE_FILE, known.mistakes)
    untold = unread(files.raw.get(WORKSPACE_FILE, {}), top) | (set(top.get("stores", {})) - set(shared))
    found = find(root, top.get("services"), top.get("roots", ()), looked)
    files.add(found.problems)
    around = _Around(env, shared, untold, environment, environments, spec.docker if spec.engine == "docker" else None)
    read = _services(files, found.places, around)
    workspace = WorkspaceSpec(
        name=top.get("name") or usual_name(root),
        root=str(root),
        environment=spec,
        cache=top.get("cache", CacheSpec()),
        stores=shared,
        services={name: address_templates(each, read.services) for name, each in sorted(read.services.items())},
        libraries=dict(sorted(read.libraries.items())),
        tasks=read.tasks,
        dev=read.dev,
    )
    workspace = servers(workspace)
    if found.absent:
        workspace, doubts = without_root(workspace)
        files.add(doubts)
    files.add(check(workspace, unsure=read.unsure, ephemeral=_ephemeral_ports()))
    types = {store.type for each in workspace.services.values() for store in each.stores}
    files.add(doubtful(environment, spec.docker.bases, types))
    if read.services and not (files.errors or found.absent):  # else tasks may be missing for another reason
        files.add(gate.mistakes(_required(top), read.tasks))
    if files.errors:
        raise InvalidWorkspace(files.sorted())
    return replace(workspace, warnings=tuple(files.sorted()))


class _Files:
    """What was read so far, and what is wrong with it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: list[Problem] = []
        self.raw: dict[str, dict[str, Any]] = {}
        self._texts: dict[str, str] = {}
        self._lines: dict[str, dict[str, int]] = {}

    @property
    def errors(self) -> bool:
        """Whether anything stands in the way."""
        return any(problem.level == "error" for problem in self.problems)

    def sorted(self) -> list[Problem]:
        """As a person would go through them: the workspace's own file first, then file by file, line by line."""
        return sorted(self.problems, key=lambda p: (p.file != WORKSPACE_FILE, p.file, p.line or 0, p.field))

    def read(self, file: str, table: Table) -> tuple[dict[str, Any], bool]:
        """The fields of a file that could be read, and whether it is TOML at all. Its mistakes are kept."""
        text = self._text(file)
        if text is None:
            return {}, False
        self._texts[file] = text
        try:
            self.raw[file] = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError, ValueError) as exc:
            self.problems.append(_syntax_problem(file, text, exc))
            return {}, False
        good, mistakes = table.values(self.raw[file])
        self.mistakes(file, mistakes)
        return good, True

    def mistakes(self, file: str, mistakes: Sequence[Mistake]) -> None:
        """Mistakes become problems: with the file, the field and its line."""
        self.add(
            Problem(
                file=file, field=(field := field_text(m.path)), what=f"{field} {m.what}".strip(), fix=m.fix, id=m.id
            )
            for m in mistakes
        )

    def add(self, problems: Any) -> None:
        """Problems without a line get the line of their field. What follows from a mistake already told is dropped."""
        told = {(p.file, p.field) for p in self.problems}
        for problem in problems:
            if (problem.file, problem.field) in told and problem.field:
                continue
            line = problem.line or line_of(problem.field, self._lines_of(problem.file))
            self.problems.append(replace(problem, line=line))

    def _lines_of(self, file: str) -> dict[str, int]:
        if file not in self._lines:
            self._lines[file] = key_lines(self._texts[file]) if file in self.raw else {}
        return self._lines[file]

    def _text(self, file: str) -> str | None:
        """The file's text; None (and a problem) when it cannot be read."""
        path = self.root / file
        try:
            if not path.is_file():
                what = "is a link that leads nowhere" if path.is_symlink() and not path.exists() else "is not a file"
                self.problems.append(
                    Problem(
                        file=file,
                        what=what,
                        fix=f"put a file there; an empty {WORKSPACE_FILE} will do"
                        if file == WORKSPACE_FILE
                        else "put a file there",
                        id="file-unreadable",
                    )
                )
                return None
            with path.open("rb") as opened:
                data = opened.read(MAX_FILE_BYTES + 1)
        except OSError as exc:
            why = exc.strerror or str(exc)
            self.problems.append(
                Problem(
                    file=file, what=f"cannot be read: {why}", fix="make it readable for your user", id="file-unreadable"
                )
            )
            return None
        if len(data) > MAX_FILE_BYTES:
            self.problems.append(
                Problem(file=file, what="is larger than 1 MiB", fix="it holds settings only", id="file-unreadable")
            )
            return None
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            line = data.count(b"\n", 0, exc.start) + 1
            what = f"is not UTF-8: byte 0x{data[exc.start]:02x} at position {exc.start}"
            self.problems.append(
                Problem(file=file, line=line, what=what, fix="save the file as UTF-8", id="file-unreadable")
            )
            return None


def _syntax_problem(file: str, text: str, exc: Exception) -> Problem:
    """What `tomllib` says, in its words, with its line as ours."""
    if isinstance(exc, RecursionError):
        return Problem(file=file, what="is nested too deeply", fix="settings are a few levels deep", id="not-toml")
    found = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", str(exc), re.DOTALL)
    said, line = (found[1], found[2]) if found else (str(exc), None)
    number = int(line) if line else text.count("\n") + 1
    shown = (text.splitlines() or [""])[min(number, len(text.splitlines()) or 1) - 1].strip()
    fix = ""
    if re.fullmatch(r"[A-Za-z_-]+\s*=\s*[A-Za-z/.~][^\"']*", shown):
        key, _, value = shown.partition("=")
        fix = f'a text stands in quotes: {key.strip()} = "{value.strip()}"'
    elif re.match(r"[A-Za-z_-]+\s*:", shown):
        fix = f"TOML writes `=` where YAML writes `:`: {shown.replace(':', ' =', 1)}"
    return Problem(file=file, line=number, what=f"is not TOML: {said[:1].lower()}{said[1:]}", fix=fix, id="not-toml")


def _declared(raw: Mapping[str, Any]) -> set[str]:
    """The environments' names, as far as they can be told even from a file with mistakes."""
    declared = raw.get("environments")
    return set(declared) if isinstance(declared, dict) else set()


def _environment(top: Mapping[str, Any], name: str) -> tuple[EnvironmentSpec, Mapping[str, EnvValue]]:
    """The environment, and the variables that every service gets in it."""
    own = top.get("environments", {}).get(name) or {}
    fields = {key: value for key, value in top.items() if key in EnvironmentSpec.__struct_fields__ and key != "name"}
    fields |= {key: value for key, value in own.items() if key != "env"}
    return EnvironmentSpec(name=name, **fields), {**top.get("env", {}), **own.get("env", {})}


def _required(top: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """What every environment requires, by the field that says so."""
    found = {
        f"environments.{name}.require": own.get("require", ()) for name, own in top.get("environments", {}).items()
    }
    return {"require": top.get("require", ()), **found}


class _Around(NamedTuple):
    """What atoll.toml says that every service needs."""

    env: Mapping[str, EnvValue]
    stores: Mapping[str, Store]
    unread: set[str]  # names of further ones, whose URL has a mistake
    environment: str
    environments: set[str]
    docker: DockerSpec | None  # where services run in containers


class _Read(NamedTuple):
    """What all the service.toml say, by name. `tasks` and `dev` are no part of a release."""

    services: dict[str, ServiceSpec]
    libraries: dict[str, ServiceSpec]
    tasks: dict[str, tuple[Task, ...]]
    dev: dict[str, Dev]
    unsure: set[str]  # whose ports are not known for sure because of mistakes in their file


def _services(files: _Files, places: Sequence[Place], around: _Around) -> _Read:
    """Every service and library."""
    read = _Read({}, {}, {}, {}, set())
    for folder, root in places:
        file = SERVICE_FILE if folder == "." else f"{folder}/{SERVICE_FILE}"
        given, parsed = files.read(file, SERVICE)
        raw = files.raw.get(file, {})
        name = _name(files, file, folder, given, raw) if parsed else folder.rpartition("/")[2]
        if name is None:
            continue
        if (taken := read.services.get(name) or read.libraries.get(name)) is not None:
            other = taken.folder
            what = (
                f'name "{name}" is also that of {other}/{SERVICE_FILE}'
                if other != "."
                else f'name "{name}" is also that of {SERVICE_FILE}'
            )
            files.add(
                [Problem(file=file, field="name", what=what, fix="each service has a name of its own", id="name-taken")]
            )
            continue
        files.mistakes(file, environment_mistakes(given, around.environments))
        files.mistakes(file, settled(given.get("rollout", RolloutSpec()), given.get("jobs", {}))[1])
        if "port" in raw and "ports" in raw:
            fix = "name each port under `ports`"
            files.mistakes(file, [Mistake("cannot stand beside `ports`", fix, ("port",), id="fields-contradict")])
        if not parsed or any(key in raw and key not in given for key in _PORT_FIELDS):
            read.unsure.add(name)
        library = parsed and "tasks" in raw and raw.keys() <= LIBRARY_FIELDS
        if not library and "run" not in given and ("run" in raw or not given.get("jobs")):
            if parsed and "run" not in raw and "jobs" not in raw:
                files.mistakes(
                    file, [Mistake("is missing", 'such as run = "node server.js"', ("run",), id="missing-field")]
                )
            given["run"] = Command(argv=("missing",))  # told already; the rest of the file is still worth a look
        known = Stores(around.environment, around.environments, around.unread | unread(raw, given))
        stores = known.of_service(given.get("stores", {}), around.stores, own_env(given, around.environment))
        files.mistakes(file, known.mistakes)
        files.add(_absent_contracts(files.root, file, given))
        files.add(read_authorities((files.root / file).parent, file, given))
        if own := given.pop("tasks", {}):
            read.tasks[name] = tuple(own.values())
        if (dev := given.pop("dev", None)) is not None:
            read.dev[name] = dev
        image = given.pop("image", ImageSpec())
        fields = {**given, "name": name, "root": root}
        if around.docker is not None and not library:
            fields["image"] = replace(image, bases=around.docker.bases)
        spec = service(fields, folder, around.env, around.environment, stores)
        spec, problems = template_files.filled_in(files.root, spec)
        files.add(problems)
        (read.libraries if library else read.services)[name] = spec
    return read


def _absent_contracts(root: Path, file: str, given: Mapping[str, Any]) -> Iterator[Problem]:
    """Files that describe topics, and are not there."""
    for field in ("publishes", "consumes"):
        for index, topic in enumerate(given.get(field, ())):
            if topic.contract and not (root / file).parent.joinpath(topic.contract).is_file():
                at = f"{field}[{index}].contract"
                what = f'{at} is "{topic.contract}", and there is no such file'
                yield Problem(
                    file=file, field=at, what=what, fix="it lies relative to the service's folder", id="no-such-file"
                )


def _name(files: _Files, file: str, folder: str, given: Mapping[str, Any], raw: Mapping[str, Any]) -> str | None:
    """The service's name; its folder's when it says none. None when there is no usable one, which is told."""
    if "name" in given:
        return str(given["name"])
    usual = files.root.name if folder == "." else folder.rpartition("/")[2]
    try:
        return str(SERVICE_NAME.read(usual))
    except Wrong:
        if "name" not in raw:
            what = f'name is missing, and the folder\'s own, "{usual}", cannot serve as one'
            files.add([Problem(file=file, field="name", what=what, fix='such as name = "orders"', id="missing-field")])
        return None


def _ephemeral_ports() -> tuple[int, int] | None:
    """The range from which this machine's kernel takes ports of outgoing connections; None when it does not tell."""
    try:
        low, high = _EPHEMERAL.read_text().split()
        return int(low), int(high)
    except (OSError, ValueError):
        return None
