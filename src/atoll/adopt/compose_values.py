"""Values of a Compose file: `${VAR}` filled in as Compose does, variables from `environment` and `env_file`, durations."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from atoll.adopt.found import join
from atoll.adopt.tree import Tree, table, words
from atoll.adopt.yaml_file import Fields

_VARIABLE = re.compile(r"\$(?:(\$)|\{([A-Za-z_]\w*)(?:(:?[-?+])((?:[^{}]|\{[^{}]*\})*))?\}|([A-Za-z_]\w*))")
_ENV_LINE = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][\w.-]*)\s*(?:=\s*(.*?)\s*)?$")
_TIME = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([bkmg]?)(?:i?b)?", re.IGNORECASE)
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Values:
    """The variables that a Compose file refers to. `unset` gathers those that have no value anywhere."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self.known = dict(known)
        self.unset: set[str] = set()

    def fill(self, value: Any, depth: int = 45) -> Any:
        """The same with every variable filled in."""
        if isinstance(value, str):
            return self.text(value)
        if depth == 0:
            return value
        if isinstance(value, dict):
            filled = {key: self.fill(item, depth - 1) for key, item in value.items()}
            return Fields(filled, value.places) if isinstance(value, Fields) else filled
        if isinstance(value, list):
            return [self.fill(item, depth - 1) for item in value]
        return value

    def text(self, text: str, depth: int = 5) -> str:
        """A text with its variables filled in; unset ones are empty, as Compose has them."""

        def one(found: re.Match[str]) -> str:
            if found[1]:
                return "$"
            name = found[2] or found[5]
            value, mark, other = self.known.get(name), found[3] or "", found[4] or ""
            if mark.endswith("+"):
                return self.text(other, depth - 1) if value and depth else ""
            if value or (value is not None and not mark.startswith(":")):
                return value
            if mark.endswith("-"):
                return self.text(other, depth - 1) if depth else other
            self.unset.add(name)
            return ""

        return _VARIABLE.sub(one, text)


def env_lines(text: str, outer: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """The variables of an env file; None for one without a value.

    A value may refer to variables above it, and to the `outer` ones, which come first; in single quotes nothing is filled in.
    """
    found: dict[str, str | None] = {}
    known = Values(dict(outer or {}))
    for line in text.splitlines():
        match = None if line.lstrip().startswith("#") else _ENV_LINE.match(line)
        if match is None:
            continue
        name, value = match[1], match[2]
        quote = value[:1] if value and value[:1] in {'"', "'"} and value.find(value[0], 1) > 0 else ""
        if value is not None:
            value = value[1 : value.find(quote, 1)] if quote else re.sub(r"(?:^|\s+)#.*$", "", value)
            value = value if quote == "'" else known.text(value)
            known.known.setdefault(name, value)
        found[name] = value
    return found


def environment(
    tree: Tree, base: str, raw: Mapping[str, Any], values: Values, missing: Callable[[str], None]
) -> dict[str, str]:
    """A service's variables: `env_file` first, `environment` over it, in which variables are not yet filled in.

    A name without a value is `${NAME}`: Compose takes it from .env, else from the caller's own. `base` is the folder of
    the Compose file, `raw` the service before its variables are filled in; `missing` is told the path of each env_file
    that is not there.
    """
    found: dict[str, str | None] = {}
    files = raw.get("env_file")
    for item in files if isinstance(files, list) else [files]:
        path = item.get("path", "") if isinstance(item, dict) else item
        if isinstance(path, str):
            at = join(base, values.text(path))
            if not path:
                missing("without a path")
            elif at in tree:
                lines = env_lines(tree.text(at), values.known)
                found |= {name: None if text is None else text.replace("$", "$$") for name, text in lines.items()}
            elif not (isinstance(item, dict) and item.get("required") == "false"):
                missing(at)
    given = raw.get("environment")
    for line in words(given):
        key, mark, value = line.partition("=")
        found[key.strip()] = value if mark else None
    for key, item in table(given).items():
        found[key.strip()] = item if item is None or isinstance(item, str) else str(item)
    return {name: f"${{{name}}}" if text is None else text for name, text in found.items()}


def seconds(text: object) -> float | None:
    """A Compose duration such as `1m30s`, in seconds; None for anything else."""
    found = _TIME.fullmatch(text) if isinstance(text, str) and text and len(text) < 20 else None
    if found is None:
        return None
    return sum(float(part or 0) * unit for part, unit in zip(found.groups(), (3600, 60, 1, 0.001), strict=True))


def duration(value_s: float) -> str:
    """A duration as service.toml writes it."""
    if value_s >= 60 and value_s % 60 == 0:
        return f"{value_s / 60:.0f}m"
    return f"{value_s:.0f}s" if value_s >= 1 and value_s == int(value_s) else f"{value_s * 1000:.0f}ms"


def size(text: object) -> str:
    """A Compose size such as `512m` as service.toml writes it; "" for anything else."""
    found = _SIZE.fullmatch(text.strip()) if isinstance(text, str) and len(text) < 20 else None
    if found is None or float(found[1]) <= 0:
        return ""
    unit = {"": "B", "b": "B", "k": "KiB", "m": "MiB", "g": "GiB"}[found[2].lower()]
    return f"{found[1]}{unit}"


def whole(text: object, low: int, high: int) -> int | None:
    """A whole number within a range; None for anything else."""
    number = int(text) if isinstance(text, str) and re.fullmatch(r"\d{1,9}", text) else None
    return number if number is not None and low <= number <= high else None
