"""`[files]` of service.toml: what is read, and every mistake with its file, line and fix."""

from pathlib import Path
from typing import Any

import pytest

from atoll.model.errors import InvalidWorkspace, Problem
from atoll.model.spec import RenderedFile, ServiceSpec
from atoll.workspace.loader import load
from atoll.workspace.template_files import MAX_BYTES

SERVICE = """
run = "./orders {files}/app.yaml"
calls.payments = { url = "https://pay.example.com", env = "PAY_URL" }
env.LEVEL = "warn"
ports = { http = "http", admin = "http" }

[files]
"""


def loaded(root: Path, files: str, templates: dict[str, Any] | None = None, service: str = SERVICE) -> ServiceSpec:
    (root / "atoll.toml").touch()
    folder = root / "orders"
    folder.mkdir()
    (folder / "service.toml").write_text(service + files)
    for name, text in (templates or {}).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(root).services["orders"]


def problems(root: Path, files: str, templates: dict[str, Any] | None = None, service: str = SERVICE) -> list[Problem]:
    with pytest.raises(InvalidWorkspace) as caught:
        loaded(root, files, templates, service)
    return list(caught.value.problems)


def test_a_text_and_a_template_become_part_of_the_specification(tmp_path: Path) -> None:
    text = '"app.yaml" = { template = "config/app.tmpl" }\n"app.properties" = "server.port={port}\\n"\n'
    spec = loaded(tmp_path, text, {"config/app.tmpl": "port: {port}\nadmin: {port.admin}\n"})
    assert spec.files == {
        "app.yaml": RenderedFile(text="port: {port}\nadmin: {port.admin}\n", template="config/app.tmpl"),
        "app.properties": RenderedFile(text="server.port={port}\n"),
    }


def test_all_that_a_replica_knows_may_stand_in_a_file(tmp_path: Path) -> None:
    text = "{address} {calls.payments.url} {env.LEVEL} {env.PORT} {env.PAY_URL} {secret.any.Name} {data} {files} ${x}"
    assert loaded(tmp_path, f'"app.yaml" = "{text}"').files["app.yaml"].text == text


def test_an_unknown_placeholder_is_told_at_its_line_of_the_template(tmp_path: Path) -> None:
    templates = {"app.tmpl": "a: 1\nb: {prot}\nc: {calls.paymnets.url}\nd: {env.LEVLE}\n"}
    found = problems(tmp_path, '"app.yaml" = { template = "app.tmpl" }', templates)
    assert [(each.file, each.line) for each in found] == [("orders/app.tmpl", line) for line in (2, 3, 4)]
    assert "{prot}" in found[0].what
    assert "'port'" in found[0].fix
    assert "'calls.payments.url'" in found[1].fix
    assert "'env.LEVEL'" in found[2].fix


def test_an_unknown_placeholder_of_a_text_is_told_at_its_line_of_service_toml(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, '"app.yaml" = "{prot}"')
    assert (found.file, found.line) == ("orders/service.toml", SERVICE.count("\n") + 1)
    assert "{{prot}}" in found.fix


@pytest.mark.parametrize(
    ("files", "templates", "what", "fix"),
    [
        ('"app.yaml" = { template = "app.tmlp" }', {"app.tmpl": ""}, 'names no file: "app.tmlp"', "'app.tmpl'"),
        ('"app.yaml" = { template = "../x" }', {}, "path below the service's folder", ""),
        ('"app.yaml" = { template = "a" }', {"a": b"ok\n\xff"}, "not UTF-8 (line 2)", "UTF-8"),
        ('"app.yaml" = { template = "a" }', {"a": "x" * (MAX_BYTES + 1)}, "larger than", ""),
        ('"../app.yaml" = ""', {}, "has a name that must be a path below", ""),
        ('"/etc/app.yaml" = ""', {}, "has a name that must be a path below", ""),
        ('"app.yaml" = 7', {}, "must be a string or a table", "template"),
        ('"app.yaml" = { from = "a" }', {"a": ""}, "from is not a field of a file", "`template`"),
        ('"app.yaml" = ""\n"app.yaml/x" = ""', {}, "which is a file itself", ""),
        ('"app.yml" = ""', {}, "names no file of [files]: {files}/app.yaml", "'app.yml'"),
    ],
)
def test_each_mistake_is_told_with_its_fix(tmp_path: Path, files: str, templates: Any, what: str, fix: str) -> None:
    told = problems(tmp_path, files, templates)
    assert any(what in each.what and fix in each.fix and each.line for each in told), told


def test_a_template_may_not_be_a_link_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "a").symlink_to(tmp_path / "secret")
    (tmp_path / "atoll.toml").touch()
    (tmp_path / "orders" / "service.toml").write_text(f'{SERVICE}"app.yaml" = {{ template = "a" }}')
    with pytest.raises(InvalidWorkspace, match="leads out"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("service", "what", "fix"),
    [
        ('run = "x {files}/a"\n', "but the service has no [files]", ""),
        ('run = "x {secret.db}"\n', "no place for secrets", '{ secret = "db" }'),
        ('run = "x {env.LEVEL}"\n', "is for [files]", "$LEVEL"),
        ('run = "x {calls.mail.url}"\n', "unknown placeholder", ""),
    ],
)
def test_what_commands_may_not_name_is_told(tmp_path: Path, service: str, what: str, fix: str) -> None:
    (found,) = problems(tmp_path, "", service=service)
    assert what in found.what
    assert fix in found.fix
    assert found.line == 1


def test_files_too_large_together_are_refused(tmp_path: Path) -> None:
    half = "x" * (MAX_BYTES // 2 + 1)
    text = '"app.yaml" = { template = "a" }\n"b" = { template = "b" }'
    (found,) = problems(tmp_path, text, {"a": half, "b": half})
    assert "travel with every release" in found.what
