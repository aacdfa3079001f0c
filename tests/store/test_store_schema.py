"""The schema: migrations make what the code expects, newer ones are refused, old and foreign bodies are read."""

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import atoll
from atoll.model.errors import UserError
from atoll.model.rows import Change
from atoll.model.state import Intent
from atoll.store import database, schema
from atoll.store.sqlite import SqliteStore
from atoll.testing.store_suite import a_release, a_task_record, events


async def made(state: Path) -> sqlite3.Connection:
    """A closed store with a release, an intent and an event; a plain connection to its file."""
    store = SqliteStore(state)
    await store.lead()
    await store.commit(Change(puts=(a_release(n=7), Intent(service="orders", generation=3)), events=events(1)))
    await store.close()
    return sqlite3.connect(state / "state.db", isolation_level=None)


def test_migrations_make_the_tables_that_the_code_knows(tmp_path: Path) -> None:
    engine = database.connect(tmp_path / "state.db")
    database.prepare(engine, tmp_path / "state.db")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
    engine.dispose()


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == schema.HEAD


async def test_opening_a_current_database_does_not_load_alembic(tmp_path: Path) -> None:
    (await made(tmp_path)).close()
    program = (
        "import asyncio, sys; from pathlib import Path; from atoll.store.sqlite import SqliteStore\n"
        "store = SqliteStore(Path(sys.argv[1]))\n"
        "async def main(): await store.lead(); await store.close()\n"
        "asyncio.run(main()); print('alembic' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(atoll.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "False"


async def test_a_database_of_an_older_version_is_migrated_with_what_is_in_it(tmp_path: Path) -> None:
    raw = await made(tmp_path)
    raw.execute("DROP TABLE task_records")
    raw.execute("UPDATE alembic_version SET version_num = '0002'")
    raw.close()
    store = SqliteStore(tmp_path)
    await store.lead()
    await store.commit(Change(puts=(a_task_record(),)))
    saved = await store.load()
    await store.close()
    assert (saved.records, [release.n for release in saved.releases]) == ((a_task_record(),), [7])


async def test_an_upgrade_leaves_the_way_back_which_the_refusal_of_the_older_one_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = await made(tmp_path)
    raw.execute("DROP TABLE task_records")
    raw.execute("UPDATE alembic_version SET version_num = '0002'")
    (tmp_path / "state.db.0001").write_text("of an upgrade before")
    raw.close()
    store = SqliteStore(tmp_path)
    await store.lead()
    await store.commit(Change(events=events(1)))
    await store.close()
    assert [path.name for path in tmp_path.glob("state.db.*")] == ["state.db.0002"]
    assert stat.S_IMODE((tmp_path / "state.db.0002").stat().st_mode) == 0o600

    monkeypatch.setattr(database, "HEAD", "0002")  # as the older version sees it
    monkeypatch.setattr(database, "_known", lambda: {"0001", "0002"})
    with pytest.raises(UserError, match="newer Atoll") as caught:
        await SqliteStore(tmp_path).lead()
    command = caught.value.fix.partition("`")[2].partition("`")[0]
    subprocess.run(["/bin/sh", "-c", command], check=True, timeout=30)
    older = SqliteStore(tmp_path)
    await older.lead()
    assert [event.seq for event in await older.events()] == [1]
    await older.close()


async def test_no_way_back_is_named_where_there_is_none(tmp_path: Path) -> None:
    raw = await made(tmp_path)
    raw.execute("UPDATE alembic_version SET version_num = '0999'")
    raw.close()
    (tmp_path / "state.db.0998").write_text("of a version that is newer, too")
    with pytest.raises(UserError, match="newer Atoll") as caught:
        await SqliteStore(tmp_path).lead()
    assert "mv" not in caught.value.fix


async def test_a_database_of_a_newer_version_is_refused_and_untouched(tmp_path: Path) -> None:
    raw = await made(tmp_path)
    raw.execute("UPDATE alembic_version SET version_num = '0999'")
    with pytest.raises(UserError, match="newer Atoll") as caught:
        await SqliteStore(tmp_path).lead()
    assert "0999" in caught.value.why
    assert raw.execute("SELECT epoch FROM leader").fetchone() == (1,)
    raw.close()


async def test_unknown_fields_of_a_newer_body_are_skipped_and_missing_ones_get_defaults(tmp_path: Path) -> None:
    raw = await made(tmp_path)
    raw.execute("""UPDATE intents SET body = '{"service": "orders", "generation": 3, "colour": {"deep": [1]}}'""")
    raw.close()
    store = SqliteStore(tmp_path)
    await store.lead()
    assert (await store.load()).intents == (Intent(service="orders", generation=3),)
    await store.close()


@pytest.mark.parametrize("body", ["", "not json", "[]", '{"service": 1}', '{"generation": 1}'])
async def test_a_body_that_cannot_be_read_is_named_by_table_and_key(tmp_path: Path, body: str) -> None:
    raw = await made(tmp_path)
    raw.execute("UPDATE releases SET body = ?", (body,))
    raw.close()
    store = SqliteStore(tmp_path)
    await store.lead()
    with pytest.raises(UserError, match="row orders/7 of table releases") as caught:
        await store.load()
    assert caught.value.why
    assert caught.value.fix
    await store.close()


async def test_the_ledger_cannot_be_rewritten(tmp_path: Path) -> None:
    raw = await made(tmp_path)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        raw.execute("UPDATE ledger SET message = 'never happened'")
    raw.close()


async def test_an_event_whose_data_is_damaged_is_named(tmp_path: Path) -> None:
    raw = await made(tmp_path)
    raw.execute(
        "INSERT INTO ledger (wall, service, kind, message, actor, 'commit', dirty, data) "
        "VALUES (1, '', 'x', '', '', '', 0, '{')"
    )
    raw.close()
    store = SqliteStore(tmp_path)
    await store.lead()
    with pytest.raises(UserError, match="row 2 of table ledger"):
        await store.events()
    await store.close()
