"""Go services: a module with one program, or with several under `cmd/`."""

import posixpath
import re
from collections.abc import Iterator, Sequence

from atoll.adopt.found import Found, below, join, slug, up
from atoll.adopt.sources import Port, any_has, health_path, port_of, texts
from atoll.adopt.tree import Tree

_MAIN = re.compile(r"^package main\b.*^func main\(", re.MULTILINE | re.DOTALL)
_TOOLS = re.compile(
    r"(?:^|/)(?:tools?|scripts?|examples?|hack|tests?|internal/tools|cli|migrate|migrations?|seed)(?:/|$)"
)
_HTTP = r"http\.ListenAndServe|http\.Server\{|gin\.(?:Default|New)\(|echo\.New\(|fiber\.New\(|ListenAndServe\("
_FLAG = re.compile(
    r"""flag\.\w+\((?:&\w+,\s*)?"(port|addr|address|listen|listen-addr|http|http-addr|http\.addr|bind)"\s*,\s*("?)"""
)


def read(tree: Tree, folder: str) -> Iterator[Found]:
    """The services of the module whose go.mod lies in `folder`; from the top of its go.work when it needs others of that."""
    for found in _programs(tree, folder):
        top = _workspace(tree, folder) or _replaced(tree, folder)
        if top is not None:
            package = f"./{below(join(folder, found.package or '.'), top) or '.'}"
            found.context, found.package, found.inputs = up(found.folder, top), package, []
            if found.steps:  # which of several programs
                found.steps = [f"go build -o {found.name} {package}"]
            else:  # the builder finds it, and puts it where it ran before
                found.workdir = below(found.folder, top) or "."
        yield found


def _replaced(tree: Tree, folder: str) -> str | None:
    """The folder that holds this module and those that its go.mod replaces by folders outside of it."""
    text = re.sub(r"//.*", "", tree.text(join(folder, "go.mod")))
    paths = [join(folder, path) for path in re.findall(r"=>\s*(\.\.?/[\w./-]*)", text)]
    outside = [path for path in paths if below(path, folder) is None and tree.has(path, "go.mod")]
    if not outside:
        return None
    return posixpath.commonpath([folder, *outside]) or "."


def _workspace(tree: Tree, folder: str) -> str | None:
    """The folder of the go.work that names this module, when the module needs another one that stands there."""
    for top in [each for each in tree.folders() if tree.has(each, "go.work") and below(folder, each) is not None][::-1]:
        text = re.sub(r"//.*", "", tree.text(join(top, "go.work")))
        used = [join(top, path) for path in re.findall(r"(?:^use\s+|^\s+)(\.[\w./-]*)", text, re.MULTILINE)]
        names = [re.search(r"^module\s+\"?([^\s\"]+)", tree.text(join(each, "go.mod")), re.MULTILINE) for each in used]
        needs = tree.text(join(folder, "go.mod"))
        others = [name[1] for each, name in zip(used, names, strict=True) if name and each != folder]
        if folder in used and any(re.search(rf"\b{re.escape(name)}\s+v", needs) for name in others):
            return top
    return None


def _programs(tree: Tree, folder: str) -> Iterator[Found]:
    at = "" if folder == "." else f"{folder}/"
    inner = [
        other for other in tree.folders() if other != folder and tree.has(other, "go.mod") and below(other, folder)
    ]
    mains: list[str] = []
    programs: list[str] = []  # tools, too: the builder sees them
    for each in tree.folders():
        path = below(each, folder)
        if path is None or any(below(each, other) is not None for other in inner):
            continue
        if any(_MAIN.search(text) for _, text in _sources(tree, each)):
            programs.append(path)
            if not _TOOLS.search(path):
                mains.append(path)
    module = re.search(r"^module\s+\"?([^\s\"]+)", tree.text(f"{at}go.mod"), re.MULTILINE)
    many = len(mains) > 1
    for path in mains:
        own = folder if not many else join(folder, path)
        name = folder.rpartition("/")[2] if not many and folder != "." else path.rpartition("/")[2]
        if name in {".", "cmd", "server", "app", "main"}:
            name = (module[1] if module else name).rpartition("/")[2]
        found = Found(name=slug(name), folder=own, source=f"{at}go.mod", language="go")
        found.run = f"./{found.name}"
        if path != "." and len(programs) > 1:  # else the builder finds it by itself
            found.package = f"./{path}"
            if path.rpartition("/")[2] != found.name or "." in programs:
                found.steps = [f"go build -o {found.name} {found.package}"]
        if own != folder:
            found.context = up(own, folder)
            if found.steps and path.rpartition("/")[0] == "cmd":  # the builder would know by itself
                found.inputs = ["**", "!cmd", path]
        _look(found, _reached(tree, folder, path, module[1] if module else ""))
        yield found


def _sources(tree: Tree, folder: str) -> list[tuple[str, str]]:
    names = [name for name in tree.inside(folder) if name.endswith(".go") and not name.endswith("_test.go")]
    return texts(tree, [join(folder, name) for name in names])


def _reached(tree: Tree, folder: str, path: str, module: str) -> list[tuple[str, str]]:
    """The program's sources, and those of its own module that it imports."""
    todo, seen, files = [join(folder, path)], set[str](), list[tuple[str, str]]()
    while todo and len(seen) < 200:
        here = todo.pop()
        if here in seen:
            continue
        seen.add(here)
        for name, text in _sources(tree, here):
            files.append((name, text))
            if module:
                imports = re.findall(rf'"{re.escape(module)}/([\w./-]+)"', text)
                todo += sorted((join(folder, each) for each in imports), reverse=True)
    return files


def _look(found: Found, files: Sequence[tuple[str, str]]) -> None:
    """Protocol, port and health from the sources."""
    grpc, http = any_has(files, r"grpc\.NewServer\("), any_has(files, _HTTP)
    if grpc and not http:
        found.protocol = "grpc"
        found.health = (
            "grpc" if any_has(files, r"grpc/health|healthpb\.|grpc_health_v1|RegisterHealthServer") else "tcp"
        )
    elif not http:
        found.protocol = "none"
        return
    else:
        found.health, where = health_path(files)
        found.notes["health"] = f"found in {where}" if where else ""
    port = port_of(files)
    if not port.variable and any_has(files, r"gin\.\w+\(") and any_has(files, r"\.Run\(\s*\)"):
        port = Port(variable="PORT")  # what Gin reads by itself
    if port.variable:
        found.port_env = "" if port.variable == "PORT" else port.variable
    elif port.address:
        found.env[port.address] = "{address}"
    elif flag := next((each for _, text in files if (each := _FLAG.search(text))), None):
        found.run = f"{found.run} -{flag[1]} {'{port}' if flag[1] == 'port' else '{address}'}"
    else:
        found.notes["port"] = "no sign that it reads PORT: it must listen there, or take {port} in `run`"
