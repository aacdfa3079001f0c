"""What a person sees in a terminal, at several sizes, while things come and go."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from atoll.testing.fake_control import FakeControl, Served, service_view

PROGRAM = Path(__file__).with_name("pretend_atoll.py")
MANY = [f"service-{number:02}" for number in range(40)]


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("service-")]


def test_watch_shows_what_is_not_well_first_and_counts_the_rest(screen, tmp_path: Path) -> None:
    control = FakeControl(MANY)
    for name in ("service-38", "service-39"):
        control.services[name] = service_view(name, 1, state="failing")
    with Served(tmp_path / "s", control), screen("status", "--watch", columns=80, rows=16) as shown:
        text = shown.until("more: ")
        assert "and 29 more: 29 up" in text
        assert {"service-38", "service-39"} < {row.split()[0] for row in rows(text)}
        assert len(rows(text)) == 11
        shown.resize(80, 60)
        shown.until(lambda text: len(rows(text)) == 40)
        assert "more:" not in shown.text()


def test_watch_fits_a_narrow_terminal(screen, daemon: Served) -> None:
    with screen("status", "--watch", columns=100, rows=20) as shown:
        shown.until("route")
        shown.resize(40, 20)
        text = shown.until(lambda text: "route" not in text)
        assert "…" not in text
        assert [line.split()[:2] for line in text.splitlines() if line.startswith("orders")] == [["orders", "r1"]]


def test_top_is_drawn_anew_and_fits_a_narrow_terminal(screen, daemon: Served) -> None:
    with screen("top", columns=120, rows=20) as shown:
        assert "p99" in shown.until("catalog")
        shown.resize(40, 20)
        text = shown.until(lambda text: "p99" not in text)
        assert "…" not in text
        assert [line.split()[:2] for line in text.splitlines() if line.startswith("orders")] == [["orders", "10.0"]]


def test_top_outlives_its_daemon(screen, tmp_path: Path) -> None:
    with Served(tmp_path / "s"):
        shown = screen("top", columns=120)
        shown.until("orders")
    with shown:
        assert "orders" in shown.until("the page is as it was")


def test_watch_outlives_its_daemon(screen, tmp_path: Path) -> None:
    with screen("status", "--watch", columns=120) as shown:
        with Served(tmp_path / "s"):
            shown.until("orders")
        text = shown.until("the page is as it was")
        assert "! the daemon of 'local' does not answer, for " in text
        assert "orders" in text
        with Served(tmp_path / "s", FakeControl(["later"])):
            assert "as it was" not in shown.until("later")


@pytest.mark.parametrize("end", ["Ctrl-C", "SIGTERM"])
def test_watch_leaves_the_terminal_as_it_was(screen, daemon: Served, end: str) -> None:
    with screen("status", "--watch") as shown:
        shown.until("orders")
        assert (shown.flag("alternate_on"), shown.flag("cursor_flag")) == (True, False)
        if end == "SIGTERM":
            shown.send_signal(signal.SIGTERM)
        else:
            shown.press("C-c")
        assert shown.ended() == {"Ctrl-C": 130, "SIGTERM": 143}[end]
        assert (shown.flag("alternate_on"), shown.flag("cursor_flag")) == (False, True)
        assert shown.text() == ""


@pytest.mark.parametrize("command", [("status",), ("status", "--replicas"), ("releases", "orders"), ("doctor",)])
@pytest.mark.parametrize("columns", [40, 80])
def test_no_table_is_wider_than_its_terminal(screen, daemon: Served, columns: int, command: tuple[str, ...]) -> None:
    daemon.control.services["orders"] = service_view("orders", 12, state="deploying")
    with screen(*command, columns=columns, rows=60) as shown:
        assert shown.ended() == 0
        assert shown.widest() <= columns


@pytest.mark.parametrize("columns", [40, 80])
def test_progress_fits_and_is_gone_after_ctrl_c(screen, daemon: Served, columns: int) -> None:
    daemon.control.rollouts.held |= {"orders", "catalog"}
    with screen("deploy", "orders", "catalog", columns=columns) as shown:
        text = shown.until("catalog r1 → r2")
        assert [line.split()[1:6] for line in text.splitlines()] == [
            [name, "r1", "→", "r2", "starting"] for name in ("orders", "catalog")
        ]
        shown.press("C-c")
        assert shown.ended() == 130
        assert "detached: orders r1 → r2 goes on" in " ".join(shown.text().split())
        assert "starting" not in shown.text()
    daemon.control.rollouts.held.clear()


@pytest.mark.parametrize("columns", [40, 80])
def test_a_canary_is_drawn_whole_fits_and_is_gone_after_ctrl_c(screen, daemon: Served, columns: int) -> None:
    daemon.control.rollouts.tried.add("orders")
    with screen("deploy", "orders", columns=columns, rows=40) as shown:
        text = " ".join(shown.until("chance").split())
        assert "canary: its file says so 10 % ● 50 % 100 %" in text
        assert "48 s to this step's deadline" in text
        assert shown.widest() <= columns - len("^C")
        shown.press("C-c")
        assert shown.ended() == 130
        assert "detached: orders r1 → r2 goes on" in " ".join(shown.text().split())
        assert "stepping" not in shown.text()
    daemon.control.rollouts.tried.clear()


@pytest.mark.parametrize(
    ("env", "styled"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    ],
)
def test_a_terminal_is_coloured_unless_somebody_says_no(
    screen, daemon: Served, env: dict[str, str], styled: bool
) -> None:
    with screen("status", **env) as shown:
        assert shown.ended() == 0
        assert ("\x1b[" in shown.styled()) is styled


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "CLICOLOR_FORCE"])
@pytest.mark.parametrize("command", [("status",), ("logs",), ("events",)])
def test_a_pipe_is_coloured_when_somebody_says_so(
    atoll, daemon: Served, variable: str, command: tuple[str, ...]
) -> None:
    assert "\x1b[" in atoll(*command, **{variable: "1"}).stdout
    assert "\x1b[" not in atoll(*command, **{variable: "0"}).stdout
    assert "\x1b[" not in atoll(*command, **{variable: "1", "NO_COLOR": "1"}).stdout


def test_a_locale_that_cannot_say_it_gets_something_else(environ: dict[str, str], shop: Path, daemon: Served) -> None:
    latin = environ | {"PYTHONIOENCODING": "latin-1"}
    for command in (["status"], ["deploy", "orders"], ["deploy", "orders", "--markdown"], ["logs"]):
        done = subprocess.run(
            [sys.executable, str(PROGRAM), *command], cwd=shop, env=latin, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "\N{WHITE HEAVY CHECK MARK}".encode() not in done.stdout
    assert (
        "shop · local".encode("latin-1")
        in subprocess.run(
            [sys.executable, str(PROGRAM), "status"], cwd=shop, env=latin, capture_output=True, timeout=60, check=True
        ).stdout
    )


def test_wide_characters_keep_the_columns_apart(screen, daemon: Served) -> None:
    service = service_view("orders", 1, state="failing")
    daemon.control.services["orders"] = service
    daemon.control.rollouts.note = "修正: 在庫の数え方"
    with screen("releases", "orders", columns=100) as shown:
        assert shown.ended() == 0
        assert "修正: 在庫の数え方" in shown.text()
