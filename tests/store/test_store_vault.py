"""Secrets at rest: sealed, bound to their name and version, and never shown by what goes wrong."""

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

import atoll
from atoll.model.errors import UserError
from atoll.store.key_file import create_key, read_key
from atoll.store.vault import SqliteVault

VALUE = "hunter2-hunter2"


async def test_no_file_holds_the_value_or_is_readable_for_others(tmp_path: Path) -> None:
    state = tmp_path / "state"
    await SqliteVault(state).set("orders-db", VALUE)
    assert {path.name for path in state.iterdir()} == {"vault.db", "vault.key"}
    for path in state.iterdir():
        assert VALUE.encode() not in path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600
    assert state.stat().st_mode & 0o777 == 0o700


async def test_reading_an_empty_vault_makes_no_key(tmp_path: Path) -> None:
    assert dict(await SqliteVault(tmp_path).versions()) == {}
    assert not (tmp_path / "vault.key").exists()


async def test_a_missing_key_is_said_and_not_replaced(tmp_path: Path) -> None:
    await SqliteVault(tmp_path).set("orders-db", VALUE)
    key = (tmp_path / "vault.key").read_bytes()
    (tmp_path / "vault.key").unlink()
    with pytest.raises(UserError, match="is missing") as caught:
        await SqliteVault(tmp_path).get("orders-db")
    assert str(tmp_path / "vault.db") in caught.value.fix
    with pytest.raises(UserError, match="is missing"):
        await SqliteVault(tmp_path).set("orders-db", "other")
    assert not (tmp_path / "vault.key").exists()
    (tmp_path / "vault.key").write_bytes(key)
    (tmp_path / "vault.key").chmod(0o600)
    assert await SqliteVault(tmp_path).get("orders-db") == VALUE


async def test_a_wrong_key_is_told_from_a_damaged_value(tmp_path: Path) -> None:
    await SqliteVault(tmp_path).set("orders-db", VALUE)
    (tmp_path / "vault.key").unlink()
    create_key(tmp_path / "vault.key")
    for attempt in (SqliteVault(tmp_path).get("orders-db"), SqliteVault(tmp_path).set("orders-db", "other")):
        with pytest.raises(UserError, match="is not the one"):
            await attempt
    assert dict(await SqliteVault(tmp_path).versions()) == {"orders-db": 1}


@pytest.mark.parametrize("content", [b"", b"short", b"\xff\xfe" * 40, b"A" * 60])
async def test_a_damaged_key_is_said_without_its_content(tmp_path: Path, content: bytes) -> None:
    await SqliteVault(tmp_path).set("orders-db", VALUE)
    (tmp_path / "vault.key").write_bytes(content)
    with pytest.raises(UserError, match="damaged") as caught:
        await SqliteVault(tmp_path).get("orders-db")
    assert "AAAA" not in str(caught.value)


async def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    await SqliteVault(tmp_path).set("orders-db", VALUE)
    (tmp_path / "vault.key").chmod(0o640)
    with pytest.raises(UserError, match="not private") as caught:
        await SqliteVault(tmp_path).get("orders-db")
    assert "chmod 600" in caught.value.fix


@pytest.mark.parametrize(
    "tamper",
    [
        "UPDATE secrets SET ciphertext = (SELECT ciphertext FROM secrets WHERE name = 'b') WHERE name = 'a'",
        "UPDATE secrets SET ciphertext = x'00' WHERE name = 'a'",
        "UPDATE secrets SET ciphertext = x'' WHERE name = 'a'",
        "UPDATE secrets SET version = 2 WHERE name = 'a'",
    ],
)
async def test_a_row_that_was_swapped_or_changed_is_not_opened(tmp_path: Path, tamper: str) -> None:
    vault = SqliteVault(tmp_path)
    await vault.set("a", VALUE)
    await vault.set("b", "another value")
    with sqlite3.connect(tmp_path / "vault.db") as raw:
        raw.execute(tamper)
    raw.close()
    with pytest.raises(UserError, match="The secret a ") as caught:
        await vault.get("a")
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    assert await vault.get("b") == "another value"


async def test_a_vault_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "vault.db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(UserError, match="is damaged") as caught:
        await SqliteVault(tmp_path).versions()
    assert "`atoll secret set` each secret" in caught.value.fix  # a deploy alone brings none back
    move = caught.value.fix.split("`")[1]
    subprocess.run(["sh", "-c", move], check=True)  # to the letter
    assert await SqliteVault(tmp_path).set("orders-db", VALUE) == 1


async def test_a_vault_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    await SqliteVault(tmp_path).set("a", VALUE)
    with sqlite3.connect(tmp_path / "vault.db") as raw:
        raw.execute("PRAGMA user_version=99")
    raw.close()
    with pytest.raises(UserError, match="newer Atoll"):
        await SqliteVault(tmp_path).get("a")


def test_of_many_who_make_the_key_at_once_all_get_the_same(tmp_path: Path) -> None:
    path = tmp_path / "vault.key"
    program = (
        "import sys; from pathlib import Path; from atoll.store.key_file import create_key\n"
        "sys.stdin.readline(); print(create_key(Path(sys.argv[1])).hex())"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(atoll.__file__).parents[1])}
    many = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path)],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in many:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    keys = {process.communicate(timeout=60)[0].strip() for process in many}
    key = read_key(path)
    assert key is not None
    assert keys == {key.hex()}
    assert [entry.name for entry in tmp_path.iterdir()] == ["vault.key"]


async def test_two_vaults_of_one_folder_agree(tmp_path: Path) -> None:
    one, two = SqliteVault(tmp_path), SqliteVault(tmp_path)
    numbers = await asyncio.gather(*((one if n % 2 else two).set("a", f"value {n}") for n in range(10)))
    assert sorted(numbers) == list(range(1, 11))
    assert await two.get("a", numbers[3]) == "value 3"


def test_a_vault_shows_nothing_of_its_key_or_values(tmp_path: Path) -> None:
    vault = SqliteVault(tmp_path)
    asyncio.run(vault.set("a", VALUE))
    key = (tmp_path / "vault.key").read_text().strip()
    shown = f"{vault!r} {vars(vault)!r}"
    assert not re.search(f"{re.escape(key)}|hunter2", shown)


async def test_a_state_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(UserError, match="cannot be used"):
        await SqliteVault(tmp_path / "state").set("a", VALUE)
