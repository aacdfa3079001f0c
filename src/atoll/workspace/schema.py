"""JSON Schemas (draft-07) of `atoll.toml` and `service.toml`, for editors, made of the rows that parse the files.

`python -m atoll.workspace.schema docs/schema` writes them; `atoll schema` prints them; a test fails when they lag. A
schema tells what can be told from the shape of one file: ranges of durations, templates and what services say of each
other is `atoll check`'s.
"""

import json
import re
import sys
import tomllib
from collections.abc import Mapping
from functools import singledispatch
from pathlib import Path
from typing import Any

import msgspec

from atoll.model.spec import EdgePolicy
from atoll.workspace.fields_delivery import Day
from atoll.workspace.fields_edges import POLICY_FIELDS
from atoll.workspace.fields_service import SERVICE
from atoll.workspace.fields_stores import StoreAddress
from atoll.workspace.fields_values import ENV_VALUE, ENV_VALUES, ENVIRONMENT_NAME, VARIABLE, Scalar, Secret, ServiceEnv
from atoll.workspace.fields_workspace import WORKSPACE
from atoll.workspace.kinds import (
    DURATION,
    SIZE,
    Choice,
    Duration,
    Either,
    Flag,
    Integer,
    Kind,
    ListOf,
    MapOf,
    Mapped,
    Number,
    Percent,
    Refused,
    Size,
    Text,
    duration_text,
    size_text,
)
from atoll.workspace.reference import spec_default
from atoll.workspace.tables import Field, Table

Schema = dict[str, Any]

FILES: Mapping[str, tuple[str, Table]] = {
    "service": ("service.schema.json", SERVICE),
    "workspace": ("atoll.schema.json", WORKSPACE),
}
_PERCENT = r"^(0?\d{1,2}(\.\d{1,6})?|100(\.0{1,6})?)\s?%$"


def schema(of: str) -> Schema:
    """The schema of `service.toml` ("service") or of `atoll.toml` ("workspace"). Raises KeyError for others."""
    _, table = FILES[of]
    tables: dict[str, Table] = {}
    _collect(table, tables)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": table.title,
        "description": f"Atoll's {table.title}. The reference has each field with its meaning: `atoll check` tells more.",
        **_object(table),
        "definitions": {name: _object(each) for name, each in sorted(tables.items())},
    }


def text(of: str) -> str:
    """The same as a file's content."""
    return json.dumps(schema(of), indent=2, ensure_ascii=False) + "\n"


# --- tables and fields --------------------------------------------------------------------------------------------


def _object(table: Table) -> Schema:
    required = [field.key for field in table.fields if field.required]
    return {
        "type": "object",
        "properties": {field.key: _field(table, field) for field in table.fields},
        **({"required": required} if required else {}),
        "additionalProperties": False,
        **table.shape,
    }


def _field(table: Table, field: Field) -> Schema:
    """One field: what it is for, its default and examples as values of the file, and its shape."""
    meaning = re.sub(r"\[([^]]*)\]\(#[^)]*\)", r"\1", field.meaning)
    known, value, told = _default(table, field)
    shape = dict(shape_of(field.kind))
    if "$ref" in shape:
        shape = {"allOf": [shape]}  # draft-07 ignores what stands beside a reference
    limits = _limits(field.kind)
    return {
        "description": " ".join(filter(None, (meaning, limits, told))),
        **({"default": value} if known else {}),
        "examples": [_value(example) for example in field.examples],
        **shape,
    }


def _default(table: Table, field: Field) -> tuple[bool, Any, str]:
    """Whether the default is a value, that value, and how a person reads it."""
    if field.required:
        return False, None, "Required."
    if field.default:
        written = re.fullmatch(r"`([^`]*)`", field.default)
        return (True, _value(written[1]), "") if written else (False, None, f"Default: {field.default}.")
    value = spec_default(EdgePolicy if field in POLICY_FIELDS else table.spec, field.attribute)
    if isinstance(value, msgspec.Struct):
        return False, None, "Default: as its own fields say."
    if value is None:
        return False, None, "Default: none."
    return True, _value(field.kind.show(value)), ""


def _limits(kind: Kind) -> str:
    """What a pattern cannot say."""
    if isinstance(kind, Duration):
        return f'A duration such as "500ms" or "1m30s", up to "{duration_text(kind.high_s)}".'
    if isinstance(kind, Size):
        return f'A size such as "256MiB", at least "{size_text(kind.low_bytes)}".' if kind.low_bytes else ""
    return ""


def _value(written: str) -> Any:
    return tomllib.loads(f"x = {written}")["x"]


def name_of(table: Table) -> str:
    """The key of a table's definition: its title without the article or the brackets, fit for a reference's URL."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", re.sub(r"^(a|an|the) ", "", table.title)).strip("-")


def _collect(kind: object, into: dict[str, Table]) -> None:
    """Every table within a kind, by the name of its definition."""
    match kind:
        case Table():
            for field in kind.fields:
                if isinstance(inner := field.kind, Table):
                    into[name_of(inner)] = inner
                _collect(inner, into)
        case Mapped():
            _collect_one(kind.kind, into)
        case ListOf():
            _collect_one(kind.item, into)
        case MapOf():
            _collect_one(kind.value, into)
        case Either():
            for one in kind.by_type.values():
                _collect_one(one, into)


def _collect_one(kind: object, into: dict[str, Table]) -> None:
    if isinstance(kind, Table):
        into[name_of(kind)] = kind
    _collect(kind, into)


# --- kinds --------------------------------------------------------------------------------------------------------


@singledispatch
def shape_of(kind: object) -> Schema:
    """What JSON Schema can say of a kind."""
    raise TypeError(f"{type(kind).__name__} has no schema: register one here")


@shape_of.register
def _(kind: Table) -> Schema:
    return {"$ref": f"#/definitions/{name_of(kind)}"}


@shape_of.register
def _(kind: Text) -> Schema:
    return {"type": "string", "pattern": f"^({kind.pattern})$"} if kind.pattern else {"type": "string"}


@shape_of.register
def _(kind: Choice) -> Schema:
    return {"enum": list(kind.words)}


@shape_of.register
def _(kind: Flag) -> Schema:  # noqa: ARG001  chosen by its type
    return {"type": "boolean"}


@shape_of.register
def _(kind: Integer) -> Schema:
    return {"type": "integer", "minimum": kind.low, "maximum": kind.high}


@shape_of.register
def _(kind: Day) -> Schema:  # noqa: ARG001
    return {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"}  # an editor sees TOML's own dates as text, too


@shape_of.register
def _(kind: Number) -> Schema:  # noqa: ARG001
    return {"type": "number"}


@shape_of.register
def _(kind: Duration) -> Schema:  # noqa: ARG001
    return {"type": "string", "pattern": f"^(?=.)({DURATION})$"}


@shape_of.register
def _(kind: Size) -> Schema:  # noqa: ARG001
    return {"type": "string", "pattern": f"^({SIZE})$"}


@shape_of.register
def _(kind: Percent) -> Schema:  # noqa: ARG001
    return {"type": "string", "pattern": _PERCENT}


@shape_of.register
def _(kind: ListOf) -> Schema:
    least = {"minItems": kind.least} if kind.least else {}
    return {"type": "array", "items": shape_of(kind.item), **least}


@shape_of.register
def _(kind: MapOf) -> Schema:
    return {"type": "object", "propertyNames": shape_of(kind.name), "additionalProperties": shape_of(kind.value)}


@shape_of.register
def _(kind: Either) -> Schema:
    forms: list[Schema] = []
    for of, one in kind.by_type.items():
        if not isinstance(one, Refused):  # a form that is only there for its message
            forms += [form for form in _forms(one) if _is_of(form, _JSON_TYPES[of]) and form not in forms]
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


_JSON_TYPES = {str: "string", list: "array", dict: "object", bool: "boolean", int: "number", float: "number"}


def _forms(kind: Kind) -> list[Schema]:
    shape = shape_of(kind)
    forms: list[Schema] = shape["anyOf"] if set(shape) == {"anyOf"} else [shape]
    return forms


def _is_of(form: Schema, json_type: str) -> bool:
    """Whether a form is of a type; references are tables, choices are texts."""
    usual = "object" if "$ref" in form else "string"
    types = "number" if form.get("type") == "integer" else form.get("type", usual)
    return json_type in types if isinstance(types, list) else json_type == types


@shape_of.register
def _(kind: Mapped) -> Schema:
    return {**shape_of(kind.kind), **kind.shape}


@shape_of.register
def _(kind: Scalar) -> Schema:  # noqa: ARG001
    return {"type": ["string", "number", "boolean"]}


@shape_of.register
def _(kind: Secret) -> Schema:
    return {
        "type": "object",
        "properties": {
            "secret": {"description": "The name of a secret: `atoll secret set NAME`.", **shape_of(kind.name)}
        },
        "required": ["secret"],
        "additionalProperties": False,
    }


@shape_of.register
def _(kind: ServiceEnv) -> Schema:  # noqa: ARG001
    """A name that is a variable's may also be an environment's; one with a hyphen is an environment's only."""
    alone = {"properties": {"secret": {"type": "string"}}, "required": ["secret"], "maxProperties": 1}  # no environment
    values = {**shape_of(ENV_VALUES), "not": alone}
    either = [*shape_of(ENV_VALUE)["anyOf"], values]
    return {
        "type": "object",
        "patternProperties": {
            f"^({VARIABLE.pattern})$": {"anyOf": either},
            f"^(?=.*-)({ENVIRONMENT_NAME.pattern})$": values,
        },
        "additionalProperties": False,
    }


@shape_of.register
def _(kind: StoreAddress) -> Schema:
    one = _forms(kind.one)
    many = {**shape_of(kind.many), "minProperties": 1, "not": {"required": ["secret"], "maxProperties": 1}}
    return {"anyOf": [*one, many]}


def write(folder: Path) -> None:
    """Both files."""
    folder.mkdir(parents=True, exist_ok=True)
    for of, (name, _) in FILES.items():
        (folder / name).write_text(text(of))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
