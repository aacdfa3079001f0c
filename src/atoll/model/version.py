"""Versions of Atoll: which of two is the newer, and what to do when client and daemon differ."""

import re
from typing import Final

HEADER: Final = "Atoll-Version"  # of each request and each answer

_FORM = re.compile(r"v?(\d+(?:\.\d+)*)(?:[-_.]?(dev|a|b|rc|post)[a-z]*[-_.]?(\d*))?")
_FINAL = 3
_RANK = {"dev": -1, "a": 0, "b": 1, "rc": 2, "post": 4}


def newer(one: str, other: str) -> bool:
    """Whether `one` is newer than `other`, in the order of PEP 440; False when one of them is no version."""
    mine, others = _order(one), _order(other)
    return mine is not None and others is not None and mine > others


def difference(client: str, daemon: str) -> str:
    """That they differ, and which one is behind, in a sentence without an end."""
    how = "newer" if newer(daemon, client) else "older" if newer(client, daemon) else "another"
    than = "" if how == "another" else f", {how} than this command's {client}"
    return f"the daemon is Atoll {daemon}{than or f', this command {client}'}"


def advice(client: str, daemon: str, machine: str = "") -> str:
    """What makes them the same; the one that is behind is upgraded. `machine` is where a service manager runs the daemon, if known."""
    if newer(daemon, client):
        return f"install Atoll {daemon} here, too, from where this one came"
    if machine:
        return f"on {machine}: install Atoll {client}, then reload its unit (docs/howto/upgrade.md); services go on meanwhile"
    return (
        "`atoll up` upgrades it while services go on; where a service manager runs it, on that machine: "
        f"install Atoll {client}, then reload its unit (docs/howto/upgrade.md)"
    )


def _order(version: str) -> tuple[tuple[int, ...], int, int] | None:
    found = _FORM.match(version)
    if found is None:
        return None
    numbers = [int(number) for number in found[1].split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers), _RANK.get(found[2] or "", _FINAL), int(found[3] or 0)
