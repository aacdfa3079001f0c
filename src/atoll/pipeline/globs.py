"""Globs as `build.inputs` and `build.outputs` use them, anchored at the folder.

`**` is any number of folders, `*` and `?` stay within one name, `[abc]` is one of these, a pattern that names a folder
means all below it, and a leading `!` takes away again; the last pattern that fits decides. Pure; called by `inputs` and
`artifacts`.
"""

import re
from collections.abc import Callable, Sequence

EVERYTHING = ("**",)


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """A function that says whether a relative POSIX path is meant by the patterns."""
    if tuple(patterns) == EVERYTHING:
        return lambda _: True
    rules = [(not pattern.startswith("!"), _regex(pattern.removeprefix("!"))) for pattern in patterns]

    def meant(path: str) -> bool:
        return next((keep for keep, regex in reversed(rules) if regex.match(path)), False)

    return meant


def _regex(pattern: str) -> re.Pattern[str]:
    pattern = pattern.removeprefix("./").strip("/")
    parts = pattern.split("/") if pattern not in ("", ".") else ["**"]
    text = ""
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == "**":
            text += r".*" if last else r"(?:[^/]+/)*"
        else:
            text += _name(part) + ("" if last else "/")
    return re.compile(text + r"(?:/.*)?\Z", re.DOTALL)


def _name(part: str) -> str:
    text, at = "", 0
    while at < len(part):
        char = part[at]
        close = part.find("]", at + 2) if char == "[" else -1
        if char == "*":
            text += "[^/]*"
        elif char == "?":
            text += "[^/]"
        elif close > 0:
            inner = part[at + 1 : close].replace("\\", "\\\\").replace("[", "\\[")
            text += "[" + ("^" + inner[1:] if inner[0] in "!^" else inner) + "]"
            at = close
        else:
            text += re.escape(char)
        at += 1
    return text
