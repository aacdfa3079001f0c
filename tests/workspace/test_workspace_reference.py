"""The reference page: it is what the rows say, its examples are valid, and it leaves nothing out."""

import tomllib
from pathlib import Path

import msgspec
import pytest

from atoll.model import analysis, environment, spec
from atoll.model.task import Task
from atoll.workspace import reference
from atoll.workspace.fields_service import SERVICE
from atoll.workspace.fields_workspace import WORKSPACE
from atoll.workspace.loader import load
from atoll.workspace.tables import Field, Table

PAGE = Path(__file__).parents[2] / "docs" / "reference.md"
ROWS = [(table, field) for table in reference.tables() for field in table.fields]
IDS = [f"{table.title} {field.key}" for table, field in ROWS]


def test_the_page_is_what_the_rows_say() -> None:
    assert PAGE.read_text() == reference.page(), "run: python -m atoll.workspace.reference docs/reference.md"


@pytest.mark.parametrize(("table", "field"), ROWS, ids=IDS)
def test_every_field_has_a_meaning_and_examples_that_are_valid(table: Table, field: Field) -> None:
    assert field.meaning.endswith(".")
    assert field.examples
    for example in field.examples:
        field.kind.read(tomllib.loads(f"x = {example}")["x"])


@pytest.mark.parametrize("field", SERVICE.fields, ids=[field.key for field in SERVICE.fields])
def test_every_example_of_a_service_makes_a_workspace(tmp_path: Path, field: Field) -> None:
    for example in field.examples:
        text = f"{field.key} = {example}\n" + ("" if field.key == "run" else 'run = "x"\n')
        if example == '"grpc"' and field.key == "health":
            text += 'port = "grpc"\n'
        for name in ("catalog", "one"):
            (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / "atoll.toml").write_text("")
        (tmp_path / "catalog" / "service.toml").write_text('run = "x"')
        (tmp_path / "one" / "service.toml").write_text(text)
        (tmp_path / "one" / "config").mkdir(exist_ok=True)
        (tmp_path / "one" / "config" / "app.yaml.tmpl").write_text("port: {port}")
        assert len(load(tmp_path).services) == 2


@pytest.mark.parametrize("field", WORKSPACE.fields, ids=[field.key for field in WORKSPACE.fields])
def test_every_example_of_a_workspace_makes_one(tmp_path: Path, field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for place in ("shop/gateway", "billing", "src/mail"):  # other repositories beside it and below home
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "service.toml").write_text('run = "x"\n[tasks]\ntest = "x"\nlint = "x"\n')
    for example in field.examples:
        (tmp_path / "shop" / "atoll.toml").write_text(f"{field.key} = {example}\n")
        load(tmp_path / "shop")


FROM_ELSEWHERE = {
    (spec.ServiceSpec, "folder"), (spec.ServiceSpec, "root"),  # where the file lies
    (spec.ServiceSpec, "store"), (spec.Call, "store"),  # of what `[stores]` makes
    *((spec.Server, name) for name in ("image", "version", "user", "database", "memory_bytes")),  # beside the table
    (spec.Call, "callee"), (spec.Port, "name"), (analysis.Check, "name"), (environment.EnvironmentSpec, "name"),  # the table's name
    (environment.EnvironmentSpec, "host"),  # of atoll.toml itself: environments have it, not all of them
    (spec.Job, "name"), (Task, "name"), (spec.Before, "env"),  # the table's name; that of the job
    (spec.RenderedFile, "text"),  # the short form, or what the template holds
    (spec.ImageSpec, "bases"),  # the environment's
    (spec.Store, "name"), (spec.Store, "env"), (spec.Store, "shared"),  # the service's and the workspace's table share it
    (spec.Call, "policy"), (spec.Route, "policy"),  # its fields stand beside the others
    (spec.Probe, "kind"), (spec.Probe, "path"), (spec.Probe, "service"),  # say http, grpc, tcp, command, process
}  # fmt: skip


@pytest.mark.parametrize("table", list(reference.tables()), ids=lambda table: table.title)
def test_every_attribute_of_the_specification_can_be_written(table: Table) -> None:
    written = {field.attribute for field in table.fields}
    attributes = {field.name for field in msgspec.structs.fields(table.spec)}
    assert attributes - written <= {name for of, name in FROM_ELSEWHERE if of is table.spec}


def test_the_smallest_service_of_the_page_is_valid(tmp_path: Path) -> None:
    (tmp_path / "atoll.toml").write_text("")
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "service.toml").write_text(PAGE.read_text().split("```toml\n")[1].split("```")[0])
    assert load(tmp_path).services["orders"].routes[0].path == "/orders"
