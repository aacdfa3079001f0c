"""The one grammar of placeholders in commands, environment values and rendered files: `{port}`, `{port.admin}`, `{address}`.

A placeholder is a lower-case name in single braces, of up to three parts; after `env.` and `secret.` comes a name as
it is written there. Anything else in braces (JSON, `${HOME}`, `awk '{print $1}'`) is
text. `{{port}}` is the text `{port}`; in JSON, `{"port":{port}}` holds a placeholder. Whoever starts a replica fills them in; `decide.validate` checks them before.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

_NAME = r"env\.[A-Za-z_][A-Za-z0-9_]*|secret\.[A-Za-z0-9][A-Za-z0-9._-]*|[a-z][a-z0-9_]*(?:\.[a-z0-9][a-z0-9_-]*){0,2}"
_PLACEHOLDER = re.compile(rf"(?<![{{$])\{{({_NAME})\}}|(?<!\$)\{{\{{({_NAME})\}}\}}")

SERVICE_PLACEHOLDERS = ("service", "release", "data")  # everywhere; `data` is the service's own folder
PORT_PLACEHOLDERS = ("host", "port", "url", "address")  # of a service with a port; `port.NAME` for each named one
CALL_PLACEHOLDERS = (*PORT_PLACEHOLDERS, "service", "release")  # of an edge's environment: the callee's address
SECRET_PREFIX = "secret."  # noqa: S105  in rendered files only: a command line is seen by everybody on the machine


def placeholders(text: str) -> Sequence[str]:
    """The names of the placeholders in `text`, in order, escaped ones left out."""
    return [found[1] for found in _PLACEHOLDER.finditer(text) if found[1]]


def located(text: str) -> Iterator[tuple[int, str]]:
    """The same with their lines, from 1."""
    return ((text.count("\n", 0, found.start()) + 1, found[1]) for found in _PLACEHOLDER.finditer(text) if found[1])


def literal(text: str) -> str:
    """`text` written so that nothing in it is a placeholder: `fill` gives it back as it was."""
    return _PLACEHOLDER.sub(lambda found: f"{{{found[0]}}}", text)


def fill(text: str, values: Mapping[str, str]) -> str:
    """`text` with every placeholder replaced. Raises KeyError for a name that `values` lacks."""
    return _PLACEHOLDER.sub(lambda found: values[found[1]] if found[1] else f"{{{found[2]}}}", text)


def partly(text: str, values: Mapping[str, str]) -> str:
    """`text` with the placeholders that `values` knows replaced; others and escaped ones stay, for `fill`."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]) if found[1] else found[0], text)
