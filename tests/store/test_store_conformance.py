"""The SQLite store and vault, and the shipped fakes, do what `store_suite` says."""

from collections.abc import Callable
from pathlib import Path

import pytest

from atoll.model.errors import Fenced, Retryable
from atoll.model.rows import Change
from atoll.ports import Store, Vault
from atoll.store.sqlite import SqliteStore
from atoll.store.vault import SqliteVault
from atoll.testing.memory_store import MemoryDisk, MemoryStore, MemoryVault
from atoll.testing.store_suite import StoreSuite, VaultSuite, a_replica


class TestSqliteStore(StoreSuite):
    @pytest.fixture
    def opened(self, tmp_path: Path) -> Callable[[], Store]:
        return lambda: SqliteStore(tmp_path / "state")


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    def opened(self) -> Callable[[], Store]:
        disk = MemoryDisk()
        return lambda: MemoryStore(disk)


class TestSqliteVault(VaultSuite):
    @pytest.fixture
    def opened(self, tmp_path: Path) -> Callable[[], Vault]:
        return lambda: SqliteVault(tmp_path / "state")


class TestMemoryVault(VaultSuite):
    @pytest.fixture
    def opened(self) -> Callable[[], Vault]:
        vault = MemoryVault()
        return lambda: vault


async def test_a_crashed_memory_store_is_fenced_by_the_next_and_lost_nothing() -> None:
    first = MemoryStore()
    await first.lead()
    await first.commit(Change(puts=(a_replica(),)))
    second = first.crash()
    await second.lead()
    with pytest.raises(Fenced):
        await first.commit(Change(drops=(("replica", a_replica().id),)))
    assert (await second.load()).replicas == (a_replica(),)


async def test_a_memory_disk_in_trouble_writes_nothing_until_it_is_well() -> None:
    store = MemoryStore()
    await store.lead()
    store.disk.trouble = Retryable("no space left", id="disk-full")
    with pytest.raises(Retryable):
        await store.commit(Change(puts=(a_replica(),)))
    assert (await store.load()).replicas == ()
    store.disk.trouble = None
    await store.commit(Change(puts=(a_replica(),)))
    assert (await store.load()).replicas == (a_replica(),)
