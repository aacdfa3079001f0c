"""Which environment a command will ask, told from its arguments before they are read."""

from pathlib import Path

import pytest

from atoll.app.ahead import guess


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "atoll.toml").write_text("")
    (tmp_path / "orders").mkdir()
    monkeypatch.chdir(tmp_path / "orders")
    return tmp_path


@pytest.mark.parametrize(
    ("args", "variables", "environment", "host"),
    [
        (["status", "--env", "production"], {}, "production", ""),
        (["--env=production", "status"], {}, "production", ""),
        (["-e", "staging", "deploy", "orders", "-e", "production"], {}, "production", ""),
        (["status"], {"ATOLL_ENV": "production", "ATOLL_HOST": "ssh://vm1"}, "production", "ssh://vm1"),
        (["status", "--host", "ssh://vm2"], {"ATOLL_ENV": "p", "ATOLL_HOST": "ssh://vm1"}, "p", "ssh://vm2"),
        (["-e", "p", "exec", "orders", "--", "env", "--env", "other"], {}, "p", ""),
    ],
)
def test_it_is_what_the_options_will_say(
    here: Path, args: list[str], variables: dict[str, str], environment: str, host: str
) -> None:
    assert guess(args, variables) == (here, environment, host)


@pytest.mark.parametrize(
    ("args", "variables"),
    [
        (["status"], {}),
        (["status", "--env", "local"], {"ATOLL_ENV": "production"}),
        (["status", "--env"], {}),
        (["-w", "/elsewhere", "status", "-e", "p"], {}),
        (["status", "-e", "p"], {"ATOLL_WORKSPACE": "/elsewhere"}),
    ],
)
@pytest.mark.usefixtures("here")
def test_it_says_nothing_where_there_is_nothing_to_gain_or_to_know(args: list[str], variables: dict[str, str]) -> None:
    assert guess(args, variables) is None
