"""The shapes in which a Compose file writes things: what a service extends, ports and volumes short and long."""

from collections.abc import Mapping
from typing import Any

from atoll.adopt.compose_values import whole
from atoll.adopt.found import join
from atoll.adopt.tree import Tree, items, table, words
from atoll.adopt.yaml_file import load
from atoll.model.errors import UserError


def extended(tree: Tree, file: str, content: Mapping[str, Any], name: str, depth: int) -> dict[str, Any]:
    """A service with what it extends below it."""
    own = table(table(content.get("services")).get(name))
    parent = own.get("extends")
    other = parent.get("service") if isinstance(parent, dict) else parent
    if not isinstance(other, str) or depth == 0:
        return own
    path = parent.get("file") if isinstance(parent, dict) else None
    if isinstance(path, str):
        file = join(file.rpartition("/")[0], path)
        if file not in tree:
            raise UserError(
                f"{file} is not there", f"service {name} extends one of it", "check out the file", id="file-unreadable"
            )
        content = load(tree, file)
    under = extended(tree, file, content, other, depth - 1)
    merged = {key: value for key, value in under.items() if key not in {"depends_on", "profiles"}}
    for key, value in own.items():
        merged[key] = _merged(key, merged.get(key), value)
    merged.pop("extends", None)
    return merged


def _merged(key: str, under: Any, own: Any) -> Any:
    """A field over the one that it extends, as Compose merges them: tables by key, lists of things one after the other."""
    if key in {"environment", "labels"} and isinstance(under, (list, dict)):
        under, own = _by_key(under), _by_key(own)
    if isinstance(under, dict) and isinstance(own, dict):
        return {**under, **own}
    if isinstance(under, list) and isinstance(own, list) and key not in {"command", "entrypoint"}:
        return [*under, *(item for item in own if item not in under)]
    return own


def _by_key(value: object) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    return {key: text if mark else None for key, mark, text in (line.partition("=") for line in words(value))}


def published(raw: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Container port and the port on this machine, for TCP; ranges by their first."""
    found: list[tuple[int, int]] = []
    for item in items(raw.get("ports")):
        if isinstance(item, dict):
            target, published = whole(item.get("target"), 1, 65_535), whole(str(item.get("published") or ""), 1, 65_535)
            if target and item.get("protocol", "tcp") == "tcp":
                found.append((target, published or target))
        elif isinstance(item, str) and not item.endswith("/udp"):
            outer, _, inner = item.removesuffix("/tcp").rpartition(":")
            target = whole(inner.partition("-")[0], 1, 65_535)
            if target:
                found.append((target, whole(outer.rpartition(":")[2].partition("-")[0], 1, 65_535) or target))
    return found


def mount(item: object) -> tuple[str, str, str]:
    """Source, target and mode of a volume, short or long."""
    if isinstance(item, dict):
        mode = "ro" if item.get("read_only") == "true" else ""
        return str(item.get("source") or ""), str(item.get("target") or ""), mode
    source, _, after = str(item).partition(":")
    target, _, mode = after.partition(":")
    return (source, target, mode) if target else ("", source if source.startswith("/") else "", "")
