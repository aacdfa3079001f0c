"""Logs and events on a terminal and in a pipe."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from atoll.cli.lines import LogPrinter, event_color, event_line, level_of
from atoll.cli.output import escape
from atoll.model.hosted import LogLine
from atoll.model.state import Author, Event
from atoll.testing.fake_control import FakeControl, Served

PROGRAM = Path(__file__).with_name("pretend_atoll.py")
JSON = '{"time": "2026-05-01", "level": "warn", "msg": "slow", "ms": 512, "user": {"id": 7}}'


def line(text: str, service: str = "orders", stream: str = "stdout") -> LogLine:
    return LogLine(service=service, replica=f"{service}-r1-0", wall=1.0, stream=stream, text=text, cursor="1")  # type: ignore[arg-type]


def printer(*, terminal: bool = True, color: bool = False) -> LogPrinter:
    return LogPrinter((), terminal=terminal, color=color, timestamps=False)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (JSON, 'WARN  slow ms=512 user={"id":7}'),
        ('{"level": 50, "msg": "boom"}', "ERROR boom"),
        ('{"severity": "INFO", "message": "hi", "empty": null}', "INFO  hi empty="),
        ('{"a": 1}', "a=1"),
        ('{"a": 1', '{"a": 1'),
        ("{}", ""),
        ("[1]", "[1]"),
        ("plain \x1b[31mred\x1b[0m", "plain red"),
    ],
)
def test_json_is_shown_as_level_message_and_fields_on_a_terminal(text: str, shown: str) -> None:
    assert printer().line(line(text)) == f"orders-r1-0 | {shown}"


def test_a_pipe_gets_what_was_printed() -> None:
    for text in (JSON, "plain \x1b[31mred\x1b[0m"):
        assert printer(terminal=False).line(line(text)) == f"orders-r1-0 | {text}"


def test_every_service_has_a_colour_of_its_own_and_keeps_it() -> None:
    made = LogPrinter(("web", "orders"), terminal=True, color=True, timestamps=False)
    colors = {name: made.color_of(name) for name in ("orders", "catalog", "web", "mailer", "billing")}
    assert len(set(colors.values())) == 5
    assert made.color_of("catalog") == colors["catalog"]
    assert "\x1b[" in made.line(line("x"))


def test_names_stand_in_one_column_on_a_terminal() -> None:
    made = printer()
    assert made.line(line("x", "long-service")).index("|") == made.line(line("x", "web")).index("|")


def test_events_are_coloured_by_what_they_tell() -> None:
    kinds = (
        "replica.crashed",
        "rollout.undone",
        "rollout.live",
        "replica.ready",
        "intent.down",
        "secret.set",
        "replica.started",
    )
    assert [event_color(kind) for kind in kinds] == ["red", "red", "green", "green", "yellow", "magenta", "cyan"]


def test_grep_keeps_the_lines_that_match(atoll, daemon: Served) -> None:
    assert atoll("logs", "orders", "--grep", "LINE [34]").stdout == ""
    assert [row[-1] for row in atoll("logs", "orders", "-g", "line [34]").stdout.splitlines()] == ["s", "s"]
    assert len(atoll("logs", "orders", "--json", "-g", "(?i)LINE [34]").stdout.splitlines()) == 2
    wrong = atoll("logs", "orders", "-g", "(")
    assert (wrong.returncode, "is no regular expression" in wrong.stderr) == (2, True)


@pytest.mark.parametrize(("variable", "colored"), [("", True), ("1", False)])
@pytest.mark.parametrize("command", ["logs", "events"])
def test_a_terminal_gets_colours_unless_it_wants_none(
    shop: Path, environ: dict[str, str], daemon: Served, command: str, variable: str, colored: bool
) -> None:
    shown = on_a_terminal([command], shop, environ | {"NO_COLOR": variable, "TERM": "xterm"})
    assert "orders" in shown
    assert ("\x1b[" in shown) is colored


def on_a_terminal(args: list[str], cwd: Path, env: dict[str, str]) -> str:
    """What a person would see."""
    master, slave = pty.openpty()
    process = subprocess.Popen([sys.executable, str(PROGRAM), *args], cwd=cwd, env=env, stdin=slave, stdout=slave)
    os.close(slave)
    shown, deadline = b"", time.monotonic() + 90
    try:
        while time.monotonic() < deadline:
            if not select.select([master], [], [], 1.0)[0]:
                continue
            try:
                part = os.read(master, 65536)
            except OSError:  # Linux's way to say that the other end was closed
                break
            if not part:
                break
            shown += part
    finally:
        process.kill()
        process.wait(timeout=30)
        os.close(master)
    return shown.decode()


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ('{"level": "WARNING", "msg": "x"}', "warn"),
        ('{"level": 50}', "error"),
        ('{"severity": "critical"}', "fatal"),
        ('{"lvl": "dbg"}', None),
        ('{"level": null}', None),
        ("ERROR plain", None),
        ("{", None),
    ],
)
def test_the_level_of_a_json_line(text: str, level: str | None) -> None:
    assert level_of(text) == level


def test_level_and_times_choose_lines(atoll, daemon: Served) -> None:
    daemon.control.texts = [
        '{"level": "debug"}',
        '{"level": "error"}',
        "plain",
        '{"level": "fatal"}',
        '{"level": "info"}',
    ]
    assert len(atoll("logs", "orders", "--level", "error").stdout.splitlines()) == 2
    assert len(atoll("logs", "orders", "--level", "trace").stdout.splitlines()) == 4
    assert len(atoll("logs", "orders", "--until", "2023-11-14T22:13:22+00:00").stdout.splitlines()) == 3
    wrong = atoll("logs", "-f", "--until", "10m")
    assert (wrong.returncode, "--follow has no end" in wrong.stderr) == (2, True)


def test_a_follower_of_logs_gets_each_line_once_over_a_new_daemon(
    shop: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    """The second daemon tells again what the first told, as a real one does: from a little earlier on."""
    command = [sys.executable, str(PROGRAM), "logs", "-f", "orders", "-n", "2", "--json"]
    with subprocess.Popen(command, cwd=shop, env=environ, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        try:
            with Served(tmp_path / "s"):
                seen = [json.loads(follower.stdout.readline())["text"] for _ in range(2)]
            control = FakeControl()
            control.texts += ["one more", "and another"]
            with Served(tmp_path / "s", control):
                seen += [json.loads(follower.stdout.readline())["text"] for _ in range(2)]
        finally:
            follower.kill()
    assert seen == ["line 3 of orders", "line 4 of orders", "one more", "and another"]


COMMANDS = "\x1b]0;a title\x07\x1b[2J\x9b31m why\r"


@pytest.mark.parametrize("narrow", [True, False])
def test_what_somebody_gave_as_a_reason_commands_no_terminal_and_is_no_event_of_its_own(narrow: bool) -> None:
    event = Event(
        kind="rollout.began", service="orders", message=f"{COMMANDS}\n12:00:00  #9 live", author=Author(), wall=1.0
    )
    shown = event_line(event, color=False, narrow=narrow)
    assert shown.isprintable()
    assert "why" in shown
    assert escape(COMMANDS).isprintable()
    assert escape("two\nlines\t[x]") == "two\nlines\t\\[x]"
