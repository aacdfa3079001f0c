"""A Compose file as services: `read` is the way in. What cannot be carried over is a `Left` each, never dropped.

Values are `compose_values`', commands `compose_command`'s, health checks `compose_health`'s, addresses and secrets
`compose_edges`'. Images without a build are listed as what Atoll does not run.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from atoll.adopt import compose_command, compose_health
from atoll.adopt.compose_edges import Edges, Outside, outside_left
from atoll.adopt.compose_rest import rest
from atoll.adopt.compose_shapes import extended, mount, published
from atoll.adopt.compose_values import Values, duration, env_lines, environment, seconds, size, whole
from atoll.adopt.dockerfile import Image
from atoll.adopt.found import Findings, Found, Left, join, slug, together, up
from atoll.adopt.others import renamed
from atoll.adopt.repository import by_build_files, image_of, service_of
from atoll.adopt.sources import Port, port_of, texts
from atoll.adopt.tree import Tree, items, table, words
from atoll.adopt.yaml_file import load
from atoll.model.errors import UserError

_SIGNALS = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH")
_SOURCES = (".py", ".js", ".mjs", ".ts", ".go", ".rs", ".java", ".kt", ".rb")
# Variables of an image that mean nothing outside it.
_IMAGES_OWN = re.compile(
    r"^(?:PATH|HOME|LANG|LC_\w+|DEBIAN_FRONTEND|PYTHON_\w+|NODE_VERSION|PIP_\w+|GOPATH|GO\w*|POETRY_\w+|UV_\w+|TZ|VIRTUAL_ENV|PYTHONPATH|CGO_ENABLED|JAVA_HOME|ASPNETCORE_(?:URLS|HTTP_PORTS)|DOTNET_\w+)$"
)


def read(tree: Tree, file: str, profiles: Sequence[str] = ()) -> Findings:
    """The services that the Compose file `file` builds, and everything of it that is left to do.

    Raises UserError for a file that is no Compose file.
    """
    content = load(tree, file)
    base = join(file.rpartition("/")[0] or ".")
    raw = {name: extended(tree, file, content, name, 5) for name in table(content.get("services"))}
    if not raw:
        raise UserError(
            f"{file} has no services",
            "a Compose file lists them under `services`",
            "name another file with --from",
            id="nothing-to-adopt",
        )
    dotenv = env_lines(tree.text(join(base, ".env")))
    return _Compose(tree, file, base, Values({k: v for k, v in dotenv.items() if v is not None}), profiles).all(
        content, raw
    )


class _Compose:
    """One Compose file on its way."""

    def __init__(self, tree: Tree, file: str, base: str, values: Values, profiles: Sequence[str]) -> None:
        self.tree, self.file, self.base, self.values, self.profiles = tree, file, base, values, profiles
        self.left: list[Left] = []
        self.known = by_build_files(tree)
        self.folders: set[str] = set()

    def all(self, content: Mapping[str, Any], raw: Mapping[str, Mapping[str, Any]]) -> Findings:
        """Every service, then what stands between them."""
        services: dict[str, Found] = {}
        outside: dict[str, Outside] = {}
        variables: dict[str, dict[str, str | None]] = {}
        filled = {name: self.values.fill(one) for name, one in raw.items()}
        for name, one in filled.items():
            if not self._wanted(name, one):
                continue
            if not one.get("build"):
                outside[name] = Outside(name=name, image=str(one.get("image") or "?"), ports=dict(published(one)))
                continue
            made = self._service(name, one, {found.name for found in services.values()})
            if made:
                services[name], variables[name] = made[0], self._variables(made[0], raw[name], made[1])
        for unset in sorted(self.values.unset):
            self.tell("", f"${{{unset}}} has no value in .env: written as empty", "set what needs it in [env]")
        mounted = [mount(item)[0] for name in services for item in items(filled[name].get("volumes"))]
        shared = {volume for volume in mounted if volume and mounted.count(volume) > 1 and volume[0] not in "./~"}
        edges = Edges(services, outside, self.left)
        for name, found in services.items():
            edges.take(found, variables[name])
            self._volumes(found, filled[name], shared)
        for name, found in services.items():
            self._depends(found, filled[name], services)
            self.left += rest(found.name, filled[name])
        self.left += [outside_left(other, self.file) for other in outside.values()]
        self._top(content)
        found_all = sorted(services.values(), key=lambda each: each.folder)
        return Findings(services=found_all, left=together(self.left))

    def tell(self, service: str, what: str, fix: str = "") -> None:
        """One line of what is left."""
        self.left.append(Left(service=service, what=what, fix=fix))

    def _wanted(self, name: str, raw: Mapping[str, Any]) -> bool:
        profiles = words(raw.get("profiles"))
        if not profiles or set(profiles) & set(self.profiles):
            return True
        which = ", ".join(profiles)
        self.tell(
            name,
            f"is in profile {which}, which was not asked for",
            f"atoll init --profile {profiles[0]} takes it along",
        )
        return False

    def _service(self, name: str, raw: Mapping[str, Any], used: set[str]) -> tuple[Found, Image | None] | None:
        """What one entry with a build says; None when it cannot be one, which is told."""
        build = raw["build"] if isinstance(raw["build"], dict) else {"context": raw["build"]}
        given = str(build.get("context") or ".")
        context = join(self.base, given) if not given.startswith("/") else "../"
        if context.startswith("..") or "://" in given or given.startswith("git@"):
            self.tell(name, f"build context {given} lies outside this folder", "run `atoll init` where it lies within")
            return None
        dockerfile = join(context, str(build.get("dockerfile") or "Dockerfile"))
        image = image_of(self.tree, dockerfile, str(build.get("target") or ""))
        basis = service_of(self.known, context, dockerfile)
        found = self._start(name, context, dockerfile, basis, used)
        for key in ("args", "additional_contexts", "secrets", "ssh"):
            if build.get(key):
                names = ", ".join(str(each) for each in (build[key] if isinstance(build[key], (list, dict)) else []))
                self.tell(
                    found.name, f"build.{key} ({names}) is for the image", "a build here gets variables by [build] env"
                )
        self._ports(found, raw, image, basis)
        sources = texts(self.tree, (p for p in self.tree.below(context) if p.endswith(_SOURCES)))
        told = Port() if basis and basis.protocol == "none" else port_of(sources)

        def left(what: str, fix: str) -> None:
            self.tell(found.name, what, fix)

        compose_command.choose(found, raw, image, told, left)
        if not found.run:
            self.tell(
                found.name,
                f"nothing tells how it runs without its image ({dockerfile})",
                f"write {join(found.folder, 'service.toml')} with `run`",
            )
            return None
        if _answers_nobody(name, found, raw, basis):
            found.protocol, found.health, found.port_env = "none", "", ""
            found.notes.pop("port", None)
        if image and image.health and not raw.get("healthcheck"):
            compose_health.probe(found, image.health, left)
        compose_health.take(found, table(raw.get("healthcheck")), left)
        if basis is None and found.protocol != "none" and "{" not in str(found.run):
            found.port_env = found.port_env or ("" if told.variable == "PORT" else told.variable)
            if not told.variable:
                found.notes["port"] = (
                    f"it listened on {found.listens or 'a fixed port'}: it must take PORT, or {{port}} in `run`"
                )
        self._rest(found, raw)
        return found, image

    def _start(self, name: str, context: str, dockerfile: str, basis: Found | None, used: set[str]) -> Found:
        """The service before its entry adds to it, in a folder of its own."""
        at = dockerfile.rpartition("/")[0] or "."
        home = basis.folder if basis else at if not at.startswith("..") else context
        folder = home
        if folder in self.folders:  # two services of one build
            folder = join(home, "services", slug(name))
        self.folders.add(folder)
        if basis is None:
            return Found(
                name=slug(name, used),
                folder=folder,
                source=self.file,
                context=up(folder, context) if folder != context else ".",
            )
        found = msgspec.convert(msgspec.to_builtins(basis), Found)
        found.name, found.source, found.folder = slug(name, used), self.file, folder
        self._renamed(found, basis)
        found.context = up(folder, join(basis.folder, basis.context))
        return found

    def _renamed(self, found: Found, basis: Found) -> None:
        """Builders call a program like its service: the command follows, and says what to build where that is not clear."""
        if isinstance(found.run, str) and not found.steps and found.language in {"go", "rust", "maven", "gradle"}:
            found.run = re.sub(rf"(\./|-jar ){re.escape(basis.name)}\b", rf"\g<1>{found.name}", found.run)
            if found.package and found.name != basis.name:
                by_go = [f"go build -o {found.name} {found.package}"]
                top = join(basis.folder, basis.context)
                found.steps = by_go if found.language == "go" else renamed(self.tree, top, found)

    def _ports(self, found: Found, raw: Mapping[str, Any], image: Image | None, basis: Found | None) -> None:
        """Where it listened, and whether it was reached from outside."""
        doors = published(raw)
        exposed = [port for each in items(raw.get("expose")) if (port := whole(str(each).partition("/")[0], 1, 65_535))]
        inside = [target for target, _ in doors] + exposed + (image.ports if image else [])
        found.published = bool(doors)
        found.listens = inside[0] if inside else found.listens
        if basis is None and not inside:
            found.protocol = "none"
        elif basis is not None and basis.protocol == "none" and doors:
            found.protocol = "http"
        for target in dict.fromkeys(inside[1:]):
            if target != found.listens:
                self.tell(
                    found.name,
                    f"its second port {target} is not carried over",
                    "name it in `ports`, with the variable that tells its number",
                )
        for each in items(raw.get("ports")):
            if "udp" in str(each):
                self.tell(found.name, f"port {each} is UDP, which is not carried")

    def _variables(self, found: Found, raw: Mapping[str, Any], image: Image | None) -> dict[str, str | None]:
        """Its variables, without the one that tells its port."""

        def missing(path: str) -> None:
            self.tell(found.name, f"env_file {path} is not there", "set what it holds in [env]")

        given = environment(self.tree, self.base, raw, self.values, missing)
        variables: dict[str, str | None] = {}
        of_image = image.env if image else {}
        variables |= {name: text for name, text in of_image.items() if not _IMAGES_OWN.match(name) and "$" not in text}
        for name, value in given.items():
            filled = None if value is None else self.values.text(value)
            bare = re.fullmatch(r"\$\{?(\w+)\}?", value or "")
            variables[name] = None if filled == "" and bare and bare[1] == name else filled
            if variables[name] is None and bare:
                self.values.unset.discard(name)  # it is taken from the daemon's own environment instead
        return self._port_variable(found, variables)

    def _port_variable(self, found: Found, variables: dict[str, str | None]) -> dict[str, str | None]:
        """A variable that holds the port's number names `ports`' variable; one with an address gets a placeholder."""
        if found.protocol == "none":
            return variables
        by_argument = re.search(r"\{(?:port|address|url)\}", str(found.run))
        for name in list(variables):
            value = variables[name] or ""
            number = value.rpartition(":")[2]
            if not (name == "PORT" or (number.isdecimal() and number == str(found.listens or ""))):
                continue
            if name == "PORT" or (value == number and name == found.port_env):
                found.port_env = "" if name == "PORT" else name
            elif value == number and re.search(r"(?:^|_)PORT$", name):
                if by_argument or found.port_env:
                    found.env[name] = "{port}"
                else:
                    found.port_env = name
            elif re.fullmatch(r"(?:0\.0\.0\.0|\[::\]|127\.0\.0\.1|localhost)?:\d+", value):
                found.env[name] = "{address}"
            else:
                continue
            del variables[name]
            found.notes.pop("port", None)
        return {name: value for name, value in variables.items() if name not in found.env}

    def _rest(self, found: Found, raw: Mapping[str, Any]) -> None:
        """Replicas, limits, the stop, the folder."""
        deploy = table(raw.get("deploy"))
        found.replicas = whole(deploy.get("replicas"), 1, 100) or whole(raw.get("scale"), 1, 100) or 1
        limits = table(table(deploy.get("resources")).get("limits"))
        memory = size(limits.get("memory") or raw.get("mem_limit"))
        if memory:
            found.limits["memory"] = memory
        nofile = table(raw.get("ulimits")).get("nofile")
        files = whole(nofile.get("soft") if isinstance(nofile, dict) else nofile, 16, 1_048_576)
        if files:
            found.limits["open_files"] = files
        signal = str(raw.get("stop_signal") or "")
        signal = signal if signal.startswith("SIG") else f"SIG{signal}"
        if signal in _SIGNALS and signal != "SIGTERM":
            found.stop["signal"] = signal
        elif raw.get("stop_signal") and signal not in _SIGNALS:
            self.tell(
                found.name,
                f"stop_signal {raw['stop_signal']} is not one that Atoll sends",
                f"one of {', '.join(_SIGNALS)}",
            )
        grace = seconds(raw.get("stop_grace_period"))
        if grace is not None:
            found.stop["grace"] = duration(min(grace, 3600))

    def _volumes(self, found: Found, raw: Mapping[str, Any], shared: set[str]) -> None:
        """A volume is the service's own folder; files that were mounted from here are named."""
        for item in items(raw.get("volumes")):
            source, target, mode = mount(item)
            if not target:
                self.tell(found.name, f"volume {item} is not understood")
            elif source.startswith((".", "/", "~")):
                what = f"{source} was mounted at {target}"
                if join(self.base, source) in {found.folder, join(found.folder, found.context)}:
                    self.tell(found.name, f"{what}: the artifact holds these files")
                else:
                    self.tell(found.name, what, "point the program at the file, by variable or argument")
            elif "ro" not in mode.split(","):
                self._data(found, source, target.rstrip("/"))
                if source in shared:
                    fix = "let one of them own it and the others ask, or give all of them one folder of this machine"
                    self.tell(found.name, f"volume {source} is shared, but each service has a {{data}} of its own", fix)

    def _data(self, found: Found, volume: str, target: str) -> None:
        """A volume that it writes: `{data}`. One without a name did not outlive its container."""
        if re.search(r"node_modules|/\.venv|/\.cache|/target$|/\.m2|/go/pkg", target):
            self.tell(found.name, f"volume {volume} at {target} held what a build makes: not needed")
            return
        moved = [name for name, value in found.env.items() if target in value]
        for name in moved:
            found.env[name] = found.env[name].replace(target, "{data}")
        if isinstance(found.run, str) and target in found.run:
            found.run = found.run.replace(target, "{data}")
            moved.append("run")
        found.alone = f"writes volume {volume}" if volume else ""
        volume = volume or "without a name"
        if moved:
            self.tell(
                found.name,
                f"volume {volume} is {{data}} now, the service's own folder, and empty at first ({', '.join(moved)})",
                "copy what it holds, if it matters",
            )
        else:
            self.tell(
                found.name,
                f"volume {volume} was mounted at {target}, and no variable says so",
                "tell the program {data}, the service's own folder, by variable or argument",
            )

    def _depends(self, found: Found, raw: Mapping[str, Any], services: Mapping[str, Found]) -> None:
        """Calls come from addresses; an order of starts does not exist here."""
        given = raw.get("depends_on")
        names = [*table(given), *words(given), *(link.partition(":")[0] for link in words(raw.get("links")))]
        silent = [name for name in dict.fromkeys(names) if name in services and services[name].protocol != "none"]
        silent = [services[name].name for name in silent if services[name].name not in found.calls]
        for name in silent:
            fix = f'when it calls it: [calls] {name} = "{name.upper().replace("-", "_")}_URL", and read that'
            self.tell(found.name, f"depends_on {name}, but no variable holds its address", fix)
        waits = [
            n
            for n, how in table(given).items()
            if table(how).get("condition") in ("service_healthy", "service_completed_successfully")
        ]
        if waits:
            self.tell(
                found.name,
                f"waited for {', '.join(waits)} to be healthy or done; services start on their own here",
                "it must try again until they answer",
            )

    def _top(self, content: Mapping[str, Any]) -> None:
        """What stands beside the services."""
        for key in ("secrets", "configs", "include", "models"):
            if content.get(key):
                value = content[key]
                names = ", ".join(str(each) for each in (value if isinstance(value, (dict, list)) else [value]))
                fix = {"secrets": "atoll secret set NAME", "include": "name that file with --from"}.get(
                    key, "point the program at the file"
                )
                self.tell("", f"{key} ({names}) are not carried over", fix)
        if table(content.get("networks")):
            self.tell(
                "", f"networks ({', '.join(content['networks'])}) are not carried over: services meet through the proxy"
            )


def _answers_nobody(name: str, found: Found, raw: Mapping[str, Any], basis: Found | None) -> bool:
    """Whether it is a worker, though its image has a port: the image is another service's, too."""
    if published(raw) or "{port}" in str(found.run) or not compose_command.is_worker(name, found):
        return False
    return raw.get("command") is not None or basis is None or basis.protocol == "none"
