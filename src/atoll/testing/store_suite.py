"""What every `ports.Store` and `ports.Vault` does; the SQLite ones and the shipped fakes pass it.

Subclass in a test module and override the one fixture that opens yours:

    class TestMyStore(StoreSuite):
        @pytest.fixture
        def opened(self, tmp_path): return lambda: MyStore(tmp_path)
"""

import asyncio
from collections.abc import Callable

import pytest

from atoll.model.errors import Conflict, NotFound, UserError
from atoll.model.records import TaskRecord
from atoll.model.rows import Change, Lease, RowKind, Saved
from atoll.model.spec import Command, Plain, Port, SecretRef, ServiceSpec
from atoll.model.state import (
    Artifact,
    Author,
    Event,
    Exit,
    Intent,
    JobRun,
    JobState,
    Receipt,
    Release,
    ReplicaRecord,
    Rollout,
)
from atoll.ports import Store, Vault

AUTHOR = Author(actor="kim", commit="c0ffee", commit_wall=17.5, dirty=True)


def a_release(service: str = "orders", n: int = 1) -> Release:
    """A release with something in every nested field."""
    spec = ServiceSpec(
        name=service,
        run=Command(shell="./run --port {port} # \N{DESERT ISLAND}"),
        ports=(Port(env="PORT"),),
        env={"LEVEL": Plain("warn"), "DB": SecretRef("orders-db")},
    )
    artifact = Artifact(key="k1", digest="d1", builder="python", platform="linux", path="/artifacts/k1")
    return Release(service=service, n=n, spec=spec, artifact=artifact, secrets={"orders-db": 2}, author=AUTHOR)


def a_replica(n: int = 0) -> ReplicaRecord:
    """The record of a starting replica."""
    return ReplicaRecord(id=f"orders-r1-{n}-k3x9", service="orders", release=1, slot=n, ports={"http": 20000 + n})


def a_rollout(phase: str = "starting") -> Rollout:
    """A rollout of orders r2 over r1."""
    return Rollout(
        id="ro-1",
        service="orders",
        kind="deploy",
        candidate=2,
        stable=1,
        phase=phase,  # type: ignore[arg-type]
        boot_id="b",
        phase_since_s=3.25,
        entered_s={"starting": 3.25},
        author=AUTHOR,
    )


def a_receipt() -> Receipt:
    """The receipt of that rollout."""
    return Receipt(
        rollout="ro-1", service="orders", kind="deploy", release=2, previous=1, outcome="live", seconds={"total": 2.5}
    )


def a_job_run(state: JobState = "running") -> JobRun:
    """A run of a job, with all that one may hold."""
    return JobRun(
        id="orders.nightly.20261126T030000",
        service="orders",
        job="nightly",
        release=1,
        trigger="schedule",
        command=Command(argv=("./orders", "report")),
        env={"LOG_LEVEL": Plain("debug"), "TOKEN": SecretRef("report")},
        timeout_s=600.0,
        retries=2,
        state=state,
        due_wall=1_800_000_000.0,
        exit=Exit(code=3),
        output="no database",
    )


def a_task_record() -> TaskRecord:
    """A test that passed somewhere."""
    author = Author(actor="ada@ci", commit="c0ffee", commit_wall=1_799_999_000.0)
    return TaskRecord(
        task="orders.test", key="4af3", outcome="passed", seconds=2.5, wall=1_800_000_000.25, digest="d1", author=author
    )


def events(count: int, service: str = "orders") -> tuple[Event, ...]:
    """Numbered events."""
    return tuple(Event(kind="rollout.live", service=service, message=f"event {n}", wall=1.0 + n) for n in range(count))


@pytest.mark.asyncio
class StoreSuite:
    """State, ledger and leadership of one store."""

    @pytest.fixture
    def opened(self) -> Callable[[], Store]:
        """Return a function that opens a store, each time on the same data."""
        raise NotImplementedError

    async def test_a_new_store_is_empty(self, opened: Callable[[], Store]) -> None:
        store = opened()
        await store.lead()
        assert await store.load() == Saved()
        assert list(await store.events()) == []
        await store.close()

    async def test_every_kind_of_row_comes_back_as_it_was_after_a_restart(self, opened: Callable[[], Store]) -> None:
        rows = (
            a_release(),
            Intent(service="orders", generation=1, target=1),
            a_rollout(),
            a_replica(),
            a_receipt(),
            a_job_run(),
            a_task_record(),
        )
        lease = Lease(port=20000, holder="orders-r1-0-k3x9")
        store = opened()
        await store.lead()
        last = await store.commit(Change(puts=rows, leases=(lease,), events=events(1)))
        await store.close()
        store = opened()
        await store.lead()
        saved = await store.load()
        await store.close()
        assert saved == Saved(
            releases=(rows[0],),
            intents=(rows[1],),
            rollouts=(rows[2],),
            replicas=(rows[3],),
            receipts=(rows[4],),
            runs=(rows[5],),
            records=(rows[6],),
            leases=(lease,),
            last_event=last,
        )

    async def test_a_row_put_again_replaces_the_old_one(self, opened: Callable[[], Store]) -> None:
        store = opened()
        await store.lead()
        await store.commit(Change(puts=(a_rollout("starting"),)))
        await store.commit(Change(puts=(a_rollout("live"),)))
        assert [rollout.phase for rollout in (await store.load()).rollouts] == ["live"]
        await store.close()

    async def test_rows_are_dropped_by_their_key_and_unknown_keys_are_fine(self, opened: Callable[[], Store]) -> None:
        store = opened()
        await store.lead()
        rows = (
            a_release(n=1),
            a_release(n=2),
            Intent(service="orders"),
            a_rollout(),
            a_replica(),
            a_receipt(),
            a_job_run(),
            a_task_record(),
        )
        await store.commit(Change(puts=rows))
        drops: tuple[tuple[RowKind, str], ...] = (
            ("release", "orders/1"),
            ("intent", "orders"),
            ("rollout", "ro-1"),
            ("replica", "nobody"),
            ("run", "orders.nightly.20261126T030000"),
            ("record", a_task_record().id),
        )
        await store.commit(Change(drops=(*drops, ("replica", "orders-r1-0-k3x9"), ("receipt", "ro-1"))))
        assert await store.load() == Saved(releases=(a_release(n=2),))
        await store.close()

    async def test_what_one_change_both_writes_and_drops_is_gone(self, opened: Callable[[], Store]) -> None:
        store = opened()
        await store.lead()
        await store.commit(
            Change(
                puts=(a_replica(),),
                drops=(("replica", a_replica().id),),
                leases=(Lease(port=20000, holder="a"),),
                freed=(20000,),
            )
        )
        assert await store.load() == Saved()
        await store.close()

    async def test_releases_are_loaded_in_the_order_of_their_numbers(self, opened: Callable[[], Store]) -> None:
        store = opened()
        await store.lead()
        await store.commit(Change(puts=tuple(a_release(n=n) for n in (10, 2, 1, 9))))
        assert [release.n for release in (await store.load()).releases] == [1, 2, 9, 10]
        await store.close()

    async def test_events_are_numbered_in_order_and_read_from_any_point(self, opened: Callable[[], Store]) -> None:
        store = opened()
        await store.lead()
        assert await store.commit(Change(events=events(3))) == 3
        assert await store.commit(Change(events=events(2, "catalog"))) == 5
        assert await store.commit(Change(puts=(a_replica(),))) == 5
        assert [event.seq for event in await store.events()] == [1, 2, 3, 4, 5]
        assert [event.seq for event in await store.events(after=1, limit=2)] == [2, 3]
        assert [event.seq for event in await store.events(limit=2, newest=True)] == [4, 5]
        assert [event.seq for event in await store.events(service="catalog")] == [4, 5]
        assert [event.seq for event in await store.events(service="orders", limit=2, newest=True)] == [2, 3]
        assert list(await store.events(after=5)) == []
        await store.close()

    async def test_an_event_keeps_author_data_and_text(self, opened: Callable[[], Store]) -> None:
        event = Event(
            kind="verdict.fail",
            service="orders",
            release=7,
            message="5 of 40 failed: 'quoted', \N{DESERT ISLAND}",
            author=AUTHOR,
            data={"sample": {"n": 40, "rate": 0.125}, "paths": ["/a", None, True]},
            wall=1_800_000_000.125,
        )
        store = opened()
        await store.lead()
        seq = await store.commit(Change(events=(event,)))
        (found,) = await store.events()
        await store.close()
        assert found == Event(
            **{name: getattr(event, name) for name in event.__struct_fields__ if name != "seq"}, seq=seq
        )

    async def test_numbers_of_events_go_on_after_a_restart(self, opened: Callable[[], Store]) -> None:
        store = opened()
        await store.lead()
        await store.commit(Change(events=events(2)))
        await store.close()
        store = opened()
        await store.lead()
        assert (await store.load()).last_event == 2
        assert await store.commit(Change(events=events(1))) == 3
        await store.close()

    async def test_an_expected_generation_that_does_not_stand_refuses_all_of_the_change(
        self, opened: Callable[[], Store]
    ) -> None:
        store = opened()
        await store.lead()
        await store.commit(Change(puts=(Intent(service="orders", generation=1),), expect={"orders": 0}))
        for wrong in ({"orders": 0}, {"orders": 2}, {"orders": 1, "catalog": 1}):
            with pytest.raises(Conflict, match="was changed meanwhile") as caught:
                await store.commit(
                    Change(
                        puts=(Intent(service="orders", generation=9), a_replica()),
                        drops=(("intent", "orders"),),
                        leases=(Lease(port=1, holder="x"),),
                        events=events(1),
                        expect=wrong,
                    )
                )
            assert caught.value.why
            assert caught.value.fix
        saved = await store.load()
        assert saved == Saved(intents=(Intent(service="orders", generation=1),))
        await store.commit(Change(puts=(Intent(service="orders", generation=2),), expect={"orders": 1, "catalog": 0}))
        await store.close()

    async def test_of_many_who_expect_the_same_generation_one_wins(self, opened: Callable[[], Store]) -> None:
        store = opened()
        await store.lead()
        changes = [
            Change(puts=(Intent(service="orders", generation=1, target=n),), expect={"orders": 0}) for n in range(20)
        ]
        results = await asyncio.gather(*(store.commit(change) for change in changes), return_exceptions=True)
        assert sum(isinstance(result, Conflict) for result in results) == 19
        assert [intent.target for intent in (await store.load()).intents] == [
            next(n for n, result in enumerate(results) if not isinstance(result, BaseException))
        ]
        await store.close()

    async def test_a_refused_commit_leaves_those_beside_it_alone(self, opened: Callable[[], Store]) -> None:
        store = opened()
        await store.lead()
        good = [store.commit(Change(puts=(a_replica(n),), events=events(1))) for n in range(10)]
        bad = [store.commit(Change(events=events(1), expect={"orders": 7})) for _ in range(10)]
        mixed = [one for pair in zip(good, bad, strict=True) for one in pair]
        results = await asyncio.gather(*mixed, return_exceptions=True)
        assert results[::2] == list(range(1, 11))
        assert all(isinstance(result, Conflict) for result in results[1::2])
        saved = await store.load()
        assert (len(saved.replicas), saved.last_event) == (10, 10)
        await store.close()

    async def test_a_port_has_one_holder_until_it_is_freed(self, opened: Callable[[], Store]) -> None:
        store = opened()
        await store.lead()
        await store.commit(Change(leases=(Lease(port=20000, holder="a"), Lease(port=20001, holder="a"))))
        await store.commit(Change(leases=(Lease(port=20000, holder="a"),)))
        with pytest.raises(Conflict, match="20000"):
            await store.commit(Change(leases=(Lease(port=20000, holder="b"),), events=events(1)))
        assert (await store.load()).last_event == 0
        await store.commit(Change(freed=(20000, 4711)))
        await store.commit(Change(leases=(Lease(port=20000, holder="b"),)))
        assert (await store.load()).leases == (Lease(port=20000, holder="b"), Lease(port=20001, holder="a"))
        await store.close()

    async def test_only_one_leads_until_it_closes(self, opened: Callable[[], Store]) -> None:
        first, second = opened(), opened()
        epoch = await first.lead()
        with pytest.raises(Conflict, match="leads this environment"):
            await second.lead()
        await first.commit(Change(events=events(1)))
        await first.close()
        third = opened()
        assert await third.lead() > epoch
        await third.close()
        await second.close()

    async def test_closing_twice_is_fine_and_a_closed_store_refuses_work(self, opened: Callable[[], Store]) -> None:
        store = opened()
        await store.lead()
        await store.close()
        await store.close()
        with pytest.raises(RuntimeError, match="closed"):
            await store.commit(Change())
        with pytest.raises(RuntimeError, match="closed"):
            await store.load()

    async def test_work_before_lead_is_refused(self, opened: Callable[[], Store]) -> None:
        store = opened()
        with pytest.raises(RuntimeError, match="not led"):
            await store.commit(Change())
        with pytest.raises(RuntimeError, match="not led"):
            await store.events()
        await store.close()

    async def test_what_was_queued_before_close_is_kept(self, opened: Callable[[], Store]) -> None:
        store = opened()
        await store.lead()
        queued = [asyncio.create_task(store.commit(Change(events=events(1)))) for _ in range(50)]
        await asyncio.sleep(0)
        await asyncio.gather(*queued)
        await store.close()
        store = opened()
        await store.lead()
        assert (await store.load()).last_event == 50
        await store.close()


@pytest.mark.asyncio
class VaultSuite:
    """Secrets of one vault."""

    @pytest.fixture
    def opened(self) -> Callable[[], Vault]:
        """Return a function that opens a vault, each time on the same data."""
        raise NotImplementedError

    async def test_a_new_vault_is_empty(self, opened: Callable[[], Vault]) -> None:
        assert dict(await opened().versions()) == {}

    async def test_versions_grow_from_one_and_old_ones_stay(self, opened: Callable[[], Vault]) -> None:
        vault = opened()
        assert await vault.set("orders-db", "postgres://one") == 1
        assert await vault.set("orders-db", "postgres://two \N{KEY}\nline") == 2
        assert await vault.set("api.key_2", "") == 1
        vault = opened()
        assert dict(await vault.versions()) == {"api.key_2": 1, "orders-db": 2}
        assert await vault.get("orders-db") == "postgres://two \N{KEY}\nline"
        assert await vault.get("orders-db", 1) == "postgres://one"
        assert await vault.get("api.key_2") == ""

    async def test_what_is_not_there_is_not_found_and_the_nearest_is_named(self, opened: Callable[[], Vault]) -> None:
        vault = opened()
        await vault.set("orders-db", "x")
        with pytest.raises(NotFound) as caught:
            await vault.get("order-db")
        assert "orders-db" in caught.value.fix
        with pytest.raises(NotFound, match="no version 2"):
            await vault.get("orders-db", 2)
        with pytest.raises(NotFound):
            await vault.remove("nothing")

    async def test_a_removed_secret_is_gone_and_its_numbers_are_not_given_again(
        self, opened: Callable[[], Vault]
    ) -> None:
        vault = opened()
        await vault.set("orders-db", "old")
        await vault.set("orders-db", "older")
        await vault.remove("orders-db")
        assert dict(await vault.versions()) == {}
        with pytest.raises(NotFound):
            await vault.get("orders-db")
        assert await vault.set("orders-db", "new") == 3
        with pytest.raises(NotFound):
            await vault.get("orders-db", 1)

    @pytest.mark.parametrize("name", ["", "Orders", "-db", "a b", "a/b", "é", "a\n", "x" * 129])
    async def test_a_bad_name_is_refused(self, opened: Callable[[], Vault], name: str) -> None:
        with pytest.raises(UserError, match="cannot name a secret"):
            await opened().set(name, "value")

    @pytest.mark.parametrize("value", ["hunter2" + "x" * 65536, "hunter2\0", "hunter2\udc80"])
    async def test_a_bad_value_is_refused_without_showing_it(self, opened: Callable[[], Vault], value: str) -> None:
        vault = opened()
        with pytest.raises(UserError) as caught:
            await vault.set("orders-db", value)
        assert "hunter2" not in f"{caught.value}{caught.value!r}{caught.value.__context__!r}{vault!r}"
        assert dict(await vault.versions()) == {}

    async def test_the_largest_value_fits(self, opened: Callable[[], Vault]) -> None:
        vault = opened()
        await vault.set("large", "x" * 65536)
        assert await vault.get("large") == "x" * 65536

    async def test_many_at_once_get_a_number_each(self, opened: Callable[[], Vault]) -> None:
        vault = opened()
        numbers = await asyncio.gather(*(vault.set("orders-db", f"value {n}") for n in range(20)))
        assert sorted(numbers) == list(range(1, 21))
        assert await vault.get("orders-db", numbers[7]) == "value 7"
