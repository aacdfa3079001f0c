"""Who is woken by which change."""

import asyncio

from atoll.daemon.pulse import Pulse

NEVER_S = 0.01  # long enough for what is already there
SOON_S = 20.0


async def test_a_change_of_a_service_wakes_those_who_wait_for_it_and_for_anything() -> None:
    pulse = Pulse()
    own = asyncio.create_task(pulse.after(pulse.count("orders"), SOON_S, "orders"))
    anything = asyncio.create_task(pulse.after(pulse.count(), SOON_S))
    other = asyncio.create_task(pulse.after(pulse.count("web"), SOON_S, "web"))
    await asyncio.sleep(0)
    pulse.beat("orders")
    assert await own == 1
    assert await anything == 1
    assert not other.done()
    pulse.beat()  # of all of them
    assert await other == 1


async def test_a_change_between_two_looks_is_not_missed() -> None:
    pulse = Pulse()
    count = pulse.count("orders")
    pulse.beat("orders")
    assert await pulse.after(count, None, "orders") == count + 1


async def test_a_change_of_another_service_is_none() -> None:
    pulse = Pulse()
    count = pulse.count("orders")
    pulse.beat("web")
    assert await pulse.after(count, NEVER_S, "orders") == count


async def test_everybody_who_waits_is_woken_each_time() -> None:
    pulse = Pulse()
    for number in range(3):
        waiting = [asyncio.create_task(pulse.after(number, SOON_S, "orders")) for _ in range(5)]
        await asyncio.sleep(0)
        pulse.beat("orders")
        assert await asyncio.gather(*waiting) == [number + 1] * 5
