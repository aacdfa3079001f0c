"""Which of two versions of Atoll is the newer."""

import re

_FORM = re.compile(r"v?(\d+(?:\.\d+)*)(?:[-_.]?(dev|a|b|rc|post)[a-z]*[-_.]?(\d*))?")
_FINAL = 3
_RANK = {"dev": -1, "a": 0, "b": 1, "rc": 2, "post": 4}


def newer(one: str, other: str) -> bool:
    """Whether `one` is newer than `other`, in the order of PEP 440; False when one of them is no version."""
    mine, others = _order(one), _order(other)
    return mine is not None and others is not None and mine > others


def _order(version: str) -> tuple[tuple[int, ...], int, int] | None:
    found = _FORM.match(version)
    if found is None:
        return None
    numbers = [int(number) for number in found[1].split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers), _RANK.get(found[2] or "", _FINAL), int(found[3] or 0)
