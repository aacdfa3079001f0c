"""A whole repository without a Compose file: every folder's build files and Procfiles, put together.

Called by `cli.commands.init`; with a Compose file `compose` asks `service_of` for what that leaves open.
"""

import re
from collections.abc import Sequence

from atoll.adopt import dotnet, go, jvm, node, others, procfile, python, reads
from atoll.adopt.dockerfile import Image, parse
from atoll.adopt.found import Findings, Found, Left, below, join, slug
from atoll.adopt.tested import how_tested
from atoll.adopt.tree import Tree

_COMPOSE_FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")

# What each builder takes a folder for its own by.
_MARKS = {
    "python": ("pyproject.toml", "requirements.txt", "setup.py", "uv.lock", "poetry.lock"),
    "node": ("package.json",),
    "go": ("go.mod",),
    "rust": ("Cargo.toml",),
    "maven": ("pom.xml",),
    "gradle": ("build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts"),
}


def compose_files(tree: Tree, first: str = "") -> list[str]:
    """The Compose file at the top (or `first`) and what Compose lays over it by itself; none without one."""
    first = first or next((name for name in _COMPOSE_FILES if name in tree), "")
    folder, _, name = first.rpartition("/")
    if name not in _COMPOSE_FILES:
        return [first] if first else []
    stem = name.rpartition(".")[0]
    over = (join(folder, f"{stem}.override.{ending}") for ending in ("yaml", "yml"))
    return [first, *(each for each in list(over)[:2] if each in tree)][:2]


def discover(tree: Tree) -> Findings:
    """Every service that the build files and Procfiles show."""
    findings = Findings()
    seen = by_build_files(tree)
    procfiles = [folder for folder in tree.folders() if tree.has(folder, "Procfile")]
    for folder in procfiles:
        known = next((each for each in seen if each.folder == folder), None)
        for item in procfile.read(tree, folder, known):
            if isinstance(item, Left):
                findings.left.append(item)
            else:
                findings.services.append(item)
    taken = {each.folder for each in findings.services}
    for each in seen:
        home = next((folder for folder in procfiles if folder == _home(each)), None)
        if home is None and each.folder not in taken:
            findings.services.append(each)
    for found in findings.services:
        _by_dockerfile(tree, found)
    findings.left += _not_understood(tree, findings.services)
    _name_apart(findings.services)
    findings.services.sort(key=lambda each: each.folder)
    findings.left += reads.learn(tree, findings.services)
    return findings


def by_build_files(tree: Tree) -> list[Found]:
    """Every service that a build file shows, in the order of folders."""
    found: list[Found] = []
    repos = [
        repo for folder in tree.folders() if tree.has(folder, "package.json") and (repo := node.monorepo(tree, folder))
    ]
    cargo = others.cargo_workspaces(tree)
    tops: dict[str, str] = {}
    for folder in tree.folders():
        for module in jvm.modules(tree, folder):
            tops[module] = tops.get(folder, folder)
    pythons = [folder for folder in tree.folders() if any(tree.has(folder, name) for name in python.MARKERS)]
    for folder in tree.folders():
        if tree.has(folder, "go.mod"):
            found += go.read(tree, folder)
        if jvm.markers(tree, folder) and not jvm.modules(tree, folder):
            top = tops.get(folder, folder)
            found += jvm.read(tree, folder, top)
        if tree.has(folder, "Cargo.toml"):
            found += others.rust(tree, folder, cargo)
        if tree.has(folder, "Gemfile"):
            found += others.ruby(tree, folder)
        if tree.has(folder, "composer.json"):
            found += others.php(tree, folder)
        if dotnet.project(tree, folder):
            found += dotnet.read(tree, folder)
        if folder in pythons:
            nested = [each for each in pythons if each != folder and below(each, folder) is not None]
            found += [_of(each, "python") for each in python.read(tree, folder, nested)]
        if tree.has(folder, "package.json"):
            found += node.read(tree, folder, repos)
    unique: dict[str, Found] = {}
    for each in found:  # a package.json beside a Gemfile or a manage.py only builds assets
        unique.setdefault(each.folder, each)
    jvm.leave_out_others(list(unique.values()), tops)
    for each in unique.values():
        _without_doubt(tree, each)
        each.test, each.test_needs = how_tested(tree, each)
    return list(unique.values())


def _of(found: Found, language: str) -> Found:
    found.language = language
    return found


def _without_doubt(tree: Tree, found: Found) -> None:
    """Name the builder where the build files of two are side by side."""
    home = _home(found)
    marked = {builder for builder, names in _MARKS.items() if any(tree.has(home, name) for name in names)}
    if found.language and not found.steps and len(marked) > 1:
        found.builder = found.language


def _home(found: Found) -> str:
    """The folder whose files a service is built from."""
    return join(found.folder, found.context)


def service_of(found: list[Found], folder: str, dockerfile: str, names: Sequence[str] = ()) -> Found | None:
    """The service that a Compose entry built from `folder` means.

    It lies right there, or where its Dockerfile lies; or it is the one below that has one of the `names` (the program that
    is run, the entry's own); or the only one below.
    """
    at = join(dockerfile.rpartition("/")[0] or ".")
    for place in (at, folder):
        if exact := next((each for each in found if each.folder == place), None):
            return exact
    inside = [each for each in found if below(each.folder, at) is not None]
    for name in names:
        if name and (
            same := next((each for each in inside if name in {each.name, each.folder.rpartition("/")[2]}), None)
        ):
            return same
    return inside[0] if len(inside) == 1 and at != "." else None


def made_here(found: list[Found], tree: Tree, name: str, image: str) -> Found | None:
    """The service whose image this is, though the Compose file does not say from what it was built: by its name.

    `acme/shop-orders:2` is made from the folder `shop-orders`, or from `orders` when the entry is called so, too.
    """
    path = re.sub(r"(?::[^/:]*)?(?:@.*)?$", "", image)
    if "/" not in path.removeprefix("library/"):
        return None  # an official image, though a folder may be called like it
    last = slug(path.rpartition("/")[2])
    for each in found:
        base = slug(tree.base(each.folder))
        if last == base or (last.endswith(f"-{base}") and slug(name) in {base, last}):
            return each
    return None


def image_of(tree: Tree, dockerfile: str, target: str = "") -> Image | None:
    """What a Dockerfile says; None when there is none."""
    return parse(tree.text(dockerfile), target) if dockerfile in tree else None


def _by_dockerfile(tree: Tree, found: Found) -> None:
    """What the Dockerfile beside a service adds: the port it had there."""
    image = image_of(tree, join(found.folder, "Dockerfile"))
    if image and image.ports and not found.listens:
        found.listens = image.ports[0]


def _not_understood(tree: Tree, services: list[Found]) -> list[Left]:
    """Folders that ask to be built, and of which nobody knows how they run."""
    known = {_home(each) for each in services} | {each.folder for each in services}
    left: list[Left] = []
    for folder in tree.folders():
        if folder in known or not tree.has(folder, "Dockerfile"):
            continue
        if any(below(each, folder) is not None for each in known):
            continue
        command = parse(tree.text(join(folder, "Dockerfile"))).cmd
        hint = f"; its image runs: {command if isinstance(command, str) else ' '.join(command)}" if command else ""
        left.append(
            Left(
                service=slug(tree.base(folder)),
                what=f"{join(folder, 'Dockerfile')}: nothing there tells how to build and run it without its image{hint}",
                fix=f'write {join(folder, "service.toml")} with `build` and `run`; containers (engine = "docker") need `run` only',
            )
        )
    return left


def _name_apart(services: list[Found]) -> None:
    """Two services of one name are told apart by the folder above, then by number."""
    used: set[str] = set()
    for found in services:
        if found.name in used and "/" in found.folder:
            found.name = slug(f"{found.folder.split('/')[-2]}-{found.name}")
        found.name = slug(found.name, used)
        used.add(found.name)
