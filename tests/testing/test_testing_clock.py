"""Virtual time passes at once, in order, and says when nothing can happen any more."""

import asyncio
import time

import pytest

from atoll.testing.clock import DAY_S, Stuck, VirtualClock, VirtualLoop


def test_a_day_passes_in_a_moment_and_in_order() -> None:
    clock = VirtualClock()
    order: list[tuple[float, str]] = []

    async def ticker(name: str, every_s: float, times: int) -> None:
        for _ in range(times):
            await clock.sleep(every_s)
            order.append((clock.now().boot_s, name))

    async def main() -> None:
        await asyncio.gather(ticker("hour", 3600, 23), ticker("half", 1800, 47))

    began = time.monotonic()
    clock.run(main())
    assert time.monotonic() - began < 60
    assert clock.now().boot_s == pytest.approx(1000 + 23.5 * 3600)
    assert order == sorted(order, key=lambda item: item[0])
    assert len(order) == 70


def test_small_sleeps_add_up_without_drift() -> None:
    clock = VirtualClock()

    async def main() -> None:
        for _ in range(10_000):
            await asyncio.sleep(0.1)

    clock.run(main())
    assert clock.elapsed_s == pytest.approx(1000.0, abs=0.05)


def test_deadlines_follow_virtual_time() -> None:
    clock = VirtualClock()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(120):
                await asyncio.sleep(3600)

    clock.run(main())
    assert clock.elapsed_s == pytest.approx(120)


def test_time_goes_on_from_one_run_to_the_next() -> None:
    clock = VirtualClock()
    clock.run(clock.sleep(10))
    clock.run(clock.sleep(5))
    assert clock.elapsed_s == pytest.approx(15)


def test_a_thread_is_waited_for_while_time_stands_still() -> None:
    clock = VirtualClock()

    async def main() -> None:
        late = asyncio.create_task(asyncio.sleep(3600))
        assert await asyncio.to_thread(lambda: time.sleep(0.05) or "done") == "done"
        assert clock.elapsed_s == 0
        assert not late.done()
        late.cancel()

    clock.run(main())


def test_a_deadlock_is_an_error_instead_of_a_hang() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError, match="did not end"):  # the limit is a timer
        VirtualClock().run(main())

    loop = VirtualLoop(VirtualClock())
    task = loop.create_task(main())
    with pytest.raises(Stuck, match="every task waits"):
        loop.run_until_complete(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()


def test_a_scenario_that_never_ends_is_cut_off_at_its_limit() -> None:
    clock = VirtualClock()

    async def main() -> None:
        while True:
            await asyncio.sleep(60)

    with pytest.raises(TimeoutError, match="the scenario did not end within 86400 virtual seconds"):
        clock.run(main())
    assert clock.elapsed_s == pytest.approx(DAY_S)


def test_a_task_that_never_sleeps_is_an_error_instead_of_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.testing.clock._SPINS", 1000)

    async def main() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Stuck, match="without ever sleeping"):
        VirtualClock().run(main())


def test_a_reboot_starts_another_boot_and_leaves_the_wall_going() -> None:
    clock = VirtualClock()
    clock.run(clock.sleep(500))
    before = clock.now()
    clock.reboot(down_s=40)
    after = clock.now()
    assert after.boot_id != before.boot_id
    assert after.boot_s == pytest.approx(0)
    assert after.wall == pytest.approx(before.wall + 40)
    clock.shift_wall(-3600)
    clock.run(clock.sleep(1))
    assert clock.now().boot_s == pytest.approx(1)
    assert clock.now().wall == pytest.approx(after.wall - 3599)


def test_until_waits_for_a_condition_and_says_which_did_not_come() -> None:
    clock = VirtualClock()

    async def main() -> None:
        await clock.until(lambda: clock.elapsed_s > 7)
        assert clock.elapsed_s < 8
        with pytest.raises(TimeoutError, match="the moon"):
            await clock.until(lambda: False, within_s=60, what="the moon")

    clock.run(main())
    assert clock.elapsed_s == pytest.approx(67, abs=1)


def test_an_error_of_the_scenario_comes_out() -> None:
    async def main() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        VirtualClock().run(main())
