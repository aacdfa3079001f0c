"""What `--json` prints, held against its schema; and the page that tells of it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from jsonschema import Draft202012Validator
from msgspec.structs import replace
from tests.backup.made import environment

from atoll.cli import json_page
from atoll.cli.group import COMMANDS
from atoll.cli.main import cli
from atoll.cli.outputs import OUTPUTS, schema
from atoll.testing.fake_control import Served

ROOT = Path(__file__).parents[2]

CALLS: dict[str, tuple[str, ...]] = {
    "check": ("check",),
    "ci": ("ci", "broken"),
    "ci-plan": ("ci", "--plan"),
    "up": ("up", "orders", "payments"),
    "deploy": ("deploy", "orders"),
    "rollback": ("rollback", "orders", "--to", "r1"),
    "restart": ("restart", "orders"),
    "fault": ("fault", "orders", "--abort", "503"),
    "rollout-show": ("rollout", "show", "orders"),
    **{
        f"rollout-{word}": ("rollout", word, "orders")
        for word in ("pause", "resume", "promote", "abort", "keep", "retry")
    },
    "scale": ("scale", "orders", "2"),
    "down": ("down", "orders"),
    "status": ("status",),
    "top": ("top", "--once"),
    "jobs": ("jobs", "orders"),
    "run": ("run", "orders", "reindex"),
    "logs": ("logs", "orders"),
    "events": ("events",),
    "releases": ("releases", "orders"),
    "graph": ("graph",),
    "affected": ("affected",),
    "why": ("why", "orders"),
    "why-task": ("why", "orders.build"),
    "explain": ("explain", "bug"),
    "doctor": ("doctor",),
    "exec": ("exec", "orders", "--", "true"),
    "records-list": ("records", "list"),
    "records-import": ("records", "import", "-"),
    "secret-set": ("secret", "set", "db"),
    "secret-plan": ("secret", "set", "db", "--plan"),
    "eject": ("eject", "--plan"),
    "secret-rm": ("secret", "rm", "gone"),
    "secret-list": ("secret", "list"),
    "backup": ("backup", "made.backup"),
    "backup-key": ("backup", "--key", "shop.key"),
    "restore": ("restore", "made.backup", "--replace"),
    "store-list": ("store", "list"),
    "store-status": ("store", "status", "ledger-db"),
    "store-apply": ("store", "apply", "ledger-db"),
    "store-plan": ("store", "remove", "ledger-db", "--plan"),
    "store-remove": ("store", "remove", "ledger-db", "--yes"),
    "access": ("access",),
    "access-token": ("access", "token", "grafana"),
    "access-plan": ("access", "token", "grafana", "--plan"),
    "access-revoke": ("access", "revoke", "old"),
    "cache": ("cache",),
    "cache-gc": ("cache", "gc"),
    "cache-verify": ("cache", "verify"),
    "toolchain-list": ("toolchain", "list"),
    "toolchain-install": ("toolchain", "install", "go@1.24"),
    "toolchain-remove": ("toolchain", "remove", "go@1.24"),
    "install": ("install", "shop", "--env", "production"),
    "uninstall": ("uninstall", "shop", "--env", "production", "--yes"),
    "version": ("version",),
    "plan": ("deploy", "orders", "--plan"),
    "error": ("releases", "ordres"),
}
RECORD = '{"task":"orders.test","key":"k","outcome":"passed","seconds":1.0,"wall":2.0}\n'
MORE: list[tuple[str, tuple[str, ...]]] = [
    ("up", ("up", "broken", "refused", "failing", "orders")),
    ("deploy", ("deploy", "orders", "--note", "fail")),
    ("deploy", ("deploy", "orders", "--detach")),
    ("plan", ("up", "orders", "broken", "--plan")),
    ("plan", ("scale", "orders", "2", "--plan")),
    ("down", ("down",)),
    ("jobs", ("jobs", "orders", "nightly")),
    ("run", ("run", "orders", "reindex", "fail")),
    ("run", ("run", "orders", "nightly", "--detach")),
    ("plan", ("run", "orders", "reindex", "--plan")),
    ("explain", ("explain",)),
    ("deploy", ("deploy", "--affected")),
    ("plan", ("deploy", "--affected", "--plan")),
    ("records-list", ("records", "list", "orders", "--held")),
    ("records-import", ("records", "import", "-", "--plan")),
    ("ci-plan", ("ci", "--plan", "--format", "json")),
    ("cache-gc", ("cache", "gc", "--plan")),
    ("cache-verify", ("cache", "verify", "--plan")),
    ("error", ("status", "--nonsense")),
    ("error", ("deploy", "broken")),
    ("error", ("logs", "ordres")),
    ("error", ("nonsense",)),
]


@pytest.mark.parametrize(
    ("name", "argv"), [*CALLS.items(), *MORE], ids=lambda each: " ".join(each) if isinstance(each, tuple) else each
)
def test_what_is_printed_is_what_the_schema_says(
    name: str, argv: tuple[str, ...], atoll, daemon: Served, shop: Path
) -> None:
    daemon.control.vault["gone"] = 1
    if name.startswith("store-"):
        with (shop / "atoll.toml").open("a") as file:
            file.write('stores = ["ledger-db"]\n')
        known = daemon.control.services
        known["ledger-db"] = replace(known["orders"], name="ledger-db", store="postgres")
    if name == "backup":
        daemon.control.archive = environment(shop.parent / "made").backup(shop.parent / "b").read_bytes()
    head, *rest = argv
    before = rest.index("--") if "--" in rest else len(rest)
    done = atoll(
        head, *rest[:before], "--json", *rest[before:], stdin=RECORD if name == "records-import" else "value\n"
    )
    documents = (
        [json.loads(line) for line in done.stdout.splitlines()] if OUTPUTS[name].stream else [json.loads(done.stdout)]
    )
    assert documents
    if name == "error":
        assert len(done.stdout.splitlines()) == 1
        assert done.returncode == documents[0]["exit_code"]
    for document in documents:
        Draft202012Validator(closed(schema(name))).validate(document)


def test_a_file_with_mistakes_is_told_by_check_in_its_own_shape(atoll, shop: Path) -> None:
    (shop / "atoll.toml").write_text('name = "shop"\nwrong = ["a"]\n')
    done = atoll("check", "--json")
    Draft202012Validator(closed(schema("check"))).validate(json.loads(done.stdout))
    assert done.returncode == 2


def test_init_prints_what_the_schema_says(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "Procfile").write_text("web: node server.js\nsweeper: ./sweep\n")
    command = [
        sys.executable,
        "-m",
        "atoll.app",
        "init",
        "--json",
    ]  # the real files' reader must agree with what it writes
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=True)
    Draft202012Validator(closed(schema("init"))).validate(json.loads(done.stdout))


def test_every_command_that_prints_json_has_its_shape_and_a_call_above() -> None:
    shapes = {name.replace("-", " ") for name in OUTPUTS} - {
        "plan",
        "ci plan",
        "access plan",
        "secret plan",
        "backup key",
        "store plan",
        "why task",
        "error",
    }
    assert set(with_json()) == shapes
    assert {*CALLS, "init", "dev"} == set(
        OUTPUTS
    )  # `dev` has no end: its end-to-end tests hold each line against its type


@pytest.mark.parametrize("name", OUTPUTS)
def test_each_schema_is_one_and_is_printed(name: str, atoll) -> None:
    Draft202012Validator.check_schema(schema(name))
    if name == "status":
        assert json.loads(atoll("schema", "--output", name).stdout) == schema(name)


def test_an_unknown_output_gets_a_suggestion(atoll) -> None:
    done = atoll("schema", "--output", "statsu")
    assert (done.returncode, "did you mean 'status'?" in done.stderr) == (2, True)
    assert atoll("schema", "--output", "secret list").returncode == 0


def test_a_members_comment_is_its_description() -> None:
    assert schema("status")["$defs"]["ServiceView"]["properties"]["override"]["description"] == "replicas set by hand"


def test_the_page_does_not_lag() -> None:
    fresh = "run `python -m atoll.cli.json_page > docs/json.md`"
    assert (ROOT / "docs/json.md").read_text() == json_page.page(), fresh


def with_json() -> Iterator[str]:
    root = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None
        group = command.commands.items() if isinstance(command, click.Group) else ()
        for full, each in ((name, command), *((f"{name} {child}", each) for child, each in group)):
            if any("--json" in parameter.opts for parameter in each.params):
                yield full


def closed(shape: Any) -> Any:
    """The same schema, with every member that it does not name forbidden: else one could be printed and never told of."""
    if isinstance(shape, dict):
        made = {key: closed(value) for key, value in shape.items()}
        return made | {"additionalProperties": False} if "properties" in made else made
    return [closed(each) for each in shape] if isinstance(shape, list) else shape
