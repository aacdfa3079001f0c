"""The names in a workspace's files, without judging them: what an open editor has half written still completes.

The command line calls it for completion, at each Tab: it reads TOML and nothing else, and never raises.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from atoll.workspace.discover import SERVICE_FILE, service_folders

_DEFAULT_SERVICES = (".", "*", "services/*")  # `fields_workspace` has it, behind imports that take too long here


class Names(NamedTuple):
    """What a person may type; each sorted."""

    services: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()  # "orders.test"; builds, which need no file, are not among them


def names(root: Path) -> Names:
    """Services, environments and secrets that the files name; those of files that cannot be read are left out."""
    top = _toml(root / "atoll.toml")
    patterns = top.get("services", _DEFAULT_SERVICES)
    if not isinstance(patterns, (list, tuple)):
        patterns = _DEFAULT_SERVICES
    folders, _ = service_folders(root, [pattern for pattern in patterns if isinstance(pattern, str)], declared=False)
    services, secrets, tasks = set[str](), set(_secrets(top)), set[str]()
    for folder in folders:
        raw = _toml(root / folder / SERVICE_FILE)
        usual = root.resolve().name if folder == "." else folder.rpartition("/")[2]
        name = raw.get("name", usual)
        service = name if isinstance(name, str) else usual
        if not (isinstance(raw.get("tasks"), dict) and "run" not in raw and "jobs" not in raw):  # a library
            services.add(service)
        declared = raw.get("tasks")
        tasks.update(f"{service}.{task}" for task in (declared if isinstance(declared, dict) else ()))
        secrets.update(_secrets(raw))
    declared = top.get("environments")
    environments = {"local", *(declared if isinstance(declared, dict) else ())}
    return Names(tuple(sorted(services)), tuple(sorted(environments)), tuple(sorted(secrets)), tuple(sorted(tasks)))


def usual_name(root: Path) -> str:
    """How a workspace is called whose file gives it no name: as its folder."""
    return re.sub(r"[^A-Za-z0-9 ._-]+", "-", root.name).strip(" .-_") or "workspace"


class Told(NamedTuple):
    """What atoll.toml says of one environment, before anything is judged. `host` is a URL, "" for this machine."""

    workspace: str
    host: str
    declared: bool


def told(root: Path, environment: str) -> Told | None:
    """Whose environment that is, and where; None where the file cannot be read so, and `loader.load` says why."""
    try:
        top = tomllib.loads((root / "atoll.toml").read_bytes().decode("utf-8-sig"))
        own = top.get("environments", {}).get(environment)
        name, host = top.get("name", usual_name(root)), (own or {}).get("host", "")
    except (OSError, ValueError, RecursionError, AttributeError):
        return None
    return Told(name, host, own is not None) if isinstance(name, str) and isinstance(host, str) else None


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}


def _secrets(value: Any) -> Iterator[str]:
    """Every `{ secret = "NAME" }` below."""
    if isinstance(value, dict):
        if set(value) == {"secret"} and isinstance(value["secret"], str):
            yield value["secret"]
        for each in value.values():
            yield from _secrets(each)
