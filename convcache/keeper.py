"""Keepers: they carry out what is decided about conversations that rest, within budgets that are finite.

`Keeper` has one daemon thread for any number of conversations and sync clients; `AsyncKeeper` one task on the loop of
async clients. A shell: when to send is in `core.refresh`, what is sent in `pauses`. Nothing is sent without a keeper.
"""

import asyncio
import atexit
import os
import weakref
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from heapq import heappop, heappush
from itertools import count
from threading import Condition, Thread
from typing import Final, Generic, Protocol, Self, TypeVar

import attrs

from convcache.books import RATE_LIMITED, Clock, OnEvent, utc_now
from convcache.core.events import HelperFailed, Turn
from convcache.core.policy import dollars
from convcache.core.refresh import Caution, Decision
from convcache.habits import Habits
from convcache.observe import emit

_NEWEST: Final = 0.2
"""How much the last latency counts."""

_LONGEST_LEAD: Final = timedelta(minutes=1)
_YIELDING: Final = timedelta(minutes=1)
_SHUTDOWN: Final = 1.0


@attrs.frozen(kw_only=True)
class Budget:
    """What a keeper may spend. Every limit is finite, and each is kept for itself.

    Attributes:
        per_pause: Dollars for one pause of one conversation, as forecast. Never more than the rewrite that is avoided,
            whatever this says. Only a keep-alive that finds its entry gone costs more than forecast: it writes it again,
            and is the last.
        per_hour: Dollars for all conversations together in any hour.
        per_minute: Requests in any minute.
        idle: How long a conversation may be idle and still be kept warm.
    """

    per_pause: Decimal = attrs.field(default=Decimal("0.50"), converter=dollars)
    per_hour: Decimal = attrs.field(default=Decimal("5.00"), converter=dollars)
    per_minute: int = 60
    idle: timedelta = timedelta(hours=2)

    def __attrs_post_init__(self) -> None:
        if self.per_minute < 1 or min(self.per_pause, self.per_hour) < 0 or self.idle < timedelta(0):
            raise ValueError("a budget has at least one request a minute, and no limit below zero")


class Sleeper(Protocol):
    """A conversation that rests, as a keeper sees it."""

    @property
    def decision(self) -> Decision:
        """What to do about it, and when."""

    def left_to_lapse(self) -> None:
        """It is not kept warm any more."""


class SyncSleeper(Sleeper, Protocol):
    """One with a sync client."""

    def keep_alive(self) -> Turn | None:
        """Do what is decided."""


class AsyncSleeper(Sleeper, Protocol):
    """One with an async client."""

    async def keep_alive(self) -> Turn | None:
        """Do what is decided."""


@attrs.define
class _Spent:
    at: datetime
    cost: Decimal


SleeperT = TypeVar("SleeperT", bound=Sleeper)


NOBODY_KEEPS: Final = Caution(longest=timedelta(0), upgrades=False)
"""Of a conversation that rests, nothing is kept warm."""


class _BaseKeeper(Generic[SleeperT]):
    """The part of a keeper that waits for nothing and sends nothing: deadlines and budgets."""

    def __init__(
        self,
        budget: Budget = Budget(),
        *,
        habits: Habits | None = None,
        caution: Caution = Caution(),
        clock: Clock = utc_now,
        pace: float = 1.0,
        on_event: OnEvent = emit,
    ) -> None:
        """Make a keeper. It starts to work with the first conversation that rests.

        Args:
            budget: What it may spend.
            habits: What is known of the rhythm of the application, to be learned further; save `habits.rhythm` to
                start with it again.
            caution: Within which bounds conversations are kept warm.
            clock: Gives the time as an aware datetime.
            pace: How much faster than real time that clock runs.
            on_event: Told of what failed.
        """
        self.budget, self.habits = budget, habits or Habits()
        self._caution = attrs.evolve(caution, longest=min(caution.longest, budget.idle))
        self._clock, self._on_event = clock, on_event
        self._pace = pace
        self._heap: list[tuple[datetime, int, weakref.ref[SleeperT]]] = []
        self._latest: weakref.WeakKeyDictionary[SleeperT, int] = weakref.WeakKeyDictionary()
        self._order = count()
        self._spent: deque[_Spent] = deque()
        self._yields_until: datetime | None = None
        self._latency = timedelta(0)
        self._is_paused = self._is_closed = False
        self._prepare()

    def _prepare(self) -> None:
        """What this kind of keeper needs besides."""

    @property
    def caution(self) -> Caution:
        """Within which bounds it keeps conversations warm: not at all once it is closed."""
        return NOBODY_KEEPS if self._is_closed else self._caution

    @property
    def spent(self) -> Decimal:
        """Dollars spent within the last hour."""
        hour_ago = self._clock() - timedelta(hours=1)
        return sum((spent.cost for spent in tuple(self._spent) if spent.at > hour_ago), start=Decimal(0))

    def _add(self, sleeper: SleeperT) -> bool:
        """Look at a conversation when its time has come; tells whether it has one."""
        due = None if self._is_closed else sleeper.decision.due
        if due is not None:
            self._latest[sleeper] = number = next(self._order)
            heappush(self._heap, (due, number, weakref.ref(sleeper)))
        return due is not None

    def _next(self, at: datetime) -> tuple[SleeperT | None, datetime | None]:
        """The next conversation to keep warm, or else when to look again, if there is anything to wait for. What it
        should cost is set aside."""
        while self._heap and not self._is_paused:
            due, number, reference = self._heap[0]
            if due - self._lead(at) > at:
                return None, due - self._lead(at)
            heappop(self._heap)
            sleeper = reference()
            if sleeper is None or self._latest.get(sleeper) != number:
                continue
            try:
                decision = sleeper.decision
            except Exception as error:  # noqa: BLE001 - one of them must not end the work for all
                self._tell(error)
                continue
            if decision.not_before and decision.due is not None and self._clock() < decision.due:
                heappush(self._heap, (decision.due + self._lead(at), number, reference))
                continue
            when = None if decision.due is None else self._allowed_at(decision.cost, at)
            if when is None:
                sleeper.left_to_lapse()
            elif when > at:
                heappush(self._heap, (when, number, reference))
            else:
                self._spent.append(_Spent(at, decision.cost))
                return sleeper, None
        return None, None

    def _lead(self, at: datetime) -> timedelta:
        """How much earlier to begin, so that those who are due together are all in time."""
        return self._latency

    def _allowed_at(self, cost: Decimal, at: datetime) -> datetime | None:
        """When the budget and the API's limits allow it; `None` if the hour's dollars are spent."""
        while self._spent and self._spent[0].at <= at - timedelta(hours=1):
            self._spent.popleft()
        if sum((spent.cost for spent in self._spent), start=cost) > self.budget.per_hour:
            return None
        when = max(at, self._yields_until or at)
        if len(self._spent) >= self.budget.per_minute:
            when = max(when, self._spent[-self.budget.per_minute].at + timedelta(minutes=1))
        return when

    def _billed(self, spent: "_Spent", turn: Turn | None) -> None:
        """What it did cost, in the place of what it should have: an entry that was gone is written again."""
        if turn is None:
            spent.cost = Decimal(0)
        elif turn.costs.paid is not None:
            spent.cost = turn.costs.paid

    def _seconds_until(self, when: datetime | None) -> float | None:
        """How long to wait, in real time."""
        return None if when is None else max(0.0, (when - self._clock()).total_seconds() / self._pace)

    def _lasted(self, time: timedelta) -> None:
        """How long a request took, to begin the next ones in time."""
        self._latency += (time - self._latency) * _NEWEST

    def yield_to_others(self, headers: Mapping[str, str]) -> None:
        """The API is at its limit: send nothing for as long as it says, or a minute."""
        after = headers.get("retry-after", "")
        wait = timedelta(seconds=int(after)) if after.isdigit() else _YIELDING
        until = self._clock() + wait
        self._yields_until = max(until, self._yields_until or until)

    def _failed(self, sleeper: SleeperT, error: BaseException) -> None:
        with suppress(Exception):
            sleeper.left_to_lapse()
        response = getattr(error, "response", None)
        if response is not None and response.status_code == RATE_LIMITED:
            self.yield_to_others(response.headers)
        if isinstance(error, Exception):
            self._tell(error)

    def _tell(self, error: Exception) -> None:
        with suppress(Exception):
            self._on_event(HelperFailed("keeping", error))


_keepers: "weakref.WeakSet[Keeper]" = weakref.WeakSet()


class Keeper(_BaseKeeper[SyncSleeper]):
    """Keeps conversations on sync clients warm while that pays, from one daemon thread.

    ```python
    with Keeper() as keeper:
        conversation = Conversation(Anthropic(), model="claude-opus-5", max_tokens=1024, keeper=keeper)
    ```

    The thread starts with the first conversation that rests; after a fork of the process, the child starts its own.
    """

    def _prepare(self) -> None:
        self._changed = Condition()
        self._thread: Thread | None = None
        _keepers.add(self)

    def watch(self, sleeper: SyncSleeper) -> None:
        """Keep a conversation warm that rests from now on, as long as it should be."""
        with self._changed:
            if not self._add(sleeper):
                return
            if self._thread is None:
                self._thread = Thread(target=self._work, name="convcache-keeper", daemon=True)
                self._thread.start()
            self._changed.notify()

    def pause(self) -> None:
        """Send nothing until `resume`. What is on its way arrives."""
        with self._changed:
            self._is_paused = True

    def resume(self) -> None:
        """Go on. What has lapsed meanwhile stays so."""
        with self._changed:
            self._is_paused = False
            self._changed.notify()

    def close(self) -> None:
        """Send nothing more, and wait a second at most for what is on its way."""
        with self._changed:
            self._is_closed = True
            self._heap.clear()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_SHUTDOWN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        while True:
            with self._changed:
                sleeper, when = self._next(self._clock())
                if self._is_closed:
                    return
                if sleeper is None:
                    self._changed.wait(self._seconds_until(when))
                    continue
                spent = self._spent[-1]
            self._send(sleeper, spent)
            del sleeper

    def _lead(self, at: datetime) -> timedelta:
        # One after the other: each waits for those before it.
        soon = sum(1 for due, _, _ in self._heap if due <= at + _LONGEST_LEAD)
        return min(_LONGEST_LEAD, self._latency * soon)

    def _send(self, sleeper: SyncSleeper, spent: "_Spent") -> None:
        began = self._clock()
        try:
            turn = sleeper.keep_alive()
            self._billed(spent, turn)
            self._lasted(self._clock() - began)
        except BaseException as error:  # noqa: BLE001 - the thread outlives whatever a client raises
            self._failed(sleeper, error)
        else:
            if turn is not None:
                self.watch(sleeper)

    def _after_fork(self) -> None:
        """In a child process: the thread is the parent's, and so is what it watched."""
        self._changed, self._thread = Condition(), None
        self._heap.clear()


class AsyncKeeper(_BaseKeeper[AsyncSleeper]):
    """Keeps conversations on async clients warm while that pays, from one task on their loop; see `Keeper`.

    ```python
    async with AsyncKeeper() as keeper:
        conversation = AsyncConversation(AsyncAnthropic(), model="claude-opus-5", max_tokens=1024, keeper=keeper)
    ```
    """

    def _prepare(self) -> None:
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()

    def watch(self, sleeper: AsyncSleeper) -> None:
        """Keep a conversation warm that rests from now on, as long as it should be."""
        if not self._add(sleeper):
            return
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.done() or self._task.get_loop() is not loop:
            self._changed = asyncio.Event()
            self._task = loop.create_task(self._work(), name="convcache-keeper")
        self._changed.set()

    def pause(self) -> None:
        """Send nothing until `resume`. What is on its way arrives."""
        self._is_paused = True

    def resume(self) -> None:
        """Go on. What has lapsed meanwhile stays so."""
        self._is_paused = False
        self._changed.set()

    async def close(self) -> None:
        """Send nothing more, and wait a second at most for what is on its way."""
        self._is_closed = True
        self._heap.clear()
        if self._task is not None and self._task.get_loop() is asyncio.get_running_loop():
            self._task.cancel()
            await asyncio.wait([self._task, *self._sending], timeout=_SHUTDOWN)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _work(self) -> None:
        while True:
            self._changed.clear()
            sleeper, when = self._next(self._clock())
            if sleeper is None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), self._seconds_until(when))
                continue
            sending = asyncio.create_task(self._send(sleeper, self._spent[-1]))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)
            del sleeper, sending

    async def _send(self, sleeper: AsyncSleeper, spent: "_Spent") -> None:
        began = self._clock()
        try:
            turn = await sleeper.keep_alive()
            self._billed(spent, turn)
            self._lasted(self._clock() - began)
        except Exception as error:  # noqa: BLE001 - the task outlives whatever a client raises
            self._failed(sleeper, error)
        else:
            if turn is not None and not self._is_closed:
                self.watch(sleeper)


@atexit.register
def _close_all() -> None:
    for keeper in tuple(_keepers):
        keeper.close()


def _start_anew() -> None:
    for keeper in tuple(_keepers):
        keeper._after_fork()  # noqa: SLF001 - it is the keeper's own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
