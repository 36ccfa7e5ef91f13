"""The cache itself: entries, the lookback that finds them, what a request reads and writes, and for how long.

Knows digests, tokens, TTLs and time as an argument. Must not know requests, models or replies.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

import attrs

from convcache.emulator.marks import TTLS
from convcache.emulator.prompt import Step
from convcache.emulator.settings import Settings

LOOKBACK: Final = 20
"""Positions tested for each breakpoint, the breakpoint being the first."""
_SWEEP_EVERY: Final = 1000


@attrs.frozen(kw_only=True)
class Entry:
    """What is held for one prefix."""

    digest: str
    path: str
    tokens: int
    ttl: timedelta
    expires_at: datetime
    base: str | None = None
    """The entry of a shorter life that it was written on top of."""

    def lives(self, at: datetime) -> bool:
        return at < self.expires_at

    def used(self, at: datetime) -> "Entry":
        return attrs.evolve(self, expires_at=max(self.expires_at, at + self.ttl))


@attrs.frozen(kw_only=True)
class Breakpoint:
    """A mark that counts: on a rendered block, above the minimum."""

    index: int
    path: str
    digest: str
    tokens: int
    ttl: str


@attrs.frozen(kw_only=True)
class Bill:
    """What a request reads and writes, decided when it arrives and carried out when its response starts."""

    at: datetime
    breakpoints: tuple[Breakpoint, ...]
    hit: Entry | None
    reach: int
    """Index of the block that the hit ends with; -1 without a hit."""
    read: int
    written_5m: int
    written_1h: int
    uncached: int


class Cache:
    """All entries of one emulated API."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.grace = settings.grace_after_expiry
        self._entries: dict[str, Entry] = {}
        self._writes = 0

    def alive(self, at: datetime) -> list[Entry]:
        return [entry for entry in self._entries.values() if self._lives(entry, at)]

    def clear(self) -> None:
        self._entries.clear()

    def evict(self, digests: Collection[str], at: datetime) -> int:
        """Loses entries before their time, all of them if none is named; tells how many were alive."""
        lost = [entry.digest for entry in self.alive(at) if not digests or entry.digest in digests]
        for digest in lost:
            del self._entries[digest]
        return len(lost)

    def bill(
        self,
        steps: Sequence[Step],
        breakpoints: Sequence[Breakpoint],
        *,
        tail: int,
        at: datetime,
        missed: bool = False,
    ) -> Bill:
        """What a request will read and write: A, then 1h up to B, then 5m up to C, and the rest uncached.

        Args:
            steps: Every prefix of the request.
            breakpoints: Those that count, in prefix order.
            tail: Tokens after the last block.
            at: When the request started.
            missed: Whether it finds nothing, whatever is there.
        """
        reach = -1 if missed else self._longest_hit(steps, breakpoints, at)
        hit = self._entries[steps[reach].digest] if reach >= 0 else None
        a = hit.tokens if hit else 0
        b = max((mark.tokens for mark in breakpoints if mark.ttl == "1h" and mark.index > reach), default=a)
        c = breakpoints[-1].tokens if breakpoints else a
        total = (steps[-1].tokens if steps else 0) + tail
        return Bill(
            at=at,
            breakpoints=tuple(breakpoints),
            hit=hit,
            reach=reach,
            read=a,
            written_1h=b - a,
            written_5m=c - b,
            uncached=total - c,
        )

    def carry_out(self, bill: Bill) -> None:
        """Writes and prolongs what a bill says, all counted from the start of its request."""
        if bill.hit:
            self._keep(bill.hit.used(bill.at), bill.at)
        for mark in bill.breakpoints:
            if bill.hit and mark.index <= bill.reach:
                self._renew(mark, bill.hit, bill.at)
            else:
                self._write(mark, bill.hit, bill.at)
        self._sweep(bill.at)

    def _longest_hit(self, steps: Sequence[Step], breakpoints: Sequence[Breakpoint], at: datetime) -> int:
        for mark in reversed(breakpoints):
            for index in _window(steps, mark.index):
                entry = self._entries.get(steps[index].digest)
                if entry and self._lives(entry, at):
                    return index
        return -1

    def _renew(self, mark: Breakpoint, hit: Entry, at: datetime) -> None:
        """A breakpoint below the hit is prolonged if it lives; else it comes back, for no longer than the hit."""
        entry = self._entries.get(mark.digest)
        if entry and self._lives(entry, at):
            if self._settings.refresh == "breakpoints":
                self._keep(entry.used(at), at)
        else:
            self._keep(_entry(mark, ttl=min(TTLS[mark.ttl], hit.ttl), at=at), at)

    def _write(self, mark: Breakpoint, hit: Entry | None, at: datetime) -> None:
        entry = _entry(mark, ttl=TTLS[mark.ttl], at=at)
        base = hit.digest if hit and hit.ttl < entry.ttl else None
        self._keep(attrs.evolve(entry, base=base), at)

    def _keep(self, entry: Entry, at: datetime) -> None:
        """Two requests that overlapped leave one entry: the longer TTL, the later end."""
        known = self._entries.get(entry.digest)
        if known and self._lives(known, at):
            ttl, expires_at = max(known.ttl, entry.ttl), max(known.expires_at, entry.expires_at)
            entry = attrs.evolve(entry, ttl=ttl, expires_at=expires_at)
        self._entries[entry.digest] = entry

    def _lives(self, entry: Entry, at: datetime) -> bool:
        if entry.base is not None and self._settings.mixed_ttl == "lapses":
            base = self._entries.get(entry.base)
            if base is None or not self._lives(base, at):
                return False
        return entry.lives(at - self.grace)

    def _sweep(self, at: datetime) -> None:
        self._writes += 1
        if self._writes % _SWEEP_EVERY == 0:
            self._entries = {entry.digest: entry for entry in self.alive(at)}


def _window(steps: Sequence[Step], start: int) -> Iterator[int]:
    """The blocks within the lookback of a breakpoint, nearest first."""
    for index in range(start, -1, -1):
        if steps[start].position - steps[index].position >= LOOKBACK:
            return
        yield index


def _entry(mark: Breakpoint, *, ttl: timedelta, at: datetime) -> Entry:
    return Entry(digest=mark.digest, path=mark.path, tokens=mark.tokens, ttl=ttl, expires_at=at + ttl)
