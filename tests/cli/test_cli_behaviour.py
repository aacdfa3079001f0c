"""What all commands share: help, exit codes, start-up, completion, waiting for a daemon, terminals, broken pipes."""

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from atoll.cli import man_page, reference
from atoll.cli.group import COMMANDS
from atoll.cli.help_parts import EXIT_CODES, exits, related
from atoll.cli.main import cli
from atoll.model import errors
from atoll.model.catalogue.pages import PAGES
from atoll.testing.fake_control import FakeControl, Served

PROGRAM = Path(__file__).with_name("pretend_atoll.py")
ROOT = Path(__file__).parents[2]


def commands() -> list[click.Command]:
    found = []
    root = click.Context(cli, info_name="atoll")
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None
        found.append(command)
        if isinstance(command, click.Group):
            found.extend(command.commands.values())
    return found


# --- help and reference


def test_every_command_has_an_example_and_says_what_the_list_says() -> None:
    for command in commands():
        assert "\b\nExample:\n  atoll " in (command.help or ""), command.name
    root = click.Context(cli)
    for name, text in COMMANDS.items():
        command = cli.get_command(root, name)
        assert command is not None
        assert (command.help or "").partition("\n")[0].partition(":")[0].rstrip(".") == text.partition(":")[0].rstrip(
            "."
        )


def test_the_reference_page_does_not_lag() -> None:
    fresh = "run `python -m atoll.cli.reference > docs/cli.md`"
    assert (ROOT / "docs" / "cli.md").read_text() == reference.page(), fresh


def test_the_manual_does_not_lag() -> None:
    fresh = "run `python -m atoll.cli.man_page > docs/atoll.1`"
    assert (ROOT / "docs" / "atoll.1").read_text() == man_page.page(), fresh


def test_the_manual_is_one_that_man_can_show() -> None:
    if shutil.which("groff") is None:
        pytest.skip("needs groff")
    command = ["groff", "-man", "-Tutf8", "-ww", str(ROOT / "docs" / "atoll.1")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    assert "atoll deploy" in done.stdout


def test_help_of_a_command_says_everything_and_is_the_same_by_both_ways(atoll, tmp_path: Path) -> None:
    shown = atoll("help", "deploy", cwd=tmp_path)
    assert shown.returncode == 0
    assert shown.stdout == atoll("deploy", "--help", cwd=tmp_path).stdout
    sections = [line.rstrip(":") for line in shown.stdout.splitlines() if line.endswith(":") and line[0] != " "]
    assert sections == ["Options", "Exit codes", "Variables", "See also"]
    assert "3    the deploy failed" in shown.stdout
    assert "Usage: atoll secret set" in atoll("help", "secret", "set").stdout
    assert atoll("help").stdout == atoll("--help").stdout
    wrong = atoll("help", "depoly")
    assert (wrong.returncode, "did you mean 'atoll deploy'" in wrong.stderr) == (2, True)
    assert atoll("help", "deploy", "more").returncode == 2


def test_every_command_has_its_codes_and_its_relatives_are_commands() -> None:
    for name in COMMANDS:
        assert {int(code) for code, _ in exits(name)} <= set(EXIT_CODES)
        assert set(related(name)) <= set(COMMANDS)
    assert "not ready in time" in dict(exits("scale"))["1"]
    assert ";" not in dict(exits("status"))["1"]


def test_a_mistyped_environment_gets_a_suggestion(atoll) -> None:
    done = atoll("status", "--env", "prodution", ATOLL_PRETEND_ALIVE="0")
    assert done.returncode == 2
    assert "there is no environment 'prodution'" in done.stderr
    assert "did you mean 'production'?" in done.stderr
    done = atoll("down", "--env", "prodution", "--yes", ATOLL_PRETEND_ALIVE="0")
    assert (done.returncode, "did you mean 'production'?" in done.stderr) == (2, True)
    assert atoll("down", "--env", "prodution", "--yes").returncode == 0  # it runs: declared or not, it can be ended


def test_help_lists_commands_and_exit_codes(atoll) -> None:
    done = atoll("--help")
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in COMMANDS)
    assert "130  Ctrl-C" in done.stdout


def test_each_error_class_ends_with_a_documented_code() -> None:
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.AtollError)]
    assert {kind.exit_code for kind in classes} <= set(EXIT_CODES)


def test_a_mistyped_command_gets_a_suggestion(atoll) -> None:
    done = atoll("depoly")
    assert done.returncode == 2
    assert "there is no command 'depoly'; did you mean 'atoll deploy'?" in done.stderr


def test_a_mistyped_option_is_three_lines(atoll) -> None:
    done = atoll("status", "--jsn")
    assert done.returncode == 2
    assert [line.split(":")[0].strip() for line in done.stderr.splitlines()] == ["error[usage]", "why", "fix"]


@pytest.mark.parametrize("group", ["records", "rollout", "secret", "store", "toolchain"])
def test_a_group_without_a_command_shows_its_help_in_lines(atoll, group: str) -> None:
    done = atoll(group)
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert lines[0].split() == ["Usage:", "atoll", group, "[OPTIONS]", "COMMAND", "[ARGS]..."]
    assert "Commands:" in [line.strip() for line in lines]
    assert max(map(len, lines)) <= 100


# --- start-up


@pytest.mark.parametrize(
    "module", ["rich", "msgspec", "asyncio", "starlette", "httpx", "http.client", "tomllib", "json"]
)
def test_help_imports_nothing_that_it_does_not_need(module: str, environ: dict[str, str]) -> None:
    code = f"import sys, atoll.cli.main; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=environ, timeout=60, check=False).returncode == 0


def test_status_as_json_imports_little(environ: dict[str, str], shop: Path, daemon: Served) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import pretend_atoll as p; "
        "code = p.run(p.PretendHooks(), ['status', '--json']); "
        "print(sorted({'rich', 'msgspec', 'asyncio', 'http.client', 'starlette'} & set(sys.modules)), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, str(PROGRAM.parent)]
    done = subprocess.run(command, env=environ, cwd=shop, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["workspace"] == "shop"
    assert done.stderr == "[]\n"


@pytest.mark.parametrize("command", [["check"], ["status"]])
def test_a_command_of_the_real_program_imports_no_adapter(
    command: list[str], environ: dict[str, str], tmp_path: Path
) -> None:
    """`status` of an environment that does not run asks the keeper why, and no more."""
    (tmp_path / "atoll.toml").touch()
    (tmp_path / "service.toml").write_text('name = "orders"\nrun = "true"\n')
    code = (
        "import sys; from atoll.app.hooks import AppHooks; from atoll.cli.main import run; run(AppHooks(), sys.argv[1:]);"
        "print(*sorted(m for m in sys.modules if m in {'asyncio', 'grpc', 'google.protobuf', 'sqlalchemy', 'rich'}"
        " or m.startswith(('atoll.proxy', 'atoll.engines', 'atoll.builders', 'atoll.pipeline', 'atoll.store'))))"
    )
    with tempfile.TemporaryDirectory(prefix="atl-") as run:  # short: sockets would lie in it
        places = {"ATOLL_HOME": str(tmp_path / "h"), "ATOLL_RUN": run}
        done = subprocess.run(
            [sys.executable, "-c", code, *command], cwd=tmp_path, env=environ | places, capture_output=True, text=True,
            timeout=60, check=True,
        )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "", done.stdout


def test_the_command_line_imports_no_daemon_nor_adapter() -> None:
    code = (
        "import sys, pkgutil, importlib, atoll.cli\n"
        "for m in pkgutil.walk_packages(atoll.cli.__path__, 'atoll.cli.'): importlib.import_module(m.name)\n"
        "bad = [m for m in sys.modules if m.startswith(('atoll.daemon', 'atoll.realise', 'atoll.store', 'atoll.proxy',"
        " 'atoll.engines', 'atoll.app', 'starlette', 'uvicorn', 'sqlalchemy', 'grpc'))]\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", code], env=env, timeout=60, check=True)


# --- where it works


def test_the_workspace_is_found_above_or_by_option(atoll, daemon: Served, shop: Path, tmp_path: Path) -> None:
    assert atoll("status", "--json", cwd=shop / "orders").returncode == 0
    assert atoll("-w", str(shop), "status", "--json", cwd=tmp_path).returncode == 0
    assert atoll("status", "--json", "--workspace", str(shop), cwd=tmp_path).returncode == 0
    assert atoll("status", "--json", cwd=tmp_path, ATOLL_WORKSPACE=str(shop)).returncode == 0
    lost = atoll("status", cwd=tmp_path)
    assert lost.returncode == 2
    assert "there is no atoll.toml" in lost.stderr


def test_the_environment_comes_from_option_or_variable(atoll) -> None:
    for done in (
        atoll("status", "-e", "production", ATOLL_PRETEND_ALIVE="0"),
        atoll("--env", "production", "status", ATOLL_PRETEND_ALIVE="0"),
        atoll("status", ATOLL_ENV="production", ATOLL_PRETEND_ALIVE="0"),
    ):
        assert done.returncode == 7
        assert "the environment 'production' is not running" in done.stderr
        assert " up`" in done.stderr


# --- the daemon comes and goes


def test_it_waits_for_a_daemon_that_its_keeper_restarts(environ: dict[str, str], shop: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(PROGRAM), "status", "--json"]
    with subprocess.Popen(command, env=environ, cwd=shop, stdout=subprocess.PIPE, text=True) as waiting:
        time.sleep(0.5)  # it has found no socket by now, most likely; right in any case
        with Served(tmp_path / "s", ready=False) as fake:
            time.sleep(0.2)
            fake.become_ready()
            out, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert json.loads(out)["workspace"] == "shop"


def test_without_a_keeper_it_does_not_wait(atoll) -> None:
    done = atoll("status", "--json", ATOLL_PRETEND_ALIVE="0")
    assert done.returncode == 7
    assert json.loads(done.stdout)["kind"] == "Unreachable"


def test_a_follower_goes_on_where_it_was_when_the_daemon_was_replaced(
    environ: dict[str, str], shop: Path, tmp_path: Path
) -> None:
    command = [sys.executable, str(PROGRAM), "events", "-f", "--after", "0", "--json"]
    with subprocess.Popen(command, env=environ, cwd=shop, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        try:
            with Served(tmp_path / "s"):
                seen = [json.loads(follower.stdout.readline())["seq"] for _ in range(3)]
            control = FakeControl()
            with Served(tmp_path / "s", control) as fake:
                fake.record("replica.ready", "orders", "after the restart")
                seen.append(json.loads(follower.stdout.readline())["seq"])
        finally:
            follower.kill()
    assert seen == [1, 2, 3, 4]


# --- terminals and pipes


def test_a_reader_that_goes_ends_it_quietly(environ: dict[str, str], shop: Path, daemon: Served) -> None:
    command = [sys.executable, str(PROGRAM), "events", "-f", "--after", "0"]
    with subprocess.Popen(
        command, env=environ, cwd=shop, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as follower:
        assert follower.stdout is not None
        assert follower.stderr is not None
        follower.stdout.readline()
        follower.stdout.close()
        deadline = time.monotonic() + 60
        while follower.poll() is None and time.monotonic() < deadline:
            daemon.record("noise", "orders", "one more")
            time.sleep(0.05)
        follower.kill()
        assert follower.stderr.read() == ""
    assert follower.returncode == 128 + signal.SIGPIPE


class Terminal:
    """A program with a terminal as stdin, stdout and stderr."""

    def __init__(self, command: list[str], env: dict[str, str], cwd: Path) -> None:
        self.fd, inner = pty.openpty()
        try:
            env = env | {"TERM": "xterm-256color", "COLUMNS": "160", "LINES": "40"}
            self.program = subprocess.Popen(command, env=env, cwd=cwd, stdin=inner, stdout=inner, stderr=inner)
        finally:
            os.close(inner)
        self.text = ""

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.program.kill()
        self.program.wait(30)
        os.close(self.fd)

    def read_until(self, wanted: str) -> None:
        """Read until that was shown; a program that ends before is a failure."""
        assert self._read(lambda: wanted in self.text), self.text

    def ended(self) -> int:
        """Read all that is shown until the program ends; its exit code."""
        self._read(lambda: False)
        return self.program.wait(60)

    def _read(self, enough: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + 60
        while not enough():
            assert time.monotonic() < deadline, self.text
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    self.text += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:  # Linux says EIO when the program has closed its end
                    return enough()
        return True


def test_what_appears_above_a_live_table_is_text_and_the_table_is_drawn(environ: dict[str, str], shop: Path) -> None:
    with Terminal([sys.executable, str(PROGRAM), "ci"], environ, shop) as terminal:
        assert terminal.ended() == 0
        assert "orders.test" in terminal.text
        assert "passed in 2.00 s: a changed" in terminal.text
        assert "[dim]" not in terminal.text


def test_ctrl_c_detaches_and_says_so(environ: dict[str, str], shop: Path, daemon: Served) -> None:
    daemon.control.rollouts.held.add("orders")
    with Terminal([sys.executable, str(PROGRAM), "deploy", "orders"], environ, shop) as terminal:
        terminal.read_until("starting")
        terminal.program.send_signal(signal.SIGINT)
        assert terminal.ended() == 130
    assert "detached: orders r1 → r2 goes on" in terminal.text
    assert "Traceback" not in terminal.text
    daemon.control.rollouts.held.clear()


def test_a_terminal_gets_live_progress_and_colours(environ: dict[str, str], shop: Path, daemon: Served) -> None:
    daemon.control.world.step_s = 0.3
    with Terminal([sys.executable, str(PROGRAM), "deploy", "orders"], environ, shop) as terminal:
        assert terminal.ended() == 0
    assert "\x1b[?25l" in terminal.text  # the cursor is hidden while the table lives
    assert "is live in 1.10 s" in terminal.text


def test_no_color_is_respected(environ: dict[str, str], shop: Path, daemon: Served) -> None:
    with Terminal([sys.executable, str(PROGRAM), "status"], environ | {"NO_COLOR": "1"}, shop) as terminal:
        assert terminal.ended() == 0
    assert "orders" in terminal.text
    assert "\x1b[3" not in terminal.text


def test_a_bug_keeps_its_traceback_and_ends_with_1(atoll, shop: Path) -> None:
    (shop / "atoll.toml").write_text("not toml")  # the loader of pretend does not foresee it
    done = atoll("check")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "please report it" in done.stderr


def test_a_socket_that_nobody_can_open_is_said_at_once(atoll) -> None:
    done = atoll("status", ATOLL_PRETEND_SOCKET="/" + "x" * 200)
    assert done.returncode == 7
    assert "too long" in done.stderr


def test_explain_needs_no_workspace_and_knows_every_error(atoll, tmp_path: Path) -> None:
    done = atoll("explain", "gateway-port-taken")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The gateway cannot listen  [gateway-port-taken]\n")
    assert all(len(line) <= 100 for line in done.stdout.splitlines())
    assert json.loads(atoll("explain", "bug", "--json").stdout)[0]["title"] == "Atoll made a mistake"
    listed = atoll("explain").stdout
    assert all(page.title in listed for page in PAGES.values())
    assert len(json.loads(atoll("explain", "--json").stdout)) == len(PAGES)


def test_explain_suggests_the_nearest_id(atoll) -> None:
    done = atoll("explain", "gateway-port", "--json")
    assert done.returncode == 2
    assert "did you mean 'gateway-port-taken'?" in done.stderr
    assert json.loads(done.stdout)["id"] == "usage"
    assert atoll("explain", "zzzz").stderr.splitlines()[-1] == "  fix: `atoll explain` lists them"
    assert atoll("explain", "[Bug]").returncode == 0
