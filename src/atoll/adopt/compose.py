"""Compose files as services: `read` is the way in. What cannot be carried over is a `Left` each, never dropped.

Files are put together by `compose_files`, values filled in by `compose_values`; commands, ports, volumes, health checks,
addresses and secrets have a module each. Images without sources here are listed as what Atoll does not run.
"""

import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from atoll.adopt import compose_command, compose_health, compose_ports, compose_stores, compose_volumes
from atoll.adopt.compose_edges import Edges, Outside, is_secret, outside_left
from atoll.adopt.compose_files import Project, project
from atoll.adopt.compose_rest import beside, rest
from atoll.adopt.compose_servers import run_of
from atoll.adopt.compose_shapes import mount
from atoll.adopt.compose_told import Told
from atoll.adopt.compose_values import duration, environment, seconds, size, whole
from atoll.adopt.dockerfile import Image, parse
from atoll.adopt.found import Findings, Found, Left, Place, join, slug, together, up
from atoll.adopt.repository import by_build_files, image_of, made_here, service_of
from atoll.adopt.sources import Port, port_of, texts
from atoll.adopt.tree import Tree, items, table, words
from atoll.adopt.yaml_file import Fields
from atoll.model.errors import UserError

_SIGNALS = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH")
_SOURCES = (".py", ".js", ".mjs", ".ts", ".go", ".rs", ".java", ".kt", ".rb", ".cs", ".php")
# Variables of an image that mean nothing outside it.
_IMAGES_OWN = re.compile(
    r"^(?:PATH|HOME|LANG|LC_\w+|DEBIAN_FRONTEND|PYTHON_\w+|NODE_VERSION|PIP_\w+|GOPATH|GO\w*|POETRY_\w+|UV_\w+|TZ|VIRTUAL_ENV|PYTHONPATH|CGO_ENABLED|JAVA_HOME|ASPNETCORE_(?:URLS|HTTP_PORTS)|DOTNET_\w+)$"
)
# What an image of a program of one's own is made from; any other base is somebody's program.
_LANGUAGES = re.compile(
    r"(?:^|/)(?:python|node|golang|go|rust|ruby|php|java|openjdk|eclipse-temurin|temurin|amazoncorretto|maven|gradle|dotnet|aspnet|sdk|runtime"
    r"|debian|ubuntu|alpine|busybox|scratch|base|static|distroless|cc|bun|deno|elixir|erlang|swift|gcc|fedora|rockylinux|ubi\w*)"
    r"(?:[-:@/].*)?$"
)


def read(tree: Tree, files: str | Sequence[str], profiles: Sequence[str] = ()) -> Findings:
    """The services that these Compose files build, later files over earlier ones, and everything that is left to do.

    Raises UserError for a file that is no Compose file.
    """
    names = [files] if isinstance(files, str) else list(files)
    whole_project = project(tree, names)
    if not whole_project.services:
        raise UserError(
            f"{names[0]} has no services",
            "a Compose file lists them under `services`",
            "name another file with --from",
            id="nothing-to-adopt",
        )
    return _Compose(tree, names[0], whole_project, profiles).all()


class _Compose:
    """One project on its way."""

    def __init__(self, tree: Tree, file: str, given: Project, profiles: Sequence[str]) -> None:
        self.tree, self.file, self.profiles = tree, file, profiles
        self.base = join(file.rpartition("/")[0])
        self.raw, self.values, self.homes = given.services, given.values, given.homes
        self.filled = {name: Fields(given.values[name].fill(one), one.places) for name, one in self.raw.items()}
        self.beside = given.beside
        self.left, self.unneeded = list(given.left), list[Left]()
        self.known = by_build_files(tree)
        self.folders: set[str] = set()
        self.services: dict[str, Found] = {}
        self.outside: dict[str, Outside] = {}
        self.images: dict[str, Image | None] = {}

    def all(self) -> Findings:
        """Every service, then what stands between them."""
        variables: dict[str, dict[str, str | None]] = {}
        for name, one in self.filled.items():
            if not self._wanted(name, one):
                continue
            if (made := self._service(name, one)) is None:
                continue
            self.services[name] = made
            variables[name] = self._variables(name)
            self._health(name)
        mounted = [mount(item)[0] for name in self.services for item in items(self.filled[name].get("volumes"))]
        shared = {volume for volume in mounted if volume and mounted.count(volume) > 1 and volume[0] not in "./~"}
        edges = Edges(self.services, self.outside)
        for name, found in self.services.items():
            edges.take(found, variables[name], self.told(name))
            image = self.images[name]
            around = compose_volumes.Around(self.base, image.workdir if image else "/", shared)
            compose_volumes.take(found, self.filled[name], around, self.told(name))
            compose_ports.unnamed(found, self.told(name))
        stores = compose_stores.take(self.services, self.outside)
        unasked = edges.unasked(stores)
        self.left[:] = [line for line in self.left if line.fix not in unasked]
        for name, found in self.services.items():
            self._depends(found, self.filled[name], self.told(name))
            rest(self.filled[name], self.told(name))
        self.left += [line for other in self.outside.values() for line in outside_left(other, self.file)]
        self._unset()
        beside(self.beside, self.left, self.unneeded)
        found_all = sorted(self.services.values(), key=lambda each: each.folder)
        left, unneeded = together(self.left), together(self.unneeded)
        return Findings(services=found_all, left=left, unneeded=unneeded, stores=stores)

    def told(self, name: str) -> Told:
        """Where things are said of a service, under the name that it got."""
        shown = self.services[name].name if name in self.services else name
        return Told(shown, self.filled[name], self.homes[name], self.left, self.unneeded)

    def _unset(self) -> None:
        for name in sorted({each for values in self.values.values() for each in values.unset}):
            what = f"${{{name}}} has no value in .env: written as empty"
            place = next((place for one in self.raw.values() if (place := _mentions(one, name))), Place(file=self.file))
            self.left.append(Left(service="", what=what, fix="set what needs it in [env]", places=(place,)))

    def _wanted(self, name: str, raw: Fields) -> bool:
        profiles = words(raw.get("profiles"))
        if not profiles:
            return True
        if "*" in self.profiles or set(profiles) & set(self.profiles):
            self.told(name).unneeded("profiles", "it was asked for")
            return True
        self.told(name).left(
            f"is in profile {', '.join(profiles)}, which was not asked for",
            f"atoll init --profile {profiles[0]} takes it along",
            "profiles",
        )
        return False

    def _sources(self, name: str, raw: Fields) -> tuple[str, str] | None:
        """The folder that a service is built from, and its Dockerfile; None when it is somebody's image, which is told."""
        build = raw.get("build")
        told = self.told(name)
        ports = compose_ports.doors(raw)
        if not build:
            image = str(raw.get("image") or "?")
            if basis := made_here(self.known, self.tree, name, image):
                what = f"image {image} is built from {basis.folder} here, where its sources seem to be"
                told.left(what, f"when they are not: remove {join(basis.folder, 'service.toml')}", "image")
                return basis.folder, join(basis.folder, "Dockerfile")
            place, run = told.place("image"), run_of(image, raw)
            self.outside[name] = Outside(name=name, image=image, ports=ports, place=place, run=run)
            return None
        build = build if isinstance(build, dict) else {"context": build}
        given = build.get("context") or "."
        if not isinstance(given, str):
            told.left("build is not understood", "see the Compose specification for what may stand there", "build")
            return None
        context = join(self.base, given) if not given.startswith("/") else "../"
        if context.startswith("..") or "://" in given or given.startswith("git@"):
            fix = "run `atoll init` where it lies within"
            told.left(f"build context {given} lies outside this folder", fix, "build")
            return None
        if not self.tree.below(context):
            fix = "check it out (a submodule, perhaps), and run `atoll init` again"
            told.left(f"build context {given} is not there", fix, "build")
            return None
        return context, join(context, str(build.get("dockerfile") or "Dockerfile"))

    def _service(self, name: str, raw: Fields) -> Found | None:
        """What one entry says; None when it is no service of this repository, which is told."""
        where = self._sources(name, raw)
        if where is None:
            return None
        context, dockerfile = where
        build, told = table(raw.get("build")), self.told(name)
        image = self.images[name] = self._image(build, dockerfile)
        basis = service_of(self.known, context, dockerfile, (compose_command.program(raw, image), name))
        if basis is None and image and image.base and not _LANGUAGES.search(image.base):
            what = f"{image.base}, built from {dockerfile},"
            self.outside[name] = Outside(
                name=name, image=what, ports=compose_ports.doors(raw), place=told.place("build")
            )
            return None
        found = self._start(name, context, dockerfile, basis, {each.name for each in self.services.values()})
        told = Told(found.name, raw, told.place(), self.left, self.unneeded)
        compose_ports.listens(found, raw, image, basis, told)
        sources = texts(self.tree, (p for p in self.tree.below(context) if p.endswith(_SOURCES)))
        learns = Port() if basis and basis.protocol == "none" else port_of(sources)
        compose_command.choose(found, raw, image, learns, told)
        if not found.run:
            what = f"nothing tells how it runs without its image ({dockerfile})"
            told.left(what, f"write {join(found.folder, 'service.toml')} with `run`", "build")
            other = Outside(name=name, image=dockerfile, ports=compose_ports.doors(raw), told=True)
            self.outside[name] = other
            self.folders.discard(found.folder)
            return None
        if _answers_nobody(name, found, raw, basis):
            found.protocol, found.health, found.port_env = "none", "", ""
            found.notes.pop("port", None)
        if basis is None and found.protocol != "none" and "{" not in str(found.run):
            found.port_env = found.port_env or ("" if learns.variable == "PORT" else learns.variable)
            if not learns.variable:
                found.notes["port"] = (
                    f"it listened on {found.listens or 'a fixed port'}: it must take PORT, or {{port}} in `run`"
                )
        self._workdir(found)
        found.image = _own_image(self.tree, found, build, context, dockerfile)
        self._rest(found, raw, told)
        return found

    def _workdir(self, found: Found) -> None:
        """Of a monorepo's member: its own folder, unless the command names a file as it is seen from the top."""
        top = join(found.folder, found.context)
        paths = [word for word in str(found.run).split() if re.fullmatch(r"[\w./-]+\.\w+", word)]
        if found.workdir != "." and any(
            join(top, path) in self.tree and join(top, found.workdir, path) not in self.tree for path in paths
        ):
            found.workdir = "."

    def _image(self, build: Mapping[str, Any], dockerfile: str) -> Image | None:
        inline = build.get("dockerfile_inline")
        if isinstance(inline, str):
            return parse(inline, str(build.get("target") or ""))
        return image_of(self.tree, dockerfile, str(build.get("target") or ""))

    def _health(self, name: str) -> None:
        """Its own check, else its image's; the port's variable is known by now."""
        found, raw, image = self.services[name], self.filled[name], self.images[name]
        if image and image.health and not raw.get("healthcheck"):
            compose_health.probe(found, name, image.health, self.told(name))
        compose_health.take(found, name, Fields(table(raw.get("healthcheck"))), self.told(name))

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
            if found.package and found.name != basis.name and found.language == "go":
                found.steps, found.workdir = [f"go build -o {found.name} {found.package}"], "."

    def _variables(self, name: str) -> dict[str, str | None]:
        """Its variables, without those that tell its ports."""
        found, image, told, values = self.services[name], self.images[name], self.told(name), self.values[name]

        def missing(path: str) -> None:
            told.left(f"env_file {path} is not there", "set what it holds in [env]", "env_file")

        variables: dict[str, str | None] = {}
        of_image = image.env if image else {}
        variables |= {name: text for name, text in of_image.items() if not _IMAGES_OWN.match(name) and "$" not in text}
        for key, value in environment(self.tree, self.base, self.raw[name], values, missing).items():
            filled = values.text(value)
            bare = re.fullmatch(r"\$\{?(\w+)\}?", value)
            own = bare is not None and bare[1] == key and key not in values.known
            variables[key] = None if own else filled
            if own:
                values.unset.discard(key)  # it is taken from the daemon's own environment instead
        return compose_ports.variable(found, variables)

    def _rest(self, found: Found, raw: Fields, told: Told) -> None:
        """Replicas, limits, the stop, the folder."""
        deploy = table(raw.get("deploy"))
        wanted = deploy.get("replicas", raw.get("scale"))
        found.replicas = whole(wanted, 1, 100) or 1
        if wanted is not None and str(wanted) != str(found.replicas):
            path = ("deploy", "replicas") if "replicas" in deploy else ("scale",)
            told.left(f"{wanted} replicas are not carried over: 1 it is", "replicas = 1 to 100", *path)
        limits = table(table(deploy.get("resources")).get("limits"))
        memory = size(limits.get("memory") or raw.get("mem_limit"))
        if memory:
            found.limits["memory"] = memory
        elif limits.get("memory") or raw.get("mem_limit"):
            told.left("its memory limit is not understood", 'memory = "512MiB" in [limits]', "mem_limit")
        nofile = table(raw.get("ulimits")).get("nofile")
        files = whole(nofile.get("soft") if isinstance(nofile, dict) else nofile, 16, 1_048_576)
        if files:
            found.limits["open_files"] = files
        elif nofile:
            told.left("ulimits.nofile is not carried over", "open_files = 16 to 1048576 in [limits]", "ulimits")
        if raw.get("stop_signal"):
            signal = str(raw["stop_signal"])
            signal = signal if signal.startswith("SIG") else f"SIG{signal}"
            if signal not in _SIGNALS:
                what = f"stop_signal {raw['stop_signal']} is not one that Atoll sends"
                told.left(what, f"one of {', '.join(_SIGNALS)}", "stop_signal")
            elif signal != "SIGTERM":
                found.stop["signal"] = signal
        grace = seconds(raw.get("stop_grace_period"))
        if grace is not None:
            found.stop["grace"] = duration(min(grace, 3600))
        elif raw.get("stop_grace_period"):
            told.left("its stop_grace_period is not understood", 'grace = "30s" in [stop]', "stop_grace_period")

    def _depends(self, found: Found, raw: Fields, told: Told) -> None:
        """Calls come from addresses; an order of starts does not exist here."""
        given = raw.get("depends_on")
        names = [*table(given), *words(given), *(link.partition(":")[0] for link in words(raw.get("links")))]
        for name in dict.fromkeys(names):
            other = self.services.get(name)
            if other is None or other.protocol == "none" or other.name in found.calls:
                continue
            fix = (
                f'when it calls it: [calls] {other.name} = "{other.name.upper().replace("-", "_")}_URL", and read that'
            )
            told.left(f"depends_on {other.name}, but no variable holds its address", fix, "depends_on", name)
        if given:
            told.unneeded("depends_on", "services start in any order, and try again until the others answer")
        waits: dict[str, list[str]] = {}
        for name, how in table(given).items():
            waits.setdefault(str(table(how).get("condition")), []).append(name)
        if healthy := waits.get("service_healthy"):
            what = f"waited for {', '.join(healthy)} to be healthy; services start on their own here"
            told.left(what, "it must try again until they answer", "depends_on")
        for name in waits.get("service_completed_successfully", ()):
            run = self.services[name].run if name in self.services else ""
            said = f'rollout.before = "{run}"' if isinstance(run, str) and run and '"' not in run else "rollout.before"
            what = f"waited for {name} to be done; what runs once before a release is `before` here"
            told.left(what, f"{said} in its service.toml, and take the service {name} out", "depends_on")
        for name, how in table(given).items():
            if table(how).get("restart") == "true":
                told.left(f"was restarted with {name}: services are replaced on their own here", "", "depends_on", name)


def _own_image(tree: Tree, found: Found, build: Mapping[str, Any], context: str, dockerfile: str) -> dict[str, object]:
    """`[image]`, as far as containers would not be made so by themselves. Arguments that hold secrets stay behind."""
    if dockerfile not in tree or build.get("dockerfile_inline"):
        return {}
    given = build.get("args")
    pairs = (each.partition("=")[::2] for each in words(given)) if isinstance(given, list) else table(given).items()
    args = {
        str(name): str(value)
        for name, value in pairs
        if value not in (None, "") and not is_secret(str(name), str(value))
    }
    usual, built = join(found.folder, "Dockerfile"), join(found.folder, found.context)
    fields: dict[str, object] = {
        "dockerfile": posixpath.relpath(dockerfile, found.folder) if dockerfile != usual else "",
        "context": posixpath.relpath(context, found.folder) if context != built else "",
        "target": str(build.get("target") or ""),
        "args": args,
    }
    return {name: value for name, value in fields.items() if value}


def _mentions(fields: Fields, variable: str) -> Place | None:
    """The first field that refers to a variable."""
    for key, value in fields.items():
        inner = _mentions(value, variable) if isinstance(value, Fields) else None
        if inner or (not isinstance(value, Fields) and re.search(rf"\$\{{?{variable}\b", str(value))):
            return inner or fields.place(key)
    return None


def _answers_nobody(name: str, found: Found, raw: Mapping[str, Any], basis: Found | None) -> bool:
    """Whether it is a worker, though its image has a port: the image is another service's, too."""
    if raw.get("ports") or "{port}" in str(found.run) or not compose_command.is_worker(name, found):
        return False
    return raw.get("command") is not None or basis is None or basis.protocol == "none"
