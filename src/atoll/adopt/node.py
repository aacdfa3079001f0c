"""Node.js services: what package.json's scripts run, alone or as members of an npm, pnpm or yarn workspace."""

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from atoll.adopt.found import Found, below, join, slug, up
from atoll.adopt.sources import any_has, health_path, port_of, texts
from atoll.adopt.tree import Tree, table, words
from atoll.adopt.yaml_file import load

_SERVERS = frozenset(
    {"express", "fastify", "koa", "@nestjs/core", "@hapi/hapi", "next", "nuxt", "hono", "restify", "polka"}
)
_SERVERS |= {"@sveltejs/kit", "@remix-run/serve", "apollo-server", "@apollo/server", "h3", "micro", "json-server"}
_WORKERS = frozenset(
    {"bullmq", "bull", "amqplib", "kafkajs", "nats", "bee-queue", "agenda", "node-cron", "node-schedule"}
)
_SOURCES = (".js", ".mjs", ".cjs", ".ts", ".mts")
_NOT_SERVED = re.compile(
    r"(?:^|/)(?:tests?|__tests__|e2e|public|static|assets|wwwroot)/|\.(?:spec|test|min|d|config)\.\w+$"
)
_MANAGERS = {"pnpm-lock.yaml": "pnpm", "yarn.lock": "yarn", "bun.lock": "bun", "package-lock.json": "npm"}


class Monorepo(msgspec.Struct, frozen=True):
    """A workspace of packages: where its top is, its patterns, who installs it."""

    top: str
    patterns: tuple[str, ...]
    manager: str

    def member(self, folder: str) -> bool:
        """Whether a folder is one of its packages."""
        path = below(folder, self.top)
        if path is None or path == ".":
            return False
        return any(fnmatchcase(path, pattern.strip("/").removeprefix("./")) for pattern in self.patterns)


def monorepo(tree: Tree, folder: str) -> Monorepo | None:
    """The workspace of packages whose top is `folder`."""
    at = "" if folder == "." else f"{folder}/"
    if f"{at}pnpm-workspace.yaml" in tree:
        patterns = words(load(tree, f"{at}pnpm-workspace.yaml").get("packages"))
    else:
        value = tree.json(f"{at}package.json").get("workspaces")
        patterns = words(value.get("packages") if isinstance(value, dict) else value)
    return Monorepo(folder, tuple(patterns), _manager(tree, at, "npm")) if patterns else None


def _manager(tree: Tree, at: str, usual: str) -> str:
    if f"{at}pnpm-workspace.yaml" in tree:
        return "pnpm"
    return next((name for lock, name in _MANAGERS.items() if f"{at}{lock}" in tree), usual)


def read(tree: Tree, folder: str, repos: Sequence[Monorepo]) -> Iterator[Found]:
    """The service of a package, if it is one."""
    at = "" if folder == "." else f"{folder}/"
    if any(repo.top == folder for repo in repos):
        return
    package = tree.json(f"{at}package.json")
    scripts = {key: text for key, text in table(package.get("scripts")).items() if isinstance(text, str)}
    needs = frozenset(table(package.get("dependencies")))
    files = [
        (path[len(at) :], text)
        for path, text in texts(tree, (p for p in tree.below(folder) if p.endswith(_SOURCES)))
        if not _NOT_SERVED.search(path)
    ]
    listens = any_has(files, r"createServer\(|\.listen\(|serve\(")
    grpc = "@grpc/grpc-js" in needs and any_has(files, r"bindAsync\(|addService\(")
    if not (needs & (_SERVERS | _WORKERS) or listens or grpc):
        return  # a library, a front end that is only built, or tools
    found = Found(name=slug(tree.base(folder)), folder=folder, source=f"{at}package.json", language="node")
    _run(found, package, scripts, files)
    if not found.run:
        return
    if grpc:
        found.protocol = "grpc"
        found.health = "grpc" if any("health" in need for need in needs) or any_has(files, r"grpc\.health") else "tcp"
    elif not (needs & _SERVERS or listens):
        found.protocol = "none"
    else:
        found.health, where = health_path(files)
        found.notes["health"] = f"found in {where}" if where else ""
    if found.protocol != "none" and "{port}" not in str(found.run):
        _told(found, files, needs)
    repo = next((repo for repo in repos if repo.member(folder)), None)
    _build(found, tree, package, scripts, repo)
    yield found


def _run(
    found: Found, package: Mapping[str, Any], scripts: Mapping[str, str], files: Sequence[tuple[str, str]]
) -> None:
    """The command that serves, from the scripts; a plain one is taken as it is, so that signals reach the program."""
    script = next((name for name in ("start:prod", "start", "serve", "dev") if name in scripts), "")
    line = scripts.get(script, "")
    if script == "dev":
        found.notes["run"] = "the only script that runs it; a development server, perhaps"
    if re.fullmatch(
        r"(?:NODE_ENV=\w+ )?(?:node|tsx|ts-node|nest|next|nuxt|fastify|remix-serve|nodemon|bun)\b[^&|;<>`$]*", line
    ):
        if line.startswith("nodemon "):
            line = "node " + line.removeprefix("nodemon ")
        if re.match(r"next start\b", line):
            line = re.sub(r"\s(?:-p|--port)[ =]\d+", "", line) + " -H {host} -p {port}"
        if re.match(r"fastify start\b(?!.*-p)", line):
            line = line.replace("fastify start", "fastify start -a {host} -p {port}", 1)
        found.run = line.strip()
    elif line:
        found.run = f"npm run {script}" if script != "start" else "npm start"
    else:
        main = package.get("main")
        names = [path for path, _ in files]
        usual = [main] if isinstance(main, str) else []
        usual += ["server.js", "index.js", "app.js", "src/index.js", "src/server.js"]
        found.run = next((f"node {name}" for name in usual if name.removeprefix("./") in names), "")


def _told(found: Found, files: Sequence[tuple[str, str]], needs: frozenset[str]) -> None:
    """How the program learns its port. Nuxt and SvelteKit read PORT by themselves."""
    port = port_of(files)
    if port.variable:
        found.port_env = "" if port.variable == "PORT" else port.variable
    elif port.address:
        found.env[port.address] = "{address}"
    elif not needs & {"nuxt", "@sveltejs/kit", "@remix-run/serve", "next"}:
        found.notes["port"] = "no sign that it reads PORT: it must listen there, or take {port} in `run`"


def _build(
    found: Found, tree: Tree, package: Mapping[str, Any], scripts: Mapping[str, str], repo: Monorepo | None
) -> None:
    """What must be said of the build: only what the Node builder would not do by itself."""
    if repo is None:
        at = "" if found.folder == "." else f"{found.folder}/"
        manager = _manager(tree, at, "npm")
        if manager == "bun":  # the builder follows the other managers' locks
            found.steps = [_install(tree, at, manager), *(["bun run build"] if "build" in scripts else [])]
        return
    name = package.get("name")
    path = below(found.folder, repo.top) or "."
    at = "" if repo.top == "." else f"{repo.top}/"
    if _cut(tree, at, repo.manager):  # the builder installs and builds what the member reaches
        found.context, found.workdir = up(found.folder, repo.top), path
        return
    target = name if isinstance(name, str) and re.fullmatch(r"[@\w./-]+", name) else f"./{path}"
    found.context, found.workdir = up(found.folder, repo.top), path
    tops = sorted(
        {pattern.strip("/").removeprefix("./").partition("/*")[0] for pattern in repo.patterns if "*" in pattern}
    )
    own = next((top for top in tops if path.startswith(f"{top}/")), "")
    if own:  # the other applications are no input, but the lock wants to see what they are
        found.inputs = ["**", f"!{own}", path, f"{own}/*/package.json"]
    libraries = _libraries(tree, repo, package, [])
    match repo.manager:
        case "pnpm":
            found.steps = [f"pnpm install --frozen-lockfile --filter {target}..."]
            found.steps += (
                [f"pnpm --filter {target}... run --if-present build"] if "build" in scripts or libraries else []
            )
        case manager:
            found.steps = [_install(tree, at, manager)]
            run = "yarn --cwd {} build" if manager == "yarn" else "npm run build --workspace {}"
            found.steps += [run.format(each) for each in [*libraries, *([path] if "build" in scripts else [])]]


def _cut(tree: Tree, at: str, manager: str) -> bool:
    """Whether the workspace has a lock that the builder cuts."""
    if manager == "pnpm":
        return re.search(r"(?m)^lockfileVersion: '?9\.", tree.text(f"{at}pnpm-lock.yaml")) is not None
    return manager == "npm" and f"{at}package-lock.json" in tree


def _libraries(tree: Tree, repo: Monorepo, package: Mapping[str, Any], seen: list[str]) -> list[str]:
    """Packages of the workspace that this one needs and that are built, in the order of building, relative to the top."""
    needs = {**table(package.get("dependencies")), **table(package.get("devDependencies"))}
    built: list[str] = []
    for folder in tree.folders():
        if folder in seen or not repo.member(folder) or not tree.has(folder, "package.json"):
            continue
        other = tree.json(join(folder, "package.json"))
        if isinstance(other.get("name"), str) and other["name"] in needs:
            seen.append(folder)
            built += _libraries(tree, repo, other, seen)
            if "build" in table(other.get("scripts")):
                built.append(below(folder, repo.top) or ".")
    return built


def _install(tree: Tree, at: str, manager: str) -> str:
    match manager:
        case "pnpm":
            return "pnpm install --frozen-lockfile"
        case "yarn":
            return "yarn install --immutable" if f"{at}.yarnrc.yml" in tree else "yarn install --frozen-lockfile"
        case "bun":
            return "bun install --frozen-lockfile"
    return "npm ci" if f"{at}package-lock.json" in tree else "npm install"
