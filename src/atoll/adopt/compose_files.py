"""Several Compose files as one: overrides beside it, what it includes, what a service extends. Nothing is filled in yet.

Paths end up relative to the first file's folder, and every field keeps the place where it was written.
"""

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from atoll.adopt.compose_shapes import mount
from atoll.adopt.compose_values import Values, env_lines
from atoll.adopt.found import Left, Place, join
from atoll.adopt.tree import Tree, items, table, words
from atoll.adopt.yaml_file import Fields, Whole, load
from atoll.model.errors import UserError

_DEPTH = 5  # of files that include or extend each other
_REPLACED = frozenset({"command", "entrypoint", "test"})  # lists that are not joined
_BY_KEY = frozenset({"environment", "labels", "args", "sysctls", "annotations"})  # tables that may be written as lists
_NAMES = frozenset({"depends_on", "networks"})  # tables that may be written as lists of names


class Project(NamedTuple):
    """The services by name, what each one's variables mean, where each begins, and the fields beside `services`."""

    services: dict[str, Fields]
    values: dict[str, Values]
    homes: dict[str, Place]
    beside: Fields
    left: list[Left]


def project(tree: Tree, files: Sequence[str], outer: Mapping[str, str] | None = None, depth: int = _DEPTH) -> Project:
    """All of these files, later ones over earlier ones. `outer` are variables of the file that includes them.

    Raises UserError for a file that is no Compose file.
    """
    base = join(files[0].rpartition("/")[0])
    lines = env_lines(tree.text(join(base, ".env")), outer)
    values = Values({**{name: text for name, text in lines.items() if text is not None}, **(outer or {})})
    whole = Project({}, {}, {}, Fields(), [])
    contents = [load(tree, file) for file in files]
    for file, content in zip(files, contents, strict=True):
        for each in [*items(content.get("include")), *words([content.get("include")])]:
            _include(tree, file, content, each, values, depth, whole, base)
    for file, content in zip(files, contents, strict=True):
        for name in table(content.get("services")):
            own = rebased(extended(tree, file, content, name, _DEPTH), _folder(file), base)
            whole.services[name] = merged(whole.services[name], own) if name in whole.services else own
            whole.values[name] = values
            whole.homes.setdefault(name, content.place("services", name))
        beside = Fields({k: v for k, v in content.items() if k not in {"services", "include"}}, content.places)
        whole = whole._replace(beside=merged(whole.beside, beside))
    return whole


def _include(
    tree: Tree, file: str, content: Fields, given: Any, values: Values, depth: int, into: Project, base: str
) -> None:
    """Take in what `given`, an item of `include`, names; what is not there is told."""
    paths = given.get("path") if isinstance(given, dict) else given
    names = [join(_folder(file), each) for each in ([paths] if isinstance(paths, str) else words(paths))]
    missing = [name for name in names if name not in tree]
    if missing or not names or depth == 0:
        what = f"include ({', '.join(missing or names) or given}) is not there" if depth else "include goes in circles"
        place = content.place("include")
        into.left.append(Left(service="", what=what, fix="check the file out, below this folder", places=(place,)))
        return
    inner = project(tree, names, values.known, depth - 1)
    for name, fields in inner.services.items():
        into.services[name] = rebased(fields, _folder(names[0]), base)
        into.values[name], into.homes[name] = inner.values[name], inner.homes[name]
    into.beside.update(inner.beside)
    into.beside.places.update(inner.beside.places)
    into.left.extend(inner.left)


def extended(tree: Tree, file: str, content: Fields, name: str, depth: int) -> Fields:
    """A service with what it extends below it."""
    services = content.get("services")
    own = services.get(name) if isinstance(services, Fields) else None
    if not isinstance(own, Fields):
        return Fields()
    parent = own.get("extends")
    other = parent.get("service") if isinstance(parent, dict) else parent
    if not isinstance(other, str) or depth == 0:
        return own
    path = parent.get("file") if isinstance(parent, dict) else None
    source = file
    if isinstance(path, str):
        source = join(_folder(file), path)
        if source not in tree:
            raise UserError(
                f"{source} is not there",
                f"service {name} extends one of it",
                "check out the file",
                id="file-unreadable",
            )
        content = load(tree, source)
    under = rebased(extended(tree, source, content, other, depth - 1), _folder(source), _folder(file))
    kept = {key: value for key, value in under.items() if key not in {"depends_on", "profiles"}}
    made = merged(Fields(kept, under.places), own)
    made.pop("extends", None)
    return made


def merged(under: Fields, own: Fields) -> Fields:
    """A table over another, as Compose merges them: tables by key, lists of things one after the other."""
    if own.replaces:
        return own
    made = Fields(under, {**under.places, **own.places})
    for key, value in own.items():
        made[key] = _field(key, under.get(key), value, own.place(key))
    return made


def _field(key: str, under: Any, own: Any, place: Place) -> Any:
    """One field over the one below it."""
    if isinstance(own, Whole) or key in _REPLACED:
        return own
    if key == "build":
        under, own = (Fields({"context": x}, {"context": place}) if isinstance(x, str) else x for x in (under, own))
    elif key in _BY_KEY:
        under, own = _by_key(under, place), _by_key(own, place)
    elif key in _NAMES and isinstance(under, dict) != isinstance(own, dict):
        under, own = (Fields(dict.fromkeys(words(x))) if isinstance(x, list) else x for x in (under, own))
    elif key == "env_file":
        under, own = ([x] if isinstance(x, (str, dict)) else x for x in (under, own))
    if isinstance(under, Fields) and isinstance(own, Fields):
        return merged(under, own)
    if not (isinstance(under, list) and isinstance(own, list)):
        return own
    if key == "volumes":
        targets = {mount(item)[1] for item in own}
        under = [item for item in under if mount(item)[1] not in targets]
    return [*under, *(item for item in own if item not in under)]


def _by_key(value: Any, place: Place) -> Any:
    if not isinstance(value, list):
        return value
    pairs = {name: text if mark else None for name, mark, text in (line.partition("=") for line in words(value))}
    return Fields(pairs, dict.fromkeys(pairs, place))


def rebased(fields: Fields, folder: str, to: str) -> Fields:
    """A service of a file in `folder`, with its paths relative to the folder `to`."""
    way = posixpath.relpath(f"/{folder}", f"/{to}")
    if way == ".":
        return fields

    def moved(path: str) -> str:
        there = path.startswith(("/", "~", "git@")) or "://" in path
        return path if there else f"./{join(way, path)}"

    made = Fields(fields, fields.places)
    build = made.get("build")
    if isinstance(build, str):
        made["build"] = moved(build)
    elif isinstance(build, Fields):
        made["build"] = Fields({**build, "context": moved(str(build.get("context") or "."))}, build.places)
    files = made.get("env_file")
    if files is not None:
        every = files if isinstance(files, list) else [files]
        made["env_file"] = [
            moved(x) if isinstance(x, str) else Fields({**x, "path": moved(str(x.get("path") or ""))}) for x in every
            if isinstance(x, (str, dict))
        ]  # fmt: skip
    made["volumes"] = [_moved_volume(item, moved) for item in items(made.get("volumes"))]
    return Fields({key: value for key, value in made.items() if key in fields}, made.places)


def _moved_volume(item: Any, moved: Any) -> Any:
    if isinstance(item, str) and item.startswith("."):
        source, mark, rest = item.partition(":")
        return f"{moved(source)}{mark}{rest}"
    if isinstance(item, Fields) and str(item.get("source") or "").startswith("."):
        return Fields({**item, "source": moved(str(item["source"]))}, item.places)
    return item


def _folder(file: str) -> str:
    return join(file.rpartition("/")[0])
