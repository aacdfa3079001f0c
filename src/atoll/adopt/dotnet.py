"""ASP.NET Core services, .NET workers and console programs, with the projects of the repository that they refer to."""

import re
from collections.abc import Iterator

from atoll.adopt.found import Found, below, join, slug, up
from atoll.adopt.sources import any_has, health_path, texts
from atoll.adopt.tree import Tree

_REFERENCE = re.compile(r"<ProjectReference\s[^>]*Include\s*=\s*\"([^\"]+)\"")
# Files above a project that its build reads.
_ABOVE = ("Directory.Build.props", "Directory.Build.targets", "Directory.Packages.props", "NuGet.config", "global.json")
_HEALTH = re.compile(r"MapHealthChecks\(\s*\"(/[^\"]+)\"|UseHealthChecks\(\s*\"(/[^\"]+)\"")


def project(tree: Tree, folder: str) -> str:
    """The project file of a folder; "" without one."""
    return next((name for name in tree.inside(folder) if name.endswith((".csproj", ".fsproj", ".vbproj"))), "")


def read(tree: Tree, folder: str) -> Iterator[Found]:
    """The program of a project; libraries and tests are none."""
    file = project(tree, folder)
    text = tree.text(join(folder, file))
    web, worker = "Microsoft.NET.Sdk.Web" in text, "Microsoft.NET.Sdk.Worker" in text
    program = re.search(r"<OutputType>\s*Exe\s*</OutputType>", text, re.IGNORECASE)
    if not (web or worker or program) or re.search(r"Microsoft\.NET\.Test\.Sdk|xunit|<IsTestProject>", text):
        return
    name = file.rpartition(".")[0]
    found = Found(
        name=slug(name if folder in {".", "src"} or folder.endswith("/src") else folder.rpartition("/")[2]),
        folder=folder,
        source=join(folder, file),
    )
    _build(tree, found, file)
    assembly = re.search(r"<AssemblyName>\s*([\w.-]+)\s*</AssemblyName>", text)
    found.run = f"dotnet out/{assembly[1] if assembly else name}.dll{' --urls {url}' if web else ''}"
    files = texts(tree, (path for path in tree.below(folder) if path.endswith((".cs", ".fs"))))
    if not web:
        found.protocol = "none"
    elif "Grpc.AspNetCore" in text and not any_has(files, r"MapControllers\(|MapGet\(|MapHealthChecks\("):
        found.protocol = "grpc"
        found.health = "grpc" if "HealthChecks" in text or any_has(files, r"MapGrpcHealth") else "tcp"
    else:
        _health(found, files)
    yield found


def _health(found: Found, files: list[tuple[str, str]]) -> None:
    """Readiness before liveness, where both are mapped."""
    mapped = [(m[1] or m[2], path) for path, text in files for m in _HEALTH.finditer(text)]
    mapped.sort(key=lambda each: ("live" in each[0], len(each[0])))
    found.health, where = mapped[0] if mapped else health_path(files)
    found.notes["health"] = f"found in {where}" if where else ""


def _build(tree: Tree, found: Found, file: str) -> None:
    """`dotnet publish`, from the folder that holds all projects that it needs and the files that they read."""
    needed = _referred(tree, join(found.folder, file))
    above = [
        join(folder, name)
        for folder in _ways_up(found.folder)
        for name in _ABOVE
        if folder != found.folder and join(folder, name) in tree
    ]
    folders = [found.folder, *(path.rpartition("/")[0] or "." for path in [*needed, *above])]
    top = next(folder for folder in _ways_up(found.folder) if all(below(each, folder) is not None for each in folders))
    own = below(found.folder, top) or "."
    found.steps = [f"dotnet publish {join(own, file)} -c Release -o out"]
    found.outputs = ["out"]
    if top != found.folder:
        found.context = up(found.folder, top)
        parts = [below(path.rpartition("/")[0] or ".", top) or "." for path in needed]
        inputs = [own, *parts, *(below(path, top) or path for path in above)]
        found.inputs = ["**"] if "." in inputs else list(dict.fromkeys(inputs))


def _referred(tree: Tree, path: str) -> list[str]:
    """The project files that a project needs, through others too."""
    todo, seen = [path], list[str]()
    while todo and len(seen) < 200:
        here = todo.pop(0)
        for each in _REFERENCE.findall(tree.text(here)):
            other = join(here.rpartition("/")[0] or ".", each.replace("\\", "/"))
            if other in tree and other not in seen and other != path:
                seen.append(other)
                todo.append(other)
    return seen


def _ways_up(folder: str) -> list[str]:
    """The folder itself and every one above it, the top last."""
    parts = [] if folder == "." else folder.split("/")
    return [*("/".join(parts[:count]) for count in range(len(parts), 0, -1)), "."]
