"""Writes TOML, for manifests that are cut: the standard library only reads it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def dumps(content: Mapping[str, Any]) -> str:
    """What `tomllib.loads` reads as the same again. Comments and layout are those of nobody."""
    return "".join(_table((), content))


def _table(at: tuple[str, ...], content: Mapping[str, Any]) -> Iterator[str]:
    for name, value in content.items():
        if not isinstance(value, dict):
            yield f"{_key(name)} = {_value(value)}\n"
    for name, value in content.items():
        if isinstance(value, dict):
            inner = (*at, name)
            if not value or any(not isinstance(each, dict) for each in value.values()):
                yield f"\n[{'.'.join(map(_key, inner))}]\n"
            yield from _table(inner, value)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _value(value: object) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(name)} = {_value(each)}" for name, each in value.items()) + " }"
    if isinstance(value, Sequence):
        return f"[{', '.join(map(_value, value))}]"
    return str(value)  # numbers, inf and nan, dates and times: as TOML writes them


def _text(value: str) -> str:
    import json

    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
