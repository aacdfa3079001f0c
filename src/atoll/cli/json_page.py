"""Writes the page of all JSON that commands print: `python -m atoll.cli.json_page > docs/json.md`. A test fails when it lags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import click
import msgspec

from atoll.cli.outputs import OUTPUTS, comments, schema, structs
from atoll.model.catalogue.ids import ErrorId

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_HEAD = """\
# JSON output

<!-- Generated: python -m atoll.cli.json_page > docs/json.md -->

Every command that shows or changes something takes `--json`. Then standard output holds JSON and nothing else; progress
and warnings go to standard error, and `--quiet` silences progress.

- **One document**, indented; `dev`, `logs`, `events`, `top` and `status --watch` print one object a line, each flushed at once.
- **Errors too.** A command that fails as a whole prints an [error](#errorview) in one line instead: `id`, `kind`, `what`,
  `why`, `fix`, `exit_code`; [Troubleshooting](troubleshooting.md) has a section for each id. Tell the two apart by the exit code: each command says below whether a failing one still
  prints its own document. `deploy`, `rollback` and `restart` of several services tell on standard error of those that
  were refused or did not build, and end with the first one's code.
- **Every member is always there**, unless it is marked *may be absent*. Times: `wall` is seconds since the epoch, `_s` and
  `seconds` are durations in seconds, `_bytes` bytes, `_pct` percent, `_ms` milliseconds.
- **Schemas**: `atoll schema --output status` prints the JSON Schema (2020-12) of a command's output; tests hold the real
  output against it.

## What stays

Within a major version (before 1.0: within a minor one) no member is removed or renamed, none changes its type or unit,
and none that is always there becomes absent; CHANGELOG.md tells of what a new version breaks. New members may come, and
new words where a member is one of several words: ignore what you do not know. Texts for people (`text`, `why`, `fix`,
`reason`, sentences) may change at any time: decide by `id`, `reason_id`, `kind`, `phase`, `state` and exit codes.

"""


def page() -> str:
    """The whole page."""
    return _HEAD + "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield from ("## Commands", "", "| command | prints | |", "|---|---|---|")
    kinds: dict[str, type[msgspec.Struct]] = {}
    for name, output in OUTPUTS.items():
        made = schema(name)
        many = " a line" if output.stream else ""
        shape = _type({key: value for key, value in made.items() if key in {"$ref", "type", "items"}})
        title = f'<a id="{name}"></a>`{made["title"].removesuffix(" --json")}`'
        yield f"| {title} | {shape}{many} | {output.text} |"
        kinds |= structs(output.type)
    yield from ("", "## Objects")
    (_, components) = msgspec.json.schema_components([output.type for output in OUTPUTS.values()])
    for name in sorted(kinds):
        yield from _object(kinds[name], components[name])


def _object(kind: type[msgspec.Struct], component: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", f"### {kind.__name__}", "", " ".join(component.get("description", "").split()))
    yield from ("", "| member | type | |", "|---|---|---|")
    notes = comments(kind)
    for name, member in component["properties"].items():
        absent = kind.__struct_config__.omit_defaults and name not in component["required"]
        text = ". ".join(filter(None, (notes.get(name, ""), "May be absent" if absent else "")))
        yield f"| `{name}` | {_type(member)} | {text.replace('|', chr(92) + '|')} |"


def _type(shape: Mapping[str, Any]) -> str:
    """A schema in a cell of a table."""
    if "$ref" in shape:
        name = shape["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in shape:
        return " or ".join(_type(each) for each in shape["anyOf"])
    if set(get_args(ErrorId)) <= {*shape.get("enum", ())}:
        return "the id of an [error](troubleshooting.md)"
    if "enum" in shape:
        return " ".join(f"`{word}`" for word in shape["enum"])
    match shape.get("type"):
        case "array" if "items" in shape:
            return f"list of {_type(shape['items'])}"
        case "object" if isinstance(shape.get("additionalProperties"), dict):
            return f"object of {_type(shape['additionalProperties'])}"
        case None:
            return "anything"
        case word:
            return str(word)


if __name__ == "__main__":
    click.echo(page(), nl=False)
