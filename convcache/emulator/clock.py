"""The emulator's time: the system's, a faster one, or one that only moves when told.

Knows how to wait, in threads and on an event loop. Must not know what is waited for.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Protocol

import attrs

THE_BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
# Dates end with the year 9999; delays and lifetimes from here on still have one.
THE_END = datetime(9000, 1, 1, tzinfo=UTC)
_FASTEST = 1_000_000


class Clock(Protocol):
    """Tells the time and waits for it."""

    def now(self) -> datetime: ...

    def wait_until(self, at: datetime, *, patience: float | None = None) -> bool:
        """Blocks until `at`; `False` if `patience` (real seconds) ran out first."""
        ...

    async def async_wait_until(self, at: datetime) -> None: ...


class SystemClock:
    """Real time, or `speed` times faster from the moment it was made.

    Args:
        speed: How many seconds pass here in one real second.
        start: What it shows first; the real time if not given.
    """

    def __init__(self, *, speed: float = 1, start: datetime | None = None) -> None:
        if not 0 < speed <= _FASTEST:
            raise ValueError(f"speed must be positive and at most {_FASTEST:,} ({speed}).")
        self.speed = speed
        self._real_start = datetime.now(UTC)
        self._start = _aware(start) if start else self._real_start

    def now(self) -> datetime:
        return self._start + (datetime.now(UTC) - self._real_start) * self.speed

    def wait_until(self, at: datetime, *, patience: float | None = None) -> bool:
        seconds = self._real_seconds_until(at)
        time.sleep(seconds if patience is None else min(seconds, patience))
        return patience is None or seconds <= patience

    async def async_wait_until(self, at: datetime) -> None:
        await asyncio.sleep(self._real_seconds_until(at))

    def _real_seconds_until(self, at: datetime) -> float:
        return max(0.0, (at - self.now()).total_seconds() / self.speed)


@attrs.frozen(eq=False)
class _Waiter:
    at: datetime
    wake: Callable[[], None]


class VirtualClock:
    """Time that stands still until it is moved forward; it never goes back.

    >>> clock = VirtualClock()
    >>> clock.advance(timedelta(minutes=5)).isoformat()
    '2026-01-01T00:05:00+00:00'
    """

    def __init__(self, start: datetime = THE_BEGINNING) -> None:
        self._now = _aware(start)
        self._lock = threading.Lock()
        self._waiters: set[_Waiter] = set()

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> datetime:
        """Moves the time forward and wakes whoever waited for it."""
        with self._lock:
            return self._move_to(self._now + by)

    def set(self, at: datetime) -> datetime:
        """Moves the time forward to `at`."""
        with self._lock:
            return self._move_to(_aware(at))

    def wait_until(self, at: datetime, *, patience: float | None = None) -> bool:
        if at <= self._now:
            return True
        reached = threading.Event()
        with self._woken(at, reached.set):
            return reached.wait(patience)

    async def async_wait_until(self, at: datetime) -> None:
        if at <= self._now:
            return
        loop, reached = asyncio.get_running_loop(), asyncio.Event()
        with self._woken(at, lambda: _call_soon(loop, reached.set)):
            await reached.wait()

    @contextmanager
    def _woken(self, at: datetime, wake: Callable[[], None]) -> Iterator[None]:
        waiter = _Waiter(at, wake)
        with self._lock:
            self._waiters.add(waiter)
            self._wake_the_due()
        try:
            yield
        finally:
            with self._lock:
                self._waiters.discard(waiter)

    def _move_to(self, at: datetime) -> datetime:
        if at < self._now:
            raise ValueError(
                f"the clock never goes back: it is {self._now.isoformat()}, not {at.isoformat()}"
            )
        if at > THE_END:
            raise ValueError(f"the clock goes up to {THE_END.isoformat()}, not to {at.isoformat()}")
        self._now = at
        self._wake_the_due()
        return at

    def _wake_the_due(self) -> None:
        due = {waiter for waiter in self._waiters if waiter.at <= self._now}
        self._waiters -= due
        for waiter in due:
            waiter.wake()


def _call_soon(loop: asyncio.AbstractEventLoop, wake: Callable[[], object]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(wake)


def _aware(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise ValueError(f"a time needs its zone ({at.isoformat()}); add tzinfo=timezone.utc")
    return at.astimezone(UTC)
