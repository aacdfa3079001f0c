"""Completion: what it offers, how it behaves when things are missing, and the scripts in the real shells."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from atoll.testing.fake_control import Served, service_view
from atoll.workspace.names import Names, names

Offered = Callable[..., list[str]]


@pytest.fixture
def offered(atoll) -> Offered:
    """What completes after these words; the last one is being typed."""

    def ask(*words: str, **env: str) -> list[str]:
        line = " ".join(("atoll", *words))
        done = atoll(_ATOLL_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(len(words)), **env)
        assert (done.returncode, done.stderr) == (0, "")
        return [row.partition(",")[2] for row in done.stdout.splitlines() if row]

    return ask


# --- what it offers


def test_names_of_services_come_from_the_files(offered: Offered) -> None:
    every = ["broken", "catalog", "failing", "orders", "payments", "refused"]
    assert offered("up", "") == every
    assert offered("logs", "") == every
    assert offered("deploy", "orders", "p") == ["payments"]
    assert offered("dep") == ["deploy"]


def test_what_only_the_daemon_knows_completes_for_commands_that_need_no_file(offered: Offered, daemon: Served) -> None:
    daemon.control.services["gone"] = daemon.control.services["orders"]
    del daemon.control.services["orders"]
    daemon.control.services["gone"] = service_view("gone", 3)
    for command in ("logs", "why", "releases", "rollback", "restart", "scale", "exec", "down", "events"):
        assert offered(command, "g") == ["gone"], command
    assert offered("deploy", "g") == []


def test_releases_complete_newest_first(offered: Offered, daemon: Served) -> None:
    daemon.control.services["orders"] = service_view("orders", 11)
    assert offered("rollback", "orders", "--to", "")[:2] == ["r11", "r10"]
    assert offered("rollback", "--to", "r") == []  # of which service is not said yet
    assert offered("why", "orders", "r1") == ["r11", "r10", "r1"]


def test_replicas_of_the_named_services_complete(offered: Offered, daemon: Served) -> None:
    assert offered("logs", "orders", "--replica", "") == ["orders-r1-0-aaaa"]
    assert offered("logs", "--replica", "") == ["catalog-r1-0-aaaa", "orders-r1-0-aaaa"]
    assert offered("exec", "catalog", "--replica", "") == ["catalog-r1-0-aaaa"]


def test_secrets_and_environments_complete(offered: Offered, daemon: Served) -> None:
    daemon.control.vault["mail-key"] = 3
    assert offered("secret", "rm", "") == ["mail-key", "orders-db"]
    assert offered("status", "--env", "") == ["local", "production"]
    assert offered("-e", "p") == ["production"]


def test_options_complete(offered: Offered) -> None:
    assert "--follow" in offered("logs", "--f")
    assert "--env" in offered("--e")


# --- what is missing


def test_a_workspace_that_cannot_be_read_is_no_reason_to_complain(offered: Offered, shop: Path, tmp_path: Path) -> None:
    (shop / "atoll.toml").write_text("not toml")
    assert offered("logs", "") == []
    (shop / "atoll.toml").unlink()
    assert offered("logs", "") == []
    assert offered("depoly", "x", "") == []
    assert "logs" in offered("lo")


def test_a_daemon_that_does_not_answer_is_given_up(offered: Offered, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "s"))
        deaf.listen()  # connects, and never a word
        began = time.monotonic()
        assert "orders" in offered("logs", "")
        assert offered("rollback", "orders", "--to", "") == []
        assert time.monotonic() - began < 20  # not the 10 s that a command waits, and the 30 s for an answer, twice


def test_files_with_mistakes_still_tell_their_names(tmp_path: Path) -> None:
    (tmp_path / "atoll.toml").write_text('services = ["*", 3]\nnonsense = 1\n[environments.staging]\n')
    for name, text in {"a": 'name = "orders"\nrun = 7\n[env]\nDB = { secret = "db" }\n', "b": "run = \n"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "service.toml").write_text(text)
    assert names(tmp_path) == Names(("b", "orders"), ("local", "staging"), ("db",))
    (tmp_path / "atoll.toml").write_bytes(b"\xff")
    assert names(tmp_path).services == ("b", "orders")
    assert names(tmp_path / "nowhere") == Names((), ("local",), ())


# --- the shells themselves


def in_shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name} (scripts/apt installs it)")
    return found


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_tab_completes_in(shell: str, screen, installed: dict[str, str], daemon: Served, tmp_path: Path) -> None:
    begin = {
        "bash": 'PS1="> "; eval "$(atoll completion bash)"; bind "set bell-style none"',
        "zsh": 'PS1="> "; autoload -Uz compinit; compinit -u; eval "$(atoll completion zsh)"; unsetopt beep',
    }[shell]
    (tmp_path / "rc").mkdir()
    (tmp_path / "rc" / f".{shell}rc").write_text(begin + "\n")
    program = {"bash": ("bash", "--rcfile", str(tmp_path / "rc/.bashrc"), "-i"), "zsh": ("zsh", "-i")}[shell]
    in_shell(shell)
    with screen(program=program, **installed, ZDOTDIR=str(tmp_path / "rc")) as shown:
        shown.until(">")
        for typed, becomes in (
            ("atoll depl", "atoll deploy "),
            ("cat", "atoll deploy catalog "),
            ("--mark", "atoll deploy catalog --markdown "),
        ):
            shown.type(typed)
            shown.press("Tab")
            shown.until(f"> {becomes}".rstrip())
        shown.press("C-u")
        shown.type("atoll rollback orders --to r")
        shown.press("Tab")
        shown.until("> atoll rollback orders --to r1")
        shown.press("C-u")
        shown.type("atoll status --env=pro")
        shown.press("Tab")
        shown.until("> atoll status --env=production")
        shown.press("C-u")
        shown.type("atoll why o")
        shown.press("Tab")
        shown.until("> atoll why orders")
        assert "error" not in shown.text()


def test_fish_completes(installed: dict[str, str], shop: Path, daemon: Served) -> None:
    fish = in_shell("fish")

    def complete(line: str) -> list[list[str]]:
        script = f"atoll completion fish | source; complete -C '{line}'"
        done = subprocess.run(
            [fish, "--no-config", "-c", script], env=installed, cwd=shop, capture_output=True, text=True, timeout=60,
            check=True,
        )  # fmt: skip
        assert done.stderr == ""
        return [row.split("\t") for row in done.stdout.splitlines()]

    assert complete("atoll depl") == [["deploy", "Build services and move all traffic to the new releases."]]
    assert complete("atoll logs o") == [["orders", "r1 up"]]
    assert complete("atoll rollback orders --to ") == [["r1", "current c0ffee1234"]]
    assert ["production"] in complete("atoll status --env ")
    assert complete("atoll status --env=p") == [["--env=production"]]


# --- the command


def test_install_writes_one_file_and_says_what_is_left(atoll, tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "XDG_DATA_HOME": "", "XDG_CONFIG_HOME": ""}
    for shell, file in {
        "bash": ".local/share/bash-completion/completions/atoll",
        "zsh": ".local/share/zsh/site-functions/_atoll",
        "fish": ".config/fish/completions/atoll.fish",
    }.items():
        done = atoll("completion", "--install", **home, SHELL=f"/usr/bin/{shell}")
        assert done.returncode == 0, done.stderr
        assert str(tmp_path / file) in done.stderr
        assert (tmp_path / file).read_text() == atoll("completion", shell).stdout
    unknown = atoll("completion", SHELL="/bin/tcsh")
    assert (unknown.returncode, "bash, zsh, fish" in unknown.stderr) == (2, True)
