"""Time that is told, sped up or moved by hand, and those who wait for it."""

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from convcache.emulator import SystemClock, VirtualClock

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def test_a_virtual_clock_stands_still_until_it_is_moved():
    clock = VirtualClock(NOON)
    assert clock.now() == NOON
    clock.advance(timedelta(seconds=90))
    assert clock.now() == NOON + timedelta(seconds=90)
    clock.set(NOON + timedelta(hours=1))
    assert clock.now() == NOON + timedelta(hours=1)


def test_a_virtual_clock_never_goes_back():
    clock = VirtualClock(NOON)
    for go_back in (
        lambda: clock.advance(-timedelta(seconds=1)),
        lambda: clock.set(NOON - timedelta(seconds=1)),
    ):
        with pytest.raises(ValueError, match="never goes back"):
            go_back()
    assert clock.now() == NOON


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="zone"):
        VirtualClock(NOON.replace(tzinfo=None))
    with pytest.raises(ValueError, match="zone"):
        VirtualClock(NOON).set(NOON.replace(tzinfo=None))


def test_a_thread_waits_until_the_clock_is_moved_far_enough():
    clock, done = VirtualClock(NOON), []
    waiter = threading.Thread(target=lambda: done.append(clock.wait_until(NOON + timedelta(seconds=10))))
    waiter.start()
    clock.advance(timedelta(seconds=9))
    waiter.join(0.05)
    assert done == []
    clock.advance(timedelta(seconds=1))
    waiter.join(5)
    assert done == [True]


def test_patience_runs_out_in_real_time():
    assert VirtualClock(NOON).wait_until(NOON + timedelta(seconds=1), patience=0.01) is False
    assert SystemClock().wait_until(SystemClock().now() + timedelta(hours=1), patience=0.01) is False
    assert VirtualClock(NOON).wait_until(NOON, patience=0) is True


def test_a_task_is_woken_when_another_thread_moves_the_clock():
    clock = VirtualClock(NOON)

    async def wait():
        asyncio.get_running_loop().call_later(
            0.01, lambda: threading.Thread(target=clock.advance, args=[timedelta(seconds=10)]).start()
        )
        await asyncio.wait_for(clock.async_wait_until(NOON + timedelta(seconds=10)), 5)

    asyncio.run(wait())
    assert clock.now() == NOON + timedelta(seconds=10)


def test_a_waiter_that_gives_up_is_forgotten():
    clock = VirtualClock(NOON)

    async def give_up():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(clock.async_wait_until(NOON + timedelta(seconds=1)), 0.01)

    asyncio.run(give_up())
    assert clock._waiters == set()


def test_a_system_clock_tells_the_real_time_and_runs_faster_if_asked():
    assert abs(SystemClock().now() - datetime.now(UTC)) < timedelta(seconds=1)
    fast = SystemClock(speed=1000, start=NOON)
    began = time.monotonic()
    fast.wait_until(NOON + timedelta(seconds=100))
    assert 0.05 < time.monotonic() - began < 2
    assert fast.now() >= NOON + timedelta(seconds=99)
    asyncio.run(fast.async_wait_until(NOON + timedelta(seconds=200)))
    assert fast.now() >= NOON + timedelta(seconds=199)


def test_a_clock_cannot_stand_still_by_speed():
    with pytest.raises(ValueError, match="speed"):
        SystemClock(speed=0)
