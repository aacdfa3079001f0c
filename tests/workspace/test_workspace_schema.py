"""The JSON Schemas for editors: what the rows say, what the examples need, and what the loader refuses by shape."""

import json
import re
import tomllib
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from atoll.workspace import reference, schema
from atoll.workspace.fields_edges import POLICY_FIELDS
from atoll.workspace.fields_service import SERVICE
from atoll.workspace.fields_workspace import WORKSPACE
from atoll.workspace.tables import Field, Table

ROOT = Path(__file__).parents[2]
VALIDATORS = {of: Draft7Validator(schema.schema(of)) for of in schema.FILES}


def _mistakes() -> Any:
    """The cases of the loader's own test, beside this file."""
    found = spec_from_file_location("mistakes", Path(__file__).with_name("test_workspace_mistakes.py"))
    assert found is not None
    assert found.loader is not None
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return module


MISTAKES = _mistakes()
# Mistakes that no shape tells: of a value's size, of two fields or files, of templates, or of TOML itself.
BEYOND_SHAPE = re.compile(
    r"must be from|must be shorter|must have a port from|is no environment|is no secret|but has the name of an environment"
    r"|placeholder|is also|is not TOML|NUL character|lies within|the first one smaller|no folder with"
)


@pytest.mark.parametrize("of", schema.FILES)
def test_the_written_schemas_are_what_the_rows_say(of: str) -> None:
    name, _ = schema.FILES[of]
    written = (ROOT / "docs" / "schema" / name).read_text()
    assert written == schema.text(of), "run: python -m atoll.workspace.schema docs/schema"


@pytest.mark.parametrize("of", schema.FILES)
def test_a_schema_is_a_valid_draft_07_without_what_only_python_understands(of: str) -> None:
    Draft7Validator.check_schema(schema.schema(of))
    for node in nodes(schema.schema(of)):
        assert not re.search(r"\(\?[a-zA-Z]|\(\?P", node.get("pattern", "")), node  # inline flags, named groups
        if "$ref" in node:
            assert len(node) == 1  # what stands beside it is ignored
            assert node["$ref"].removeprefix("#/definitions/") in schema.schema(of)["definitions"]


def nodes(node: object) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from nodes(child)


ROWS = [(of, table) for of, (_, top) in schema.FILES.items() for table in reference.tables() if table is top]
ROWS += [("service" if name in schema.schema("service")["definitions"] else "workspace", table)
         for table in reference.tables() if (name := schema.name_of(table)) and table not in (SERVICE, WORKSPACE)
         and table.fields != POLICY_FIELDS]  # fmt: skip


@pytest.mark.parametrize(("of", "table"), ROWS, ids=[table.title for _, table in ROWS])
def test_every_field_is_described_with_its_default_and_examples(of: str, table: Table) -> None:
    made = schema.schema(of)
    top = table in (SERVICE, WORKSPACE)
    properties = made["properties"] if top else made["definitions"][schema.name_of(table)]["properties"]
    assert list(properties) == [field.key for field in table.fields]
    for field in table.fields:
        node = properties[field.key]
        assert node["description"].startswith(re.sub(r"\[([^]]*)\]\(#[^)]*\)", r"\1", field.meaning))
        assert "default" in node or "Default: " in node["description"] or node["description"].endswith("Required.")
        shape = {**node, "definitions": made["definitions"]}
        for example in (*node["examples"], *([node["default"]] if node.get("default") else [])):
            Draft7Validator(shape).validate(example)
        assert node["examples"]


@pytest.mark.parametrize("field", SERVICE.fields, ids=lambda field: field.key)
def test_every_example_of_a_service_fits(field: Field) -> None:
    for example in field.examples:
        VALIDATORS["service"].validate({"run": "x"} | tomllib.loads(f"{field.key} = {example}"))


@pytest.mark.parametrize("field", WORKSPACE.fields, ids=lambda field: field.key)
def test_every_example_of_a_workspace_fits(field: Field) -> None:
    for example in field.examples:
        VALIDATORS["workspace"].validate(tomllib.loads(f"{field.key} = {example}"))


OURS = sorted(path for name in ("service.toml", "atoll.toml") for path in (ROOT / "examples").rglob(name))


@pytest.mark.parametrize("file", OURS, ids=lambda file: file.parent.name)
def test_the_files_of_the_examples_fit(file: Path) -> None:
    of = {"service.toml": "service", "atoll.toml": "workspace"}[file.name]
    VALIDATORS[of].validate(tomllib.loads(file.read_text()))


CASES = [("service", f'run = "x"\n{text}', what) for text, _, what, _ in MISTAKES.SERVICE if what]
CASES += [("service", text, what) for text, _, what, _ in MISTAKES.RUN]
CASES += [("workspace", text, what) for text, _, what, _ in MISTAKES.TOP]


@pytest.mark.parametrize(
    ("of", "text"),
    [(of, text) for of, text, what in CASES if not BEYOND_SHAPE.search(what)],
    ids=lambda part: part[:40],
)
def test_what_the_loader_refuses_for_its_shape_does_not_fit(of: str, text: str) -> None:
    assert not VALIDATORS[of].is_valid(tomllib.loads(text))


@pytest.mark.parametrize(
    ("of", "text"),
    [
        ("service", 'run = "x"\ncalls.catalog = { CATALOG_URL = "{url}" }'),  # the short form is a name, not a table
        ("service", 'run = "x"\nenv.pre-production = "x"'),
        ("service", 'run = "x"\nenv.pre-production = { A = [1] }'),
        ("service", 'run = "x"\nhealth = []'),
        ("service", 'run = "x"\nlimits.memory = "1GiB "'),
        ("service", 'run = "x"\nrollout.bake = ""'),
        ("service", 'run = "x"\ncalls.a = { env = "A", retry_budget = "101%" }'),
        ("workspace", "ports = [2000, 3000, 4000]"),
        ("workspace", 'environments.production.gatway = "0.0.0.0:80"'),
    ],
)
def test_other_wrong_shapes_do_not_fit(of: str, text: str) -> None:
    assert not VALIDATORS[of].is_valid(tomllib.loads(text))


def test_variables_may_differ_in_an_environment_whatever_its_name() -> None:
    text = 'run = "x"\nenv = { A = 1, pre-production = { A = { secret = "a" } }, production = { A = true } }'
    VALIDATORS["service"].validate(tomllib.loads(text))
    assert json.loads(schema.text("service")) == schema.schema("service")
