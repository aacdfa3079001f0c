"""Globs as `build.inputs` and `build.outputs` use them, anchored at the folder.

`**` is any number of folders, `*` and `?` stay within one name, `[abc]` is one of these, a backslash takes a character
as it is, a pattern that names a folder means all below it, and a leading `!` takes away again; the last pattern that
fits decides. Pure; called by `inputs`, `ignore` and `build`.
"""

import re
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

EVERYTHING = ("**",)
_WILD = frozenset("*?[\\")  # in a part of a pattern: it is no mere name


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """A function that says whether a relative POSIX path is meant by the patterns."""
    if tuple(patterns) == EVERYTHING:
        return lambda _: True
    rules = [(not pattern.startswith("!"), _regex(pattern.removeprefix("!"))) for pattern in patterns]

    def meant(path: str) -> bool:
        return next((keep for keep, regex in reversed(rules) if regex.match(path)), False)

    return meant


def bases(patterns: Sequence[str]) -> tuple[str, ...]:
    """The files and folders below which all lies that the patterns can mean, none within another; "" is everything."""
    found: set[str] = set()
    for pattern in patterns:
        if pattern.startswith("!"):
            continue
        fixed: list[str] = []
        for part in pattern.removeprefix("./").strip("/").split("/"):
            if part in ("", ".", "..") or not _WILD.isdisjoint(part):
                break
            fixed.append(part)
        found.add("/".join(fixed))
    return tuple(base for base in sorted(found) if not _within(base, found))


def _within(base: str, others: AbstractSet[str]) -> bool:
    if base and "" in others:
        return True
    return any(base[:at] in others for at, char in enumerate(base) if char == "/")


def _regex(pattern: str) -> re.Pattern[str]:
    pattern = pattern.removeprefix("./").strip("/")
    parts = pattern.split("/") if pattern not in ("", ".") else ["**"]
    text = ""
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == "**":
            text += r".*" if last else r"(?:[^/]+/)*"
        else:
            text += name_regex(part) + ("" if last else "/")
    return re.compile(text + r"(?:/.*)?\Z", re.DOTALL)


def name_regex(part: str) -> str:
    """The regular expression for one name with `*`, `?`, `[abc]`, and a backslash before what stands for itself."""
    text, at = "", 0
    while at < len(part):
        char = part[at]
        # A bracket right after the opening one (or after its `!`) stands for itself.
        start = at + 2 + (part[at + 1 : at + 2] in ("!", "^"))
        close = part.find("]", start) if char == "[" else -1
        if char == "*":
            text += "[^/]*"
        elif char == "?":
            text += "[^/]"
        elif char == "\\" and at + 1 < len(part):
            at += 1
            text += re.escape(part[at])
        elif close > 0:
            negated, inner = start - at - 2, part[start - 1 : close]
            text += _any_of(inner, negated=bool(negated))
            at = close
        else:
            text += re.escape(char)
        at += 1
    return text


def _any_of(inner: str, *, negated: bool) -> str:
    inner = re.sub(r"([\[\\&~|^])", r"\\\1", inner)
    text = f"(?:(?!/)[{'^' if negated else ''}{inner}])"
    try:
        re.compile(text)
    except re.error:
        return "(?!)"  # [z-a]: fits nothing
    return text
