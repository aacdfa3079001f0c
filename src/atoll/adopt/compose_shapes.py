"""The shapes in which a Compose file writes ports and volumes, short and long."""

from collections.abc import Mapping
from typing import Any

from atoll.adopt.compose_values import whole
from atoll.adopt.tree import items


def ports(raw: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Container port and the port on this machine, for TCP; ranges by their first. 0: none that anybody could know."""
    found: list[tuple[int, int]] = []
    for item in items(raw.get("ports")):
        if isinstance(item, dict):
            target, outer = whole(item.get("target"), 1, 65_535), whole(str(item.get("published") or ""), 1, 65_535)
            if target and item.get("protocol", "tcp") == "tcp":
                found.append((target, outer or 0))
        elif isinstance(item, str) and not item.endswith("/udp"):
            before, _, inner = item.removesuffix("/tcp").rpartition(":")
            target = whole(inner.partition("-")[0], 1, 65_535)
            if target:
                found.append((target, whole(before.rpartition(":")[2].partition("-")[0], 1, 65_535) or 0))
    return found


def mount(item: object) -> tuple[str, str, str]:
    """Source, target and mode of a volume, short or long."""
    if isinstance(item, dict):
        mode = "ro" if item.get("read_only") == "true" else ""
        return str(item.get("source") or ""), str(item.get("target") or ""), mode
    source, _, after = str(item).partition(":")
    target, _, mode = after.partition(":")
    return (source, target, mode) if target else ("", source if source.startswith("/") else "", "")
