"""`--plan`: every command that changes something has it, and it changes nothing."""

import json
from collections.abc import Iterator

import click
import pytest

from atoll.cli.group import COMMANDS, READING, LazyGroup
from atoll.testing.fake_control import Served


def leaves() -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its whole name."""
    group = LazyGroup("atoll")
    for name in COMMANDS:
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", child) for inner, child in command.commands.items())
        elif command is not None:
            yield name, command


@pytest.mark.parametrize(("name", "command"), [pytest.param(*leaf, id=leaf[0]) for leaf in leaves()])
def test_a_command_only_looks_or_can_show_its_plan(name: str, command: click.Command) -> None:
    options = {option for each in command.params for option in each.opts}
    assert ("--plan" in options) != (name in READING)


def test_the_commands_that_only_look_exist() -> None:
    assert {name for name, _ in leaves()} >= READING


def test_a_plan_of_a_secret_asks_for_no_value_and_stores_none(atoll, daemon: Served) -> None:
    done = atoll("secret", "set", "orders-db", "--plan")
    assert (done.returncode, done.stdout) == (0, "orders-db: version 1 would be stored\n")
    assert "nothing was changed" in done.stderr
    assert daemon.control.vault == {}
    atoll("secret", "set", "orders-db", stdin="x")
    again = json.loads(atoll("secret", "set", "orders-db", "--plan", "--json").stdout)
    assert again == {"name": "orders-db", "what": "version 2 would be stored", "used_by": {}}


def test_a_plan_of_removing_a_secret_removes_none(atoll, daemon: Served) -> None:
    refused = atoll("access", "token", "old", "--plan")
    assert (refused.returncode, "refused: there is one of that name" in refused.stdout) == (5, True)
    assert atoll("access", "token", "new", "--plan").returncode == 0
    assert atoll("access", "revoke", "new", "--plan").returncode == 2
    missing = atoll("secret", "rm", "nothing", "--plan")
    assert missing.returncode == 2
    assert "there is no secret 'nothing'" in missing.stderr
    atoll("secret", "set", "orders-db", stdin="x")
    assert atoll("secret", "rm", "orders-db", "--plan").stdout == "orders-db: all 1 version would be removed\n"
    assert "orders-db" in daemon.control.vault
    assert json.loads(atoll("secret", "rm", "orders-db", "--json").stdout) == {"name": "orders-db"}


def test_a_plan_of_ejecting_names_the_files_and_writes_none(atoll, shop) -> None:
    done = atoll("eject", "--plan")
    assert done.returncode == 0, done.stderr
    assert "ejected/compose.yaml" in done.stdout.splitlines()
    assert "not carried over of orders:" in done.stdout
    assert "nothing was written" in done.stderr
    assert not (shop / "ejected").exists()
